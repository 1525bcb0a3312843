package dnsserver_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/mmsrouter/mmsrouter/dnsserver"
	"github.com/mmsrouter/mmsrouter/router"
)

// A query that bears a drill's mark gets the answer that the drill wants; all others don't, and no answer is emptied by it.
func TestDrillMark(t *testing.T) {
	c := testConfig()
	board := router.NewBoard(1000)
	zones, err := c.BoardZones()
	if err != nil {
		t.Fatal(err)
	}
	if err := board.Configure(nil, zones, nil); err != nil {
		t.Fatal(err)
	}
	s, err := dnsserver.New(dnsserver.Options{Config: c, Board: board, LeaveOut: func(mark string, a netip.Addr) bool {
		return mark == "all" || mark == "one" && a == netip.MustParseAddr("192.0.2.1")
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	tests := []struct {
		name, mark, host string
		qtype            uint16
		want             string
	}{
		{"no mark", "", "mms.example.net", dns.TypeA, "192.0.2.1 192.0.2.2"},
		{"another's mark", "none", "mms.example.net", dns.TypeA, "192.0.2.1 192.0.2.2"},
		{"one is left out", "one", "mms.example.net", dns.TypeA, "192.0.2.2"},
		{"of IPv6 that one is none", "one", "mms.example.net", dns.TypeAAAA, "2001:db8::1"},
		{"nothing would be left", "all", "mms.example.net", dns.TypeA, "192.0.2.1 192.0.2.2"},
		{"a name that is no router's", "all", "mail.mms.example.net", dns.TypeA, "192.0.2.25"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := question(tt.host, tt.qtype)
			m.SetEdns0(1232, false)
			if o := m.IsEdns0(); tt.mark != "" {
				o.Option = append(o.Option, &dns.EDNS0_LOCAL{Code: dnsserver.MarkOption, Data: []byte(tt.mark)})
			}
			for _, network := range []string{"udp", "tcp"} {
				a := exchange(t, network, s.Addrs()[0].String(), m)
				got := texts(a.Answer)
				for want := range strings.FieldsSeq(tt.want) {
					if !strings.Contains(got, want) {
						t.Errorf("%s: %s is missing:\n%s", network, want, got)
					}
				}
				if len(a.Answer) != len(strings.Fields(tt.want)) {
					t.Errorf("%s: got\n%s\nwant %s", network, got, tt.want)
				}
			}
		})
	}
}
