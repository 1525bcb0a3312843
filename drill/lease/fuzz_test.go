package lease_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/drill/lease"
)

// FuzzDoor: whatever is asked for, a lease is never longer than allowed, and never breaks what its scope forbids.
func FuzzDoor(f *testing.F) {
	f.Add(`{"by":"ann","scenario":"x","for":"1m"}`, `[{"kind":"refuse","mmsc":"a"},{"kind":"slow","mmsc":"b","delay":"1s"}]`)
	f.Add(`{"for":"10m","real_traffic":true,"mark":"drill-ABCDEFGHIJ"}`, `[{"kind":"drain","mmsc":"a"},{"kind":"withdraw"}]`)
	f.Add(`{"for":"1h"}`, `[{"kind":"cut","mmsc":"a","after":-1}]`)
	f.Fuzz(func(t *testing.T, request, faults string) {
		w := &world{}
		l := w.leases(t, allowed)
		mux := http.NewServeMux()
		mux.Handle("/d", l)
		mux.Handle("/d/{id}", l)
		do := func(method, path, body string) *httptest.ResponseRecorder {
			r := httptest.NewRecorder()
			mux.ServeHTTP(r, httptest.NewRequest(method, path, strings.NewReader(body)))
			if !json.Valid(r.Body.Bytes()) || r.Code >= 500 {
				t.Fatalf("%s %s: HTTP %d %s", method, body, r.Code, r.Body)
			}
			return r
		}
		r := do("POST", "/d", request)
		if r.Code != http.StatusCreated {
			return
		}
		var h lease.Lease
		if err := json.Unmarshal(r.Body.Bytes(), &h); err != nil || h.ID == "" || h.Until.Sub(h.Began) > 10*time.Minute {
			t.Fatalf("%v, %+v", err, h)
		}
		do("PUT", "/d/"+h.ID, faults)
		for _, x := range l.Held().Faults {
			real := x.Kind == lease.Refuse || x.Kind == lease.Drain || x.Kind == lease.Withdraw
			if x.Kind == lease.Partition || h.RealTraffic && !real || !h.RealTraffic && x.Kind == lease.Drain {
				t.Fatalf("%+v is broken under %+v", x, h)
			}
		}
		if w.severed.Load() {
			t.Fatal("routers are cut off from each other")
		}
	})
}
