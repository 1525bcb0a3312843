package handset_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// TestMany: many phones behind one SMSC fetch 30 KB each; what went in came out.
func TestMany(t *testing.T) {
	n := 500
	if os.Getenv("MMSROUTER_LONG") != "" {
		n = 10_000
	}
	many(t, n)
}

func many(t testing.TB, n int) {
	pdu := message(t, nil, wsp.Part{ContentType: wsp.Media("image/jpeg"), Data: make([]byte, 30<<10)})
	m := newMMSC(t)
	var gets, posts atomic.Int64
	m.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			posts.Add(1)
			return
		}
		gets.Add(1)
		w.Write(pdu)
	})
	numbers := make([]string, n)
	for i := range numbers {
		numbers[i] = fmt.Sprintf("+4670%07d", i)
	}
	reg := prometheus.NewRegistry()
	l := start(t, handset.Options{Numbers: numbers, SMPP: "127.0.0.1:0", URL: m.URL, Parallel: 64, Metrics: reg})
	e := bind(t, l)
	for i, number := range numbers {
		e.push(number, wappush.AppendMMS(nil, 1, mms.Notification{TransactionID: fmt.Sprint(i), From: alice, Subject: strings.Repeat("s", 40),
			Size: uint64(len(pdu)), ContentLocation: m.URL + "/m/" + fmt.Sprint(i)}.Append(nil)))
	}
	l.await(handset.Settled, n)
	if gets.Load() != int64(n) || posts.Load() != int64(n) || l.Count(handset.Stored) != int64(n) || l.Count(handset.Indicated) != int64(n) {
		t.Errorf("%d phones: %d GETs, %d acknowledgements, %d stored", n, gets.Load(), posts.Load(), l.Count(handset.Stored))
	}
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "mmsrouter_handset_events_total" {
		t.Fatalf("metrics: %v, %v", families, err)
	}
	for _, f := range families[0].Metric {
		if f.Label[0].GetValue() == "stored" && f.Counter.GetValue() != float64(n) {
			t.Errorf("metric of stored: %v", f.Counter.GetValue())
		}
	}
}

// BenchmarkPhones: one phone's whole turn, notification by SMS to acknowledgement, 30 KB.
func BenchmarkPhones(b *testing.B) { many(b, max(b.N, 2)) }
