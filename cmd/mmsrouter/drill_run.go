package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/drill"
	"github.com/mmsrouter/mmsrouter/drill/live"
)

// running is what the flags of drill run say.
type running struct {
	clientFlags
	reports
	real bool
	url  string
	ca   string
	dns  []string
	as   map[string]string
	rate float64
}

func drillRunCommand() *cobra.Command {
	var f running
	c := &cobra.Command{
		Use:   "run DRILL|FILE…",
		Short: "Run drills against a running system",
		Long: `drill run breaks connections, DNS answers and the links between routers inside the routers themselves, for the drill's
own messages alone: those that bear its mark and go between the test numbers of drill.numbers. Nobody else's message
is touched, and the MMSCs aren't either; the test numbers get the messages. The routers hold what is broken as a
lease, ten minutes at most, which ends by itself if this command dies. One drill runs at a time.

With --real-traffic a fault befalls everybody's messages; then only refuse, drain and withdraw are taken, which can neither
double nor lose a message, and only while another MMSC passes detection.

In a cluster, --admin names the admin address of every router, with commas between them.`,
		Example: `  mmsrouter drill run cut-upload -c /etc/mmsrouter.yaml --html report.html
  mmsrouter drill run refuse --real-traffic --as mmsc-1=north --admin http://192.0.2.10:8090,http://192.0.2.11:8090`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			all, err := chosenDrills(args, nil)
			if err != nil {
				return err
			}
			for i := range all {
				if f.rate > 0 {
					all[i].Traffic.Rate = f.rate
				}
				if err := all[i].Validate(); err != nil {
					return wrongUsage("drill run: %w", err)
				}
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			consoles, entry, err := f.where(ctx)
			if err != nil {
				return err
			}
			return runAll(ctx, c, all, &f.reports, func(ctx context.Context, s drill.Scenario) (*drill.Result, error) {
				return f.drill(ctx, c, s, consoles, entry)
			})
		},
	}
	f.clientFlags.add(c)
	f.reports.add(c)
	fl := c.Flags()
	fl.BoolVar(&f.real, "real-traffic", false, "let faults befall everybody's messages; only refuse, drain and withdraw are taken then")
	fl.StringVar(&f.url, "url", "", "MMS URL to post to; default: the router's own zone and MM1 port")
	fl.StringVar(&f.ca, "ca", "", "PEM file of the authorities to trust instead of the system's, for an https MMS URL")
	fl.StringSliceVar(&f.dns, "dns", nil, `DNS servers, such as 192.0.2.10:53; default: the routers' own`)
	fl.StringToStringVar(&f.as, "as", nil, "which MMSC is the scenario's, such as mmsc-1=north; default: in the order of status")
	fl.Float64Var(&f.rate, "rate", 0, "messages a second, instead of the scenario's")
	return c
}

// drill does one drill under leases of its own.
func (f *running) drill(ctx context.Context, c *cobra.Command, s drill.Scenario, consoles []live.Console, entry drill.Entry) (*drill.Result, error) {
	l, err := live.New(ctx, live.Options{Scenario: s, Consoles: consoles, Entry: entry, RealTraffic: f.real, By: whoami(), Names: f.as})
	if err != nil {
		return nil, err
	}
	r, err := runShown(ctx, s, l, c.ErrOrStderr())
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if cerr := l.Close(end); err == nil {
		err = cerr
	}
	return r, err
}

// where finds the routers' admin APIs and the way that clients take in.
func (f *running) where(ctx context.Context) ([]live.Console, drill.Entry, error) {
	var consoles []live.Console
	e := drill.Entry{Routers: map[string]string{}}
	for i, one := range strings.Split(f.admin, ",") {
		flags := f.clientFlags
		flags.admin = strings.TrimSpace(one)
		client, err := flags.client()
		if err != nil {
			return nil, e, err
		}
		st, err := client.Status(ctx)
		if err != nil {
			return nil, e, err
		}
		consoles = append(consoles, console{client})
		for _, m := range st.Members {
			for _, addrs := range m.Zones {
				for _, a := range addrs {
					e.Routers[a] = m.Name
				}
			}
		}
		if i == 0 {
			if err := f.entry(&e, &st); err != nil {
				return nil, e, err
			}
		}
		if at := st.Node.Listen["dns.listen"]; len(f.dns) == 0 && len(at) > 0 {
			e.DNS = append(e.DNS, drill.Server{Router: st.Node.Name, Address: from(client, at[0])})
		}
	}
	for _, at := range f.dns {
		if _, _, err := net.SplitHostPort(at); err != nil {
			at = net.JoinHostPort(at, "53")
		}
		e.DNS = append(e.DNS, drill.Server{Router: at, Address: at})
	}
	if net.ParseIP(e.Host) != nil {
		e.DNS = nil
	}
	return consoles, e, nil
}

// entry says where messages are posted to: --url, or the zone that a router serves with its MM1 port.
func (f *running) entry(e *drill.Entry, st *admin.Status) error {
	at := f.url
	if at == "" {
		mm1 := st.Node.Listen["mm1.listen"]
		if len(st.Zones) == 0 || len(mm1) == 0 {
			return wrongUsage("drill run: the router serves no zone: say where to post with --url")
		}
		_, port, err := net.SplitHostPort(mm1[0])
		if err != nil {
			return err
		}
		at = "http://" + net.JoinHostPort(st.Zones[0].Name, port) + "/"
	}
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return wrongUsage("drill run: --url %q: want an MMS URL such as http://mms.example.net/", at)
	}
	if e.TLS, err = (&sending{ca: f.ca, url: at}).trust(u.Scheme); err != nil {
		return err
	}
	standard := "80"
	if u.Scheme == "https" {
		standard = "443"
		if e.TLS == nil {
			e.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	}
	e.Host, e.Port, e.Path = u.Hostname(), cmp.Or(u.Port(), standard), u.RequestURI()
	return nil
}

// from makes an address that is listened on one to call: one that names no host is where the admin API is.
func from(c *admin.Client, listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		if u, err := url.Parse(c.Base); err == nil {
			host = u.Hostname()
		}
	}
	return net.JoinHostPort(host, port)
}
