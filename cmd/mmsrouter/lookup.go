package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// address is one address of a host and how long it may be kept.
type address struct {
	addr string
	ttl  uint32
}

// lookup asks one DNS server for a host's IPv4 addresses, or, if there are none, its IPv6 ones. Truncated answers are
// asked for again over TCP.
func lookup(ctx context.Context, server, host string) ([]address, error) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(server, "53")
	}
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		m := new(dns.Msg)
		m.SetQuestion(dns.Fqdn(host), qtype)
		m.SetEdns0(1232, false)
		r, err := exchange(ctx, m, server)
		if err != nil {
			return nil, fmt.Errorf("ask %s for %s: %w", server, host, err)
		}
		if r.Rcode != dns.RcodeSuccess {
			return nil, fmt.Errorf("ask %s for %s: %s", server, host, dns.RcodeToString[r.Rcode])
		}
		var found []address
		for _, rr := range r.Answer {
			switch a := rr.(type) {
			case *dns.A:
				found = append(found, address{a.A.String(), a.Hdr.Ttl})
			case *dns.AAAA:
				found = append(found, address{a.AAAA.String(), a.Hdr.Ttl})
			}
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, fmt.Errorf("ask %s for %s: it has no address", server, host)
}

func exchange(ctx context.Context, m *dns.Msg, server string) (*dns.Msg, error) {
	var err error
	for range 3 { // a datagram may get lost
		c := dns.Client{Timeout: 2 * time.Second}
		var r *dns.Msg
		if r, _, err = c.ExchangeContext(ctx, m, server); err == nil && r.Truncated {
			c.Net = "tcp"
			r, _, err = c.ExchangeContext(ctx, m, server)
		}
		if err == nil {
			return r, nil
		}
		var late net.Error
		if !errors.As(err, &late) || !late.Timeout() {
			return nil, err
		}
	}
	return nil, err
}
