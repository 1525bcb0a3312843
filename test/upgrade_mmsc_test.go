package test_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/phone"
	"github.com/mmsrouter/mmsrouter/test/program"
)

// newPhone runs one until the test ends.
func newPhone(t *testing.T, number, url string, change func(*handset.Options)) *phone.Phones {
	t.Helper()
	o := handset.Options{Numbers: []string{number}, URL: url, UDP: []string{""}, Header: []string{"X-MSISDN: ##LINE1##"},
		Resolve: func(context.Context, string) ([]string, error) { return nil, errors.New("there is no DNS here") },
		Retry:   handset.Retry{Timeout: 30 * time.Second, Attempts: 1, Pause: time.Millisecond, Schedule: []time.Duration{time.Minute}}}
	if change != nil {
		change(&o)
	}
	return phone.Start(t, o)
}

// of gives the events of some kinds.
func of(p *phone.Phones, kinds ...handset.Kind) (out []handset.Event) {
	for _, e := range p.All() {
		if slices.Contains(kinds, e.Kind) {
			out = append(out, e)
		}
	}
	return out
}

// TestUpgradeOfTheEmbeddedMMSC: three upgrades while phones send to each other through the embedded MMSC, notified by SMPP, or by the
// router's own push proxy gateway. Each message that was accepted arrives, once and whole; one SMPP session at a time.
func TestUpgradeOfTheEmbeddedMMSC(t *testing.T) {
	const session = `{smscs: [{address: %q, system_id: r1, password: pw}], wide_reference: true, reconnect: 20ms}`
	for _, c := range []struct {
		name, carrier, ppg string
	}{
		{"by SMPP", "{name: c, type: smpp, smpp: " + session + "}", ""},
		{"by its push proxy gateway", "{name: c, type: pap, pap: {url: \"http://PPG/\"}}", "ppg: {listen: \"PPG\", smpp: " + session + "}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := func(s, smsc, gateway string) string {
				if strings.Contains(s, "%q") {
					s = fmt.Sprintf(s, smsc)
				}
				return strings.ReplaceAll(s, "PPG", gateway)
			}
			gateway := program.Addresses(t, 1)[0]
			upgradeMMSC(t, func(smsc string) string { return text(c.carrier, smsc, gateway) }, func(smsc string) string { return text(c.ppg, smsc, gateway) })
		})
	}
}

func upgradeMMSC(t *testing.T, carrier, more func(smsc string) string) {
	const alice, bob, carol = "+46701740605", "+46701740606", "+46700000001" // carol: whom test/pdu writes to
	r := replaceable(t, "")
	bobs := newPhone(t, bob, "http://"+r.mm1+"/", func(o *handset.Options) {
		o.SMPP, o.Numbers, o.UDP = "127.0.0.1:0", append(o.Numbers, carol), []string{"", ""}
	})
	r.change("mmscs:\n", fmt.Sprintf(`%smmsc:
  enabled: true
  url: http://%s
  delivery: {retry_first: 50ms, retry_max: 200ms, renotify: [1h], jitter: 0}
push:
  carriers: [%s]
  routes: [{prefix: "", carriers: [c]}]
`, more(bobs.SMPPAddr().String()), r.mm1, carrier(bobs.SMPPAddr().String())))
	r.change("  access_log:", "  identity: {headers: [X-MSISDN], trusted: [\"127.0.0.0/8\"]}\n  access_log:")
	r.start()
	alices := newPhone(t, alice, "http://"+r.mm1+"/", func(o *handset.Options) { o.SMPP = "" })

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := map[string]int{} // Message-ID: octets of the content
	for w := range 4 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				size := []int{500, 30_000, 120_000}[n%3] // below and above what is kept in rows
				content := bytes.Repeat([]byte{byte('a' + w)}, size)
				conf, err := alices.Send(context.WithoutCancel(ctx), alice, handset.Letter{To: []string{bob}, Parts: []handset.Part{{Name: "a.txt", Type: "text/plain", Data: content}}})
				if err != nil {
					t.Errorf("sender %d, message %d: %v", w, n, err)
					continue
				}
				time.Sleep(150 * time.Millisecond) // a phone's pace: the receiving one keeps up
				mu.Lock()
				accepted[conf.MessageID()] = size
				mu.Unlock()
			}
		})
	}
	var slow handsets.Ledger
	wg.Go(func() { // uploads that last through an upgrade
		slow.Join(handsets.Run(ctx, handsets.Plan{Handset: handsets.Options{Addr: r.mm1, Timeout: 30 * time.Second, Header: [][2]string{{"X-MSISDN", alice}}},
			Handsets: 3, Prefix: "slow-", Sizes: []int{60_000}, Ways: []handsets.Way{handsets.Trickle(60_000, 20, 100*time.Millisecond)}}))
	})
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(accepted)
	}
	for range 3 {
		before := count()
		r.await("load", func() bool { return count() > before+30 })
		r.upgrade()
	}
	before := count()
	r.await("load", func() bool { return count() > before+30 })
	stop()
	wg.Wait()
	for _, s := range slow.Sent() {
		if s.Outcome != handsets.Accepted {
			t.Errorf("slow upload %s: %s %s", s.Transaction, s.Outcome, s.Detail)
		}
	}
	total := count() + len(slow.Sent())
	t.Logf("%d messages accepted, %d of them by slow uploads", total, len(slow.Sent()))
	defer func() {
		if t.Failed() {
			for _, k := range handset.Kinds() {
				if all := of(bobs, k); len(all) > 0 {
					t.Logf("%d times %s, the last: %s", len(all), k, all[len(all)-1])
				}
			}
		}
	}()
	r.await("all messages at the phones", func() bool { return len(of(bobs, handset.Stored)) >= total })
	seen := map[string]bool{}
	for _, e := range of(bobs, handset.Stored) {
		if seen[e.MessageID] {
			t.Errorf("message %s came twice", e.MessageID)
		}
		seen[e.MessageID] = true
		if size, ok := accepted[e.MessageID]; ok && e.Size < int64(size) {
			t.Errorf("message %s: %d octets, sent %d", e.MessageID, e.Size, size)
		}
	}
	for id := range accepted {
		if !seen[id] {
			t.Errorf("message %s was accepted and did not come", id)
		}
	}
	if failed := of(bobs, handset.Failed, handset.Retrying); len(failed) > 0 {
		t.Errorf("%d fetches failed, the first: %s", len(failed), failed[0])
	}
	doubled := len(of(bobs, handset.Duplicate))
	bound := 0
	for _, e := range of(bobs, handset.Bound, handset.Unbound) {
		if e.Kind == handset.Unbound {
			bound--
		} else if bound++; bound > 1 {
			t.Error("two SMPP sessions at a time")
		}
	}
	t.Logf("%d arrived, %d notified twice; %d sessions", len(seen), doubled, len(of(bobs, handset.Bound)))
	if doubled > 0 || len(seen) != total {
		t.Errorf("%d messages arrived of %d, %d notified twice", len(seen), total, doubled)
	}
}
