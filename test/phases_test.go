package test_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// phase is one way in which the first MMSC fails or answers, and what must become of every message.
type phase struct {
	name    string
	b       fakemmsc.Behaviour
	prepare func(p *pair)    // instead of b
	path    string           // regular expression for the attempts in the access log
	outcome handsets.Outcome // "": accepted
	copies  bool             // the table calls it ambiguous, and the MMSC may have stored it
	mm1     []string
	few     bool // a status among many: two messages tell enough
	lies    bool // the MMSC says Ok for what it has not read whole: what it stored is not counted
}

// What the path regexps say: the first MMSC is asked once (or, after an ambiguous end, once more), then the other.
// A connection that is reset at once may fail in connect, in the body, or behind it: that is the kernel's choice.
const (
	next      = `^mmsc-a %s, mmsc-b answered$`
	onceMore  = `^mmsc-a ambiguous, mmsc-a ambiguous, mmsc-b answered$`
	bodyOrAmb = `^(mmsc-a ambiguous, )?mmsc-a (connect|body|ambiguous), mmsc-b answered$`
	own       = `^mmsc-a answered$`
)

// A stalled MMSC is given up after this; long enough for a healthy one on a machine that is busy with other things.
var impatient = []string{"timeouts: {connect: 10s, answer: 4s, write: 4s}"}

