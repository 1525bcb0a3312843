package peer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/peer"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

const (
	alice, bob = "+46701740605", "+15551740606"
	mediaType  = "application/vnd.wap.mms-message"
	identity   = "X-WAP-Network-Client-MSISDN"
)

// sender is another operator's server.
type sender struct {
	*httptest.Server
	port string
	mu   sync.Mutex
	// serve answers instead of it, if set.
	serve  http.HandlerFunc
	asked  []string
	header http.Header // of the last request
	told   []*mms.PDU
	news   chan struct{}
}

func newSender(t *testing.T) *sender {
	s := &sender{news: make(chan struct{}, 100)}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	_, s.port, _ = net.SplitHostPort(s.Listener.Addr().String())
	return s
}

// at gives the location of a path, under the sender's name.
func (s *sender) at(path string) string { return "http://mms.b.example:" + s.port + path }

func (s *sender) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	s.asked, s.header = append(s.asked, r.Method+" "+r.RequestURI), r.Header.Clone()
	serve := s.serve
	if r.Method == http.MethodPost && serve == nil {
		if pdu, err2 := mms.Decode(body); err == nil && err2 == nil {
			s.told = append(s.told, pdu)
		}
	}
	s.mu.Unlock()
	defer func() {
		select {
		case s.news <- struct{}{}:
		default: // there are enough to wake whoever waits
		}
	}()
	switch {
	case serve != nil:
		serve(w, r)
	case r.Method == http.MethodGet:
		w.Header().Set("Content-Type", mediaType)
		_, _ = w.Write(message("to " + r.URL.Path))
	}
}

func (s *sender) set(serve http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve = serve
}

func (s *sender) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// await waits for the n-th indication.
func (s *sender) await(t *testing.T, n int) *mms.PDU {
	t.Helper()
	end := time.NewTimer(20 * time.Second)
	defer end.Stop()
	for {
		s.mu.Lock()
		told := s.told
		s.mu.Unlock()
		if len(told) >= n {
			return told[n-1]
		}
		select {
		case <-s.news:
		case <-end.C:
			t.Fatalf("%d indications, want %d; asked: %q", len(told), n, s.requests())
		}
	}
}

// message is an M-Retrieve.conf with a text.
func message(text string) []byte {
	b, err := wsp.AppendParts(mms.Retrieve{TransactionID: "r1", MessageID: "id1@mms.b.example", Date: time.Unix(1700000000, 0), From: alice + "/TYPE=PLMN",
		To: []string{bob + "/TYPE=PLMN"}, Subject: "Hello", ContentType: wsp.Media(wsp.MultipartMixed)}.AppendHead(nil),
		[]wsp.Part{{ContentType: wsp.Media("text/plain", "charset", "utf-8"), Data: []byte(text), Size: int64(len(text))}})
	if err != nil {
		panic(err)
	}
	return b
}

// names resolves by a list.
type names map[string][]string

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, a := range n[host] {
		out = append(out, netip.MustParseAddr(a))
	}
	if out == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return out, nil
}

// server is the handset's own server: the relay in front of an MM1 door that counts what it gets.
type server struct {
	*httptest.Server
	*peer.Relay
	stop func()
	mu   sync.Mutex
	mm1  []string // what has reached the MM1 door
}

func quick(s *sender) peer.Config {
	c := peer.DefaultConfig()
	c.Operators = []peer.Operator{{Name: "b", Hosts: []string{"mms.b.example:" + s.port, "two.b.example:" + s.port, "127.0.0.1:" + s.port},
		Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, Paths: []string{"/m/"}}}
	c.Timeout, c.Deadline, c.Pause = 5*time.Second, 10*time.Second, time.Millisecond
	c.Indications.RetryFirst, c.Indications.RetryMax = 10*time.Millisecond, 20*time.Millisecond
	return c
}

func newServer(t *testing.T, dir, dsn string, c peer.Config, more ...func(*peer.Options)) *server {
	t.Helper()
	if dir == "" {
		dir = pgtest.TempDir(t)
	}
	st, err := peer.Open(t.Context(), dir, dsn)
	if err != nil {
		t.Fatal(err)
	}
	o := peer.Options{Config: c, Store: st, URL: "http://mms.a.example", Identify: func(r *http.Request) string { return r.Header.Get(identity) },
		Client: func(*http.Request) netip.Addr { return netip.Addr{} },
		Resolver: names{"mms.b.example": {"198.51.100.7", "127.0.0.1"}, "two.b.example": {"127.0.0.2", "10.0.0.1"}, "evil.example": {"127.0.0.1"},
			"mms.a.example": {"127.0.0.1"}}}
	for _, f := range more {
		f(&o)
	}
	x, err := peer.New(o)
	if err != nil {
		t.Fatal(errors.Join(err, st.Close()))
	}
	s := &server{Relay: x}
	s.Server = httptest.NewServer(x.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mm1 = append(s.mm1, r.Method+" "+r.URL.RequestURI()+" "+string(b))
	})))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		s.Server.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(s.stop)
	end := time.NewTimer(10 * time.Second)
	defer end.Stop()
	for { // until Run is under way
		if s.Running() {
			return s
		}
		select {
		case <-end.C:
			t.Fatal("Run does not begin")
		default:
		}
	}
}

func (s *server) reached() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mm1)
}

// do is a handset's request; a URL goes as an absolute-form target.
func (s *server) do(t *testing.T, method, number, to string, body []byte) (int, http.Header, []byte) {
	t.Helper()
	tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	if strings.HasPrefix(to, "/") {
		to = s.URL + to
	} else {
		tr.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(s.URL) }
	}
	r, err := http.NewRequestWithContext(t.Context(), method, to, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if number != "" {
		r.Header.Set(identity, number)
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, b
}

func (s *server) get(t *testing.T, number, to string) (int, []byte) {
	t.Helper()
	code, _, b := s.do(t, http.MethodGet, number, to, nil)
	return code, b
}

func (s *server) post(t *testing.T, number, to string, pdu []byte) int {
	t.Helper()
	code, _, _ := s.do(t, http.MethodPost, number, to, pdu)
	return code
}

// status gives the Retrieve-Status of an answer.
func status(t *testing.T, b []byte) mms.Status {
	t.Helper()
	p, err := mms.Decode(b)
	if err != nil || p.Type != mms.MRetrieveConf {
		t.Fatalf("no M-Retrieve.conf: %v: %q", err, b)
	}
	return mms.Status(p.Octet(mms.FieldRetrieveStatus))
}
