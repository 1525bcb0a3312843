package app

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
)

// seen is an MMSC that notes the fields it is about to judge.
func seen(fields chan<- string, do behaviour) behaviour {
	return func(w http.ResponseWriter, r *http.Request, id []byte) {
		fields <- fmt.Sprintf("via %q agent %q mark %q", r.Header.Values("Via"), r.Header.Values("User-Agent"), r.Header.Get("X-Mmsrouter-Attempt"))
		do(w, r, id)
	}
}

func TestForwardedFields(t *testing.T) {
	for _, tc := range []struct {
		name   string
		header http.Header
		again  bool
		first  behaviour
		want   string // at the last MMSC
	}{
		{"a silent handset", nil, false, conf(0x80), `via ["1.1 r1"] agent [] mark ""`},
		{"a handset and a gateway", http.Header{"User-Agent": {"Phone/1.0"}, "Via": {"1.0 wap", "1.1 edge"}}, false, conf(0x80), `via ["1.0 wap, 1.1 edge, 1.1 r1"] agent ["Phone/1.0"] mark ""`},
		{"after a refusal", nil, false, code(503), `via ["1.1 r1"] agent [] mark ""`},
		{"after a lost answer", nil, false, hangUp, `via ["1.1 r1"] agent [] mark "3"`},
		{"after another process", nil, true, conf(0x80), `via ["1.1 r1"] agent [] mark "2"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fields := make(chan string, 8)
			b := newBench(t, "retry", seen(fields, tc.first), seen(fields, conf(0x80)))
			b.config().Node.Name = "r1"
			m := heldMessage(10)
			m.id, m.again = "held@r1", tc.again
			for k, v := range tc.header {
				m.header[k] = v
			}
			_, _, err := b.forward(t.Context(), m)
			last := ""
			for len(fields) > 0 {
				last = <-fields
			}
			if err != nil || last != tc.want {
				t.Errorf("%v, %s\nwant %s", err, last, tc.want)
			}
		})
	}
}

func TestTrails(t *testing.T) {
	for _, tc := range []struct {
		name   string
		first  behaviour
		rounds int
		want   string
		marked bool // the next round is
	}{
		{"taken", conf(0x80), 1, "a answered HTTP 200, Ok", false},
		{"refused for good", code(413), 1, "a answered HTTP 413, Error-permanent-failure", false},
		{"refused", code(503), 2, "a refused HTTP 503; a refused HTTP 503", false},
		{"transient", conf(0xC3), 1, "a refused HTTP 200, " + mms.Status(0xC3).String(), false},
		{"an answer that is none", code(204), 1, "a ambiguous HTTP 204 without an M-Send.conf of this transaction; a ambiguous HTTP 204 without an M-Send.conf of this transaction", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, "retry", tc.first)
			m := heldMessage(10)
			m.id = "held@r1"
			for n := range tc.rounds {
				m.again = n > 0
				_, _, err := b.forward(t.Context(), m)
				if err == nil && n+1 < tc.rounds {
					t.Fatal("it was taken")
				}
			}
			var got []string
			for _, a := range b.trails.of(m.id) {
				got = append(got, a.MMSC+" "+a.Phase+" "+a.Result)
				if a.Octets != m.size {
					t.Errorf("%d octets of %d", a.Octets, m.size)
				}
			}
			if strings.Join(got, "; ") != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
			if n, marked := b.trails.before(m); n != len(got) || marked != tc.marked {
				t.Errorf("%d attempts, doubtful %v", n, marked)
			}
		})
	}
}

func TestTrailsAreBounded(t *testing.T) {
	var tr trails
	for i := range maxTrails + 5 {
		tr.add(fmt.Sprint(i), false, (&forwarded{end: answered}).told("a", 0))
	}
	for range maxAttempts + 5 {
		tr.add("long", true, (&forwarded{end: answered}).told("a", 0))
	}
	if len(tr.known) != maxTrails || tr.of("0") != nil || len(tr.of("long")) != maxAttempts {
		t.Errorf("%d messages, %d attempts", len(tr.known), len(tr.of("long")))
	}
	if n, doubtful := tr.before(&message{id: "long"}); n != maxAttempts+5 || !doubtful {
		t.Errorf("%d %v", n, doubtful)
	}
}

func TestOrigin(t *testing.T) {
	for _, tc := range []struct{ name, request, client, target string }{
		{"by a gateway", `{"target":"/send?x=1","host":"mms","header":{"X-Forwarded-For":["192.0.2.1, 192.0.2.9"]}}`, "192.0.2.9", "POST /send?x=1"},
		{"direct", `{"target":"/","header":{}}`, "", "POST /"},
		{"unreadable", `{`, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if client, target := origin(tc.request); client != tc.client || target != tc.target {
				t.Errorf("%q %q", client, target)
			}
		})
	}
}
