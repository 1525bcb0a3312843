package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// markOption is the EDNS option, of those for local use (RFC 6891, 9), in which a drill's queries bear its mark. Routers
// look for it there; other name servers pass over it.
const markOption = 65217

// resolver is what a network's caching resolver is to its gateways: it keeps an answer for its TTL and asks the next
// server when one is silent.
type resolver struct {
	entry Entry
	mu    sync.Mutex // held while it asks, so that all wait for one answer
	addrs []string
	until time.Time
}

func newResolver(e Entry) *resolver { return &resolver{entry: e} }

// How long a server may take for an answer: patience before the resolver asks the next one, silence before a query counts as
// unanswered, which is what resolvers wait at the most.
const (
	patience = 300 * time.Millisecond
	silence  = 2 * time.Second
)

// lookup gives the addresses, at least one.
func (r *resolver) lookup(ctx context.Context) ([]string, error) {
	if len(r.entry.DNS) == 0 {
		return []string{r.entry.Host}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.until) {
		return r.addrs, nil
	}
	err := errors.New("no name server")
	for _, s := range r.entry.DNS {
		var addrs []string
		var ttl time.Duration
		if addrs, ttl, err = r.ask(ctx, s.Address, patience); err == nil && len(addrs) > 0 {
			r.addrs, r.until = addrs, time.Now().Add(ttl)
			return addrs, nil
		}
	}
	if len(r.addrs) > 0 && err != nil {
		return r.addrs, nil // nobody answers: what is old is better than nothing, as RFC 8767 has it
	}
	return nil, fmt.Errorf("look %s up: %w", r.entry.Host, err)
}

// ask asks one server for the IPv4 addresses, or, if there are none, for the IPv6 ones.
func (r *resolver) ask(ctx context.Context, server string, within time.Duration) (addrs []string, ttl time.Duration, err error) {
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		if addrs, ttl, err = r.query(ctx, server, qtype, within); err != nil || len(addrs) > 0 {
			return addrs, ttl, err
		}
	}
	return nil, 0, nil
}

func (r *resolver) query(ctx context.Context, server string, qtype uint16, within time.Duration) ([]string, time.Duration, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(r.entry.Host), qtype)
	m.SetEdns0(1232, false)
	o := m.IsEdns0()
	o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: markOption, Data: []byte(r.entry.Mark)})
	c := dns.Client{Timeout: within}
	a, _, err := c.ExchangeContext(ctx, m, server)
	if err != nil {
		return nil, 0, err
	}
	if a.Rcode != dns.RcodeSuccess {
		return nil, 0, errors.New(dns.RcodeToString[a.Rcode])
	}
	var addrs []string
	ttl := time.Hour
	for _, rr := range a.Answer {
		switch x := rr.(type) {
		case *dns.A:
			addrs = append(addrs, x.A.String())
		case *dns.AAAA:
			addrs = append(addrs, x.AAAA.String())
		default:
			continue
		}
		ttl = min(ttl, time.Duration(rr.Header().Ttl)*time.Second)
	}
	return addrs, ttl, nil
}

// Answer is what one name server said at a time.
type Answer struct {
	At, Took  time.Duration
	Router    string
	Addresses []string // sorted
	Err       string   // it did not answer
}

// watchDNS asks every server again and again, past any cache; each by itself, so that a silent one holds nobody up.
func (r *run) watchDNS(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, s := range r.entry.DNS {
		wg.Go(func() { r.watchServer(ctx, s) })
	}
}

func (r *run) watchServer(ctx context.Context, s Server) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		at := time.Now()
		addrs, _, err := r.names.ask(ctx, s.Address, silence)
		if ctx.Err() != nil {
			return
		}
		a := Answer{At: r.since(at), Took: time.Since(at), Router: s.Router, Addresses: addrs}
		if err != nil {
			a.Err = plain(err)
		}
		slices.SortFunc(a.Addresses, compareAddresses)
		r.mu.Lock()
		r.dns = append(r.dns, a)
		r.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func compareAddresses(a, b string) int {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	if errX != nil || errY != nil {
		return 0 // miekg/dns has made them: they parse
	}
	return x.Compare(y)
}

// hostOf takes the host out of host:port.
func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
