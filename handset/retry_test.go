package handset_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
)

// script is an MMSC that answers the n-th GET as it is told, and takes every POST. It notes when the GETs came.
type script struct {
	mu    sync.Mutex
	began time.Time
	gets  []time.Duration
	posts int
	steps []func(*http.Request) (*http.Response, error) // the last one goes on
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	if r.Method == http.MethodPost {
		s.posts++
		s.mu.Unlock()
		io.Copy(io.Discard, r.Body)
		return answer(200, nil)(r)
	}
	step := s.steps[min(len(s.gets), len(s.steps)-1)]
	s.gets = append(s.gets, time.Since(s.began).Round(time.Second))
	s.mu.Unlock()
	return step(r)
}

func answer(status int, body []byte) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{Status: fmt.Sprint(status), StatusCode: status, Body: io.NopCloser(bytes.NewReader(body)), Header: http.Header{}, Request: r}, nil
	}
}

func refused(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

// stalled never answers.
func stalled(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

// broken answers half a message, then stands still.
func broken(r *http.Request) (*http.Response, error) {
	return &http.Response{Status: "200 OK", StatusCode: 200, Body: io.NopCloser(io.MultiReader(strings.NewReader("half"), standing{r.Context()})), Header: http.Header{}, Request: r}, nil
}

type standing struct{ ctx context.Context }

func (s standing) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

// TestRetry holds the phone to Android's way: three attempts with pauses of 2 and 4 seconds, and again after 1, 5, 10 and 30
// minutes.
func TestRetry(t *testing.T) {
	good := answer(200, message(t, nil, text("x")))
	status := func(s mms.Status) func(*http.Request) (*http.Response, error) {
		return answer(200, mms.RetrieveError{Date: time.Unix(1, 0), Status: s, Text: "sorry"}.Append(nil))
	}
	type steps = []func(*http.Request) (*http.Response, error)
	const m = time.Minute
	const s = time.Second
	cases := []struct {
		name   string
		steps  steps
		expiry time.Duration
		gets   []time.Duration
		err    string // of the Failed event; empty: stored
	}{
		{"at once", steps{good}, 48 * time.Hour, []time.Duration{0}, ""},
		{"third attempt", steps{refused, answer(503, nil), good}, 48 * time.Hour, []time.Duration{0, 2 * s, 6 * s}, ""},
		{"second round", steps{refused, refused, refused, good}, 48 * time.Hour, []time.Duration{0, 2 * s, 6 * s, 6*s + m}, ""},
		{"every round", steps{answer(500, nil)}, 48 * time.Hour, []time.Duration{0, 2 * s, 6 * s, 6*s + m, 8*s + m, 12*s + m,
			12*s + 6*m, 14*s + 6*m, 18*s + 6*m, 18*s + 16*m, 20*s + 16*m, 24*s + 16*m, 24*s + 46*m, 26*s + 46*m, 30*s + 46*m}, "HTTP 500"},
		{"stands still", steps{stalled, broken, good}, 48 * time.Hour, []time.Duration{0, 62 * s, 126 * s}, ""},
		{"expires first", steps{refused}, 5 * m, []time.Duration{0, 2 * s, 6 * s, 6*s + m, 8*s + m, 12*s + m}, "expires before the next attempt: connection refused"},
		{"404", steps{answer(404, nil)}, 48 * time.Hour, []time.Duration{0}, "HTTP 404"},
		{"410", steps{answer(410, nil)}, 48 * time.Hour, []time.Duration{0}, "HTTP 410"},
		{"a redirect is no message", steps{answer(302, nil), good}, 48 * time.Hour, []time.Duration{0, 2 * s}, ""},
		{"not found for good", steps{status(mms.RetrievePermanentMessageNotFound)}, 48 * time.Hour, []time.Duration{0}, `Error-permanent-message-not-found "sorry"`},
		{"not now", steps{status(mms.RetrieveTransientNetworkProblem), good}, 48 * time.Hour, []time.Duration{0, m}, ""},
		{"no PDU", steps{answer(200, []byte("<html>")), good}, 48 * time.Hour, []time.Duration{0, m}, ""},
		{"another PDU", steps{answer(200, mms.Acknowledge{TransactionID: "1"}.Append(nil)), good}, 48 * time.Hour, []time.Duration{0, m}, ""},
		{"too large", steps{answer(200, make([]byte, 10<<20+1))}, 48 * time.Hour, []time.Duration{0}, "more than 10485760 octets"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sc := &script{began: time.Now(), steps: tc.steps}
				var last handset.Event
				settled := make(chan struct{})
				p, err := handset.New(handset.Options{Numbers: []string{bob}, URL: "http://mmsc/", Transport: sc, Observe: func(e handset.Event) {
					switch e.Kind {
					case handset.Stored, handset.Failed:
						last = e
					case handset.Settled:
						close(settled)
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- p.Run(ctx) }()
				p.Push(bob, wappush.AppendMMS(nil, 1, mms.Notification{TransactionID: "t1", Expiry: mms.When{After: tc.expiry}, ContentLocation: "http://mmsc/m/1"}.Append(nil)))
				<-settled
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if fmt.Sprint(sc.gets) != fmt.Sprint(tc.gets) {
					t.Errorf("asked at %v\nwant     %v", sc.gets, tc.gets)
				}
				switch {
				case tc.err == "" && (last.Kind != handset.Stored || sc.posts != 1):
					t.Errorf("%v, %d posts", last, sc.posts)
				case tc.err != "" && (last.Kind != handset.Failed || sc.posts != 0 || !strings.Contains(fmt.Sprint(last.Err), tc.err)):
					t.Errorf("%v, %d posts; want %s", last, sc.posts, tc.err)
				}
			})
		})
	}
}

// TestFailedIsForgotten: the MMSC notifies again, and the phone begins anew.
func TestFailedIsForgotten(t *testing.T) {
	m := newMMSC(t)
	push := m.keep("/m/1", message(t, nil, text("x")))
	m.refuse = func(*http.Request) int { return http.StatusBadGateway }
	l := start(t, handset.Options{URL: m.URL})
	l.Push(bob, push)
	l.await(handset.Settled, 1)
	m.set(func() { m.refuse = nil })
	l.Push(bob, push)
	l.await(handset.Stored, 1)
	if k := l.kinds(); !strings.HasPrefix(k, "notified retrying retrying failed settled notified stored") {
		t.Error(k)
	}
}

// TestEnd: Run returns at once while attempts are under way and pauses last.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := &script{steps: []func(*http.Request) (*http.Response, error){stalled}}
		p, err := handset.New(handset.Options{Numbers: []string{bob}, Transport: sc, Parallel: 1})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		for i := range 3 {
			p.Push(bob, wappush.AppendMMS(nil, 1, mms.Notification{TransactionID: fmt.Sprint(i), ContentLocation: "http://mmsc/m/1"}.Append(nil)))
		}
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-done; err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if err := p.Run(t.Context()); err == nil {
			t.Error("Run runs twice")
		}
	})
}