func phases() (all []phase) {
	down := func(name string, how fakemmsc.Break, mm1 []string) {
		all = append(all, phase{name: name, prepare: func(p *pair) { p.a.OnAccept(func(int) fakemmsc.Break { return how }) }, path: bodyOrAmb, mm1: mm1})
	}
	all = append(all, phase{name: "refuses connections", prepare: func(p *pair) { p.a.Down() }, path: fmt.Sprintf(next, "connect")})
	down("closes after accept", fakemmsc.FIN, nil)
	down("resets after accept", fakemmsc.RST, nil)
	down("stalls after accept", fakemmsc.Stall, impatient)
	for _, how := range []fakemmsc.Break{fakemmsc.FIN, fakemmsc.RST, fakemmsc.Stall} {
		var mm1 []string
		if how == fakemmsc.Stall {
			mm1 = impatient
		}
		all = append(all,
			phase{name: how.String() + " after the head", b: fakemmsc.Behaviour{Break: how, At: fakemmsc.AtHead}, path: bodyOrAmb, mm1: mm1},
			phase{name: how.String() + " after the first octet", b: fakemmsc.Die(how, 1), path: bodyOrAmb, mm1: mm1},
			phase{name: how.String() + " after 900 octets", b: fakemmsc.Die(how, 900), path: bodyOrAmb, mm1: mm1},
			phase{name: how.String() + " after 200,000 octets", b: fakemmsc.Die(how, 200_000), path: own + "|" + bodyOrAmb, mm1: mm1},
			phase{name: how.String() + " when it has all, nothing stored", b: fakemmsc.SwallowAndDie(how), path: onceMore, mm1: mm1},
			phase{name: how.String() + " when it has stored all", b: fakemmsc.StoreAndDie(how), path: onceMore, copies: true, mm1: mm1},
			phase{name: how.String() + " inside the status line", b: fakemmsc.CutAnswer(how, 9), path: onceMore, copies: true, mm1: mm1},
			phase{name: how.String() + " inside the answer's head", b: fakemmsc.CutAnswer(how, 40), path: onceMore, copies: true, mm1: mm1},
			phase{name: how.String() + " inside the M-Send.conf", b: fakemmsc.CutAnswer(how, 100), path: onceMore, copies: true, mm1: mm1})
	}
	for _, s := range []int{408, 421, 425, 429, 503} {
		all = append(all, phase{name: fmt.Sprint("says ", s), few: true, b: fakemmsc.Refuse(s), path: fmt.Sprintf(next, "refused")})
	}
	for _, s := range []int{401, 403, 404, 405, 407, 501} {
		all = append(all, phase{name: fmt.Sprint("says ", s), few: true, b: fakemmsc.Refuse(s), path: fmt.Sprintf(next, "absent")})
	}
	for _, s := range []int{300, 301, 302, 307, 308, 500, 502, 504, 204, 206} {
		all = append(all, phase{name: fmt.Sprint("says ", s), few: true, b: fakemmsc.Refuse(s), path: onceMore})
	}
	for _, s := range []int{400, 402, 409, 410, 413, 415, 422} {
		all = append(all, phase{name: fmt.Sprint("says ", s), few: true, b: fakemmsc.Refuse(s), path: own, outcome: handsets.Failed})
	}
	for _, s := range []byte{pdu.Transient, 0xC1, 0xC2, pdu.TransientNet, 0xC5, 0xDF, pdu.NetworkProblem} {
		all = append(all, phase{name: fmt.Sprintf("M-Send.conf %02X", s), few: true, b: fakemmsc.Say(s), path: fmt.Sprintf(next, "refused")})
	}
	for _, s := range []byte{pdu.Permanent, pdu.PermanentDenied, pdu.Corrupt, 0xE3, pdu.TooLarge, 0xEB, 0xFF, 0x81, pdu.Denied, 0x85, 0x87, 0x88} {
		all = append(all, phase{name: fmt.Sprintf("M-Send.conf %02X", s), few: true, b: fakemmsc.Say(s), path: own, outcome: handsets.Refused})
	}
	all = append(all,
		phase{name: "M-Send.conf partial success", b: fakemmsc.Say(pdu.Partial), path: own},
		phase{name: "200 with HTML", b: fakemmsc.Behaviour{Answer: fakemmsc.HTML()}, path: onceMore},
		phase{name: "200 with nothing", b: fakemmsc.Behaviour{Answer: fakemmsc.Empty()}, path: onceMore},
		phase{name: "another transaction's M-Send.conf", b: fakemmsc.Behaviour{Answer: fakemmsc.WrongTransaction(), Store: true}, path: onceMore, copies: true},
		phase{name: "M-Send.conf that ends inside a field", b: fakemmsc.Behaviour{Answer: fakemmsc.BrokenConf(), Store: true}, path: onceMore, copies: true},
		phase{name: "another PDU", b: fakemmsc.Behaviour{Answer: fakemmsc.Bytes(pdu.ContentType, pdu.Acknowledge("x")), Store: true}, path: onceMore, copies: true},
		phase{name: "garbage", b: fakemmsc.Behaviour{Answer: fakemmsc.Raw("\x00\xff\x17 nothing of HTTP\r\n\r\n"), Store: true}, path: onceMore, copies: true},
		phase{name: "garbage without an end", b: fakemmsc.Behaviour{Answer: fakemmsc.Raw(strings.Repeat("garbage ", 40_000)), Store: true}, path: onceMore, copies: true},
		phase{name: "HTTP/0.9", b: fakemmsc.Behaviour{Answer: fakemmsc.Raw("<html>")}, path: onceMore},
		phase{name: "two lengths", b: fakemmsc.Behaviour{Answer: fakemmsc.Raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nhello")}, path: onceMore},
		phase{name: "a length and chunks", b: fakemmsc.Behaviour{Answer: fakemmsc.Raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")}, path: onceMore},
		phase{name: "announces more than it sends", b: fakemmsc.Behaviour{Store: true, HangUp: true, Answer: func(r *fakemmsc.Request) fakemmsc.Reply {
			out := fakemmsc.Conf(pdu.Ok)(r)
			out.Announce = 5000
			return out
		}}, path: onceMore, copies: true},

		phase{name: "answers in chunks", b: fakemmsc.Behaviour{Store: true, Answer: fakemmsc.Chunked()}, path: own},
		phase{name: "answers to the end of the connection", b: fakemmsc.Behaviour{Store: true, Answer: fakemmsc.ToClose()}, path: own},
		phase{name: "interim answers first", b: fakemmsc.Behaviour{Store: true, Answer: fakemmsc.Interim(3)}, path: own},
		phase{name: "answers octet by octet", b: fakemmsc.Behaviour{Store: true, Pace: 100 * time.Microsecond}, path: own},
		phase{name: "answers and hangs up", b: fakemmsc.Behaviour{Store: true, HangUp: true}, path: own},
		phase{name: "answers and closes", b: fakemmsc.Behaviour{Store: true, Close: true}, path: own},
		phase{name: "reads slowly", b: fakemmsc.Behaviour{Store: true, Sip: 32 << 10, SipEvery: time.Millisecond}, path: own},
		phase{name: "answers Ok early and reads on", b: fakemmsc.Behaviour{Store: true, Early: true, EarlyAt: 300}, path: own, lies: true},
		phase{name: "refuses early and reads on", b: fakemmsc.Behaviour{Early: true, EarlyAt: 300, Answer: fakemmsc.Status(503)}, path: fmt.Sprintf(next, "refused")},
		phase{name: "refuses for good early", b: fakemmsc.Behaviour{Early: true, EarlyAt: 300, Answer: fakemmsc.Conf(pdu.TooLarge)}, path: own, outcome: handsets.Refused},
	)
	return all
}

// sendEverything sends each size in each way; with few, two of them. 5 MB goes in one way per case, another one in the
// next case; MMSROUTER_LONG asks for all.
func sendEverything(t *testing.T, p *pair, turn int, few bool, l *handsets.Ledger) {
	var wg sync.WaitGroup
	n := 0
	for _, size := range []int{1000, 30_000, 300_000, 5_000_000} {
		for _, way := range []handsets.Way{handsets.Fast, handsets.Chunked, handsets.Trickle(size, 20, 2*time.Millisecond),
			{Name: "trickling, chunked", Chunked: true, Piece: size / 20, Gap: 2 * time.Millisecond}} {
			n++
			if few && n != 5 && n != 12 || size > 1_000_000 && n%4 != turn%4 && os.Getenv("MMSROUTER_LONG") == "" {
				continue
			}
			tid := fmt.Sprintf("p%02d", n)
			wg.Go(func() {
				h := handsets.New(handsets.Options{Addr: p.r.MM1, Timeout: 45 * time.Second, Header: [][2]string{{"X-MSISDN", "46701" + tid[1:]}}})
				defer h.Close()
				body := pdu.SendReq(tid, size)
				start := time.Now()
				a, err := h.Post(t.Context(), body, way)
				l.Note(tid, body, way, a, err, time.Since(start))
			})
		}
	}
	wg.Wait()
}

// Each way to fail, at each size, in each way of sending: nobody sees a failure, nothing is lost, copies only where
// nobody can know, each of them counted and named.
func TestPhaseTable(t *testing.T) {
	for i, c := range phases() {
		t.Run(c.name, func(t *testing.T) {
			timeouts := []string{"timeouts: {connect: 10s}"}
			if c.mm1 != nil {
				t.Parallel() // mostly waiting
				timeouts = c.mm1
			}
			p := &pair{a: fake(t, "mmsc-a"), b: fake(t, "mmsc-b")}
			p.r = appliance.Start(t, appliance.Setup{MM1: append([]string{"ambiguous_wait: 1s"}, timeouts...),
				// detection that asks once: what is told here are single attempts
				Detection: []string{"probe: {type: tcp, interval: 1m, timeout: 30s, rise: 1, fall: 3}", "slow_start: 0s", "passive: {enabled: false}"},
				MMSCs:     []appliance.MMSC{{Name: "mmsc-a", URL: p.a.URL()}, {Name: "mmsc-b", URL: p.b.URL(), Tier: 1}}})
			p.a.Behave(c.b)
			if c.prepare != nil {
				c.prepare(p)
			}
			var l handsets.Ledger
			sendEverything(t, p, i, c.few, &l)
			p.tell(t, c, &l)
		})
	}
}

// tell holds what the client, the MMSCs, the metrics and the access log say against each other.
func (p *pair) tell(t *testing.T, c phase, l *handsets.Ledger) {
	t.Helper()
	want := c.outcome
	if want == "" {
		want = handsets.Accepted
	}
	sent := l.Sent()
	for _, s := range sent {
		if s.Outcome != want {
			t.Errorf("%s (%d octets, %s): %s %s, want %s", s.Transaction, s.Size, s.Way, s.Outcome, s.Detail, want)
		}
	}
	retries := p.r.Metric("mmsrouter_proxy_ambiguous_retries_total")
	attempts := map[string]float64{}
	path := regexp.MustCompile(c.path)
	for _, s := range sent {
		p.r.AwaitLine(s.Transaction)
	}
	lines := p.r.AccessLog()
	var again float64
	for _, s := range sent {
		line := lines[s.Transaction]
		if got := line.Path(); !path.MatchString(got) {
			t.Errorf("%s (%d octets, %s): the access log tells %q, want %s: %+v", s.Transaction, s.Size, s.Way, got, c.path, line.Attempts)
		}
		ambiguous := false
		for _, a := range line.Attempts {
			attempts[a.MMSC+" "+a.Phase]++
			if ambiguous {
				again++
			}
			ambiguous = ambiguous || a.Phase == "ambiguous"
		}
	}
	if again != retries {
		t.Errorf("the access log names %v attempts behind an ambiguous one, the metric counts %v", again, retries)
	}
	if n := p.r.Metric("mmsrouter_proxy_messages_total", `pdu="m-send-req"`); n != float64(len(sent)) {
		t.Errorf("messages_total counts %v of %d", n, len(sent))
	}
	for k, n := range attempts {
		mmsc, ph, _ := strings.Cut(k, " ")
		if got := p.r.Metric("mmsrouter_proxy_attempts_total", fmt.Sprintf("mmsc=%q", mmsc), fmt.Sprintf("phase=%q", ph)); got != n {
			t.Errorf("attempts_total of %s counts %v, the access log names %v", k, got, n)
		}
	}
	bal := l.Balance(p.a.Records(), p.b.Records())
	if c.lies {
		bal.Lost = nil
	}
	if f := bal.Faults(); f != "" {
		t.Errorf("balance: %s", f)
	}
	switch {
	case !c.copies && bal.Copies > 0:
		t.Errorf("%d copies where the table allows none", bal.Copies)
	case float64(bal.Copies) > retries:
		t.Errorf("%d copies, but only %v ambiguous retries were counted", bal.Copies, retries)
	}
	// whatever went out behind an ambiguous end is marked, and nothing else is
	for _, m := range []*fakemmsc.Server{p.a, p.b} {
		for _, rec := range m.Records() {
			line := lines[rec.Transaction]
			if marked := rec.Attempt != ""; marked && !strings.Contains(line.Path(), "ambiguous") {
				t.Errorf("%s: a request to %s is marked X-Mmsrouter-Attempt %s, the way was %s", rec.Transaction, m.Name(), rec.Attempt, line.Path())
			} else if m == p.b && !marked && strings.Contains(line.Path(), "ambiguous") {
				t.Errorf("%s: the copy to %s is not marked, the way was %s", rec.Transaction, m.Name(), line.Path())
			}
		}
	}
}
