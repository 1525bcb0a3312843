package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/app"
	"github.com/mmsrouter/mmsrouter/handset"
)

// phoning is what the flags of phone say.
type phoning struct {
	opt   handset.Options
	file  string
	dns   string
	mode  string
	count int
	quiet bool
	until int64
}

func phoneCommand() *cobra.Command {
	var s phoning
	c := &cobra.Command{
		Use:   "phone --number +NUMBER --dir DIR",
		Short: "Be a phone: receive, fetch, store and acknowledge multimedia messages",
		Long: `phone is one phone or many. It listens as an SMSC to which a push proxy binds (SMPP 3.4) and for pushes on UDP
2948; notified of a message it fetches it on its own, stores it in DIR/NUMBER/, PDU and parts, and acknowledges. It
prints what happens as it happens, until a signal ends it.

MMS URL and DNS server are those of the configuration (-c, else the embedded default) unless flags say otherwise.
With --proxy all requests go to that MMS proxy and name the whole URL, as phones do whose proxy is their own MMSC.`,
		Example: `  mmsrouter phone --number +46701740606 --dir ./phone
  mmsrouter phone --number +46701740606 --dir ./phone --mode deferred --fetch-after 30s --read-report
  mmsrouter phone --number +46701740000 --count 1000 --quiet`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := s.complete(c); err != nil {
				return err
			}
			return s.run(c.Context(), c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVarP(&s.file, "config", "c", "", "configuration file that says MMS URL and DNS server")
	f.StringSliceVar(&s.opt.Numbers, "number", nil, "the phone's number; may be repeated, a phone each")
	f.IntVar(&s.count, "count", 1, "so many phones, with numbers counted up from --number")
	f.StringVar(&s.opt.Dir, "dir", "", "folder of the messages; empty: they are not kept")
	f.StringVar(&s.opt.SMPP, "smpp", "127.0.0.1:2775", `listen as an SMSC; "" does not`)
	f.StringArrayVar(&s.opt.UDP, "udp", []string{"127.0.0.1:2948"}, `listen for pushes; repeated: for the phones in their order; "" does not`)
	f.StringVar(&s.opt.URL, "url", "", `MMS URL, to which the phone posts; "-": where the message came from`)
	f.StringVar(&s.dns, "dns", "", `DNS server such as 127.0.0.1:1053; "" is the system's resolver`)
	f.StringVar(&s.opt.Proxy, "proxy", "", "MMS proxy such as http://10.0.0.1:8080")
	f.StringArrayVar(&s.opt.Header, "header", nil, `HTTP header field such as "X-MSISDN: ##LINE1##", which names the phone's number`)
	f.StringVar(&s.mode, "mode", "immediate", "what to do when notified: immediate, deferred, reject")
	f.DurationVar(&s.opt.FetchAfter, "fetch-after", 10*time.Second, "deferred mode: fetch after so long; 0s: never")
	f.BoolVar(&s.opt.ReadReport, "read-report", false, "say that a message was read where its sender asks")
	f.BoolVar(&s.opt.DenyReports, "deny-reports", false, "allow no delivery reports to senders")
	f.BoolVar(&s.opt.InsertAddress, "insert-address", false, "let the MMSC insert the sender's address")
	f.StringArrayVar(&s.opt.Replies, "reply", nil, "answer a message with this text; repeated: the texts in turn, to each correspondent")
	f.BoolVar(&s.quiet, "quiet", false, "print the counts at the end only")
	f.Int64Var(&s.opt.MaxMessage, "max-message", 10<<20, "octets of the largest message to fetch")
	f.Int64Var(&s.until, "until", 0, "end once so many messages are stored; 0: never")
	return c
}

// complete fills in what the flags leave to the configuration.
func (s *phoning) complete(c *cobra.Command) error {
	cfg, err := app.Load(s.file)
	if err != nil {
		return usageError{err}
	}
	switch s.opt.URL {
	case "":
		s.opt.URL = cfg.PublicURL()
	case "-":
		s.opt.URL = ""
	}
	if !c.Flags().Changed("dns") && cfg.ServesDNS() {
		s.dns = reachable(cfg.DNS.Listen[0])
	}
	if s.opt.Mode, err = handset.ParseMode(s.mode); err != nil {
		return wrongUsage("phone: --%v", err)
	}
	if len(s.opt.Numbers) == 0 {
		return wrongUsage("phone: give a number with --number")
	}
	if s.opt.Numbers, err = countUp(s.opt.Numbers, s.count); err != nil {
		return err
	}
	if len(s.opt.UDP) == 1 && s.opt.UDP[0] == "" {
		s.opt.UDP = nil
	}
	if s.opt.SMPP == "" && len(s.opt.UDP) == 0 {
		return wrongUsage("phone: neither --smpp nor --udp: nothing could reach it")
	}
	s.opt.UserAgent = "mmsrouter-phone/" + version
	return nil
}

// countUp gives n numbers from the one that is given.
func countUp(numbers []string, n int) ([]string, error) {
	if n == 1 {
		return numbers, nil
	}
	if n < 1 || n > 1_000_000 || len(numbers) != 1 {
		return nil, wrongUsage("phone: --count %d: want 1 to 1000000, with one --number", n)
	}
	base := strings.TrimPrefix(numbers[0], "+")
	from, err := strconv.ParseUint(base, 10, 63)
	if err != nil {
		return nil, wrongUsage("phone: --number %s: with --count it has to be digits", numbers[0])
	}
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("+%0*d", len(base), from+uint64(i))
	}
	return out, nil
}

func (s *phoning) run(ctx context.Context, out io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	if server := s.dns; server != "" {
		s.opt.Resolve = func(ctx context.Context, host string) ([]string, error) {
			found, err := lookup(ctx, server, host)
			addrs := make([]string, len(found))
			for i, f := range found {
				addrs[i] = f.addr
			}
			return addrs, err
		}
	}
	var mu sync.Mutex // guards out and last
	last := last{n: s.until}
	s.opt.Observe = func(e handset.Event) {
		mu.Lock()
		defer mu.Unlock()
		if last.seen(e) {
			enough()
		}
		if s.quiet || e.Kind == handset.Settled {
			return
		}
		fmt.Fprintf(out, "%s %s%s\n", e.Time.Format("15:04:05.000"), prefix(e.Number), e)
	}
	phones, err := handset.New(s.opt)
	if err != nil {
		return err
	}
	s.greet(out, phones)
	if err := phones.Run(ctx); err != nil {
		return err
	}
	sum(out, phones)
	return nil
}

// last looks for the end of a run of so many messages: when they are stored and everything of theirs is done. What the MMSC
// is told of a message comes after its storing, and must not be cut off by the next one's.
type last struct {
	n      int64 // 0: never
	stored int64
	open   map[string]bool // stored, but not settled
}

func (l *last) seen(e handset.Event) bool {
	key := e.Number + "\n" + e.Transaction + "\n" + e.Location
	switch {
	case l.n <= 0:
		return false
	case e.Kind == handset.Stored:
		if l.open == nil {
			l.open = map[string]bool{}
		}
		l.stored++
		l.open[key] = true
	case e.Kind == handset.Settled:
		delete(l.open, key)
		return l.stored >= l.n && len(l.open) == 0
	}
	return false
}

func prefix(number string) string {
	if number == "" {
		return ""
	}
	return number + " "
}

// greet says how the phones can be reached.
func (s *phoning) greet(out io.Writer, phones *handset.Phones) {
	n := s.opt.Numbers
	fmt.Fprintf(out, "%s", n[0])
	if len(n) > 1 {
		fmt.Fprintf(out, " to %s (%d phones)", n[len(n)-1], len(n))
	}
	if a := phones.SMPPAddr(); a != nil {
		fmt.Fprintf(out, "; SMS by SMPP at %s", a)
	}
	for i := range s.opt.UDP {
		fmt.Fprintf(out, "; pushes by UDP at %s", phones.UDPAddr(i))
	}
	if s.opt.URL != "" {
		fmt.Fprintf(out, "; MMSC %s", s.opt.URL)
	}
	fmt.Fprintln(out)
}

// sum says how much of what there was.
func sum(out io.Writer, phones *handset.Phones) {
	var said []string
	for _, k := range handset.Kinds() {
		if n := phones.Count(k); n > 0 && k != handset.Settled {
			said = append(said, fmt.Sprintf("%s %d", k, n))
		}
	}
	if len(said) == 0 {
		said = []string{"nothing happened"}
	}
	fmt.Fprintln(out, strings.Join(said, ", "))
}
