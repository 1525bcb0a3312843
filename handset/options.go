package handset

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options says what the phones are.
type Options struct {
	Numbers  []string          // MSISDNs in international form, one phone each
	Dir      string            // each phone's messages go into a folder below, named by its digits; empty: they are dropped once read
	SMPP     string            // listen as an SMSC; empty: no SMS
	Accounts map[string]string // passwords by system_id; nil: any ESME may bind
	UDP      []string          // listen for pushes (port 2948): the n-th is the n-th phone's

	URL    string // of the MMSC: submissions and indications go there; empty: indications go to the Content-Location
	Proxy  string // MMS proxy as http://host:port; requests to it name the whole URL
	Header []string
	// Header fields go with every request, as "Name: value"; ##LINE1## in them is the phone's number with its plus.
	UserAgent     string
	InsertAddress bool // let the MMSC insert the sender's address instead of naming it

	Mode        Mode
	FetchAfter  time.Duration // deferred mode: fetch after so long; 0: when Fetch is called
	ReadReport  bool          // say that a message was read where its sender asks
	DenyReports bool          // X-Mms-Report-Allowed: No
	Replies     []string      // the n-th message of a correspondent is answered with the n-th text

	Retry      Retry
	MaxMessage int64 // octets of a message to fetch; default 10 MiB
	Parallel   int   // HTTP exchanges at the same time, of all phones; default 256
	Queue      int   // notifications at the same time of one phone; default 64

	Resolve   func(ctx context.Context, host string) ([]string, error) // addresses of a host; nil: the system's resolver
	Transport http.RoundTripper                                        // instead of the phones' own
	Observe   func(Event)                                              // told of each event, from many goroutines; nil: nobody
	Metrics   prometheus.Registerer                                    // nil: none
	Log       *slog.Logger                                             // nil: none
}

// Mode says what a phone does with a notification.
type Mode uint8

// The modes.
const (
	Immediate Mode = iota // fetch at once
	Deferred              // say so, and fetch later
	Reject                // refuse the message
)

// String gives "immediate", "deferred" or "reject".
func (m Mode) String() string { return [...]string{"immediate", "deferred", "reject"}[min(m, Reject)] }

// ParseMode is the inverse of String.
func ParseMode(s string) (Mode, error) {
	for m := Immediate; m <= Reject; m++ {
		if m.String() == s {
			return m, nil
		}
	}
	return 0, fmt.Errorf("mode %q; allowed are immediate, deferred, reject", s)
}

// Retry says how often a phone tries. The zero value is what Android does.
type Retry struct {
	Timeout  time.Duration   // of a connection that stands still; default 60s
	Attempts int             // on faults of HTTP and below; default 3
	Pause    time.Duration   // between two attempts, doubling; default 2s
	Schedule []time.Duration // pauses before further rounds of attempts; nil: 1, 5, 10 and 30 minutes
}

func (o *Options) complete() error {
	if len(o.Numbers) == 0 {
		return errors.New("handset: give a number")
	}
	if len(o.UDP) > len(o.Numbers) {
		return fmt.Errorf("handset: %d addresses for pushes by UDP, but %d phones", len(o.UDP), len(o.Numbers))
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 10 << 20
	}
	if o.Parallel <= 0 {
		o.Parallel = 256
	}
	if o.Queue <= 0 {
		o.Queue = 64
	}
	if o.UserAgent == "" {
		o.UserAgent = "mmsrouter-phone"
	}
	r := &o.Retry
	if r.Timeout <= 0 {
		r.Timeout = time.Minute
	}
	if r.Attempts <= 0 {
		r.Attempts = 3
	}
	if r.Pause <= 0 {
		r.Pause = 2 * time.Second
	}
	if r.Schedule == nil {
		r.Schedule = []time.Duration{time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute}
	}
	if o.Mode > Reject {
		return fmt.Errorf("handset: there is no mode %d", o.Mode)
	}
	for _, h := range o.Header {
		if name, _, ok := strings.Cut(h, ":"); !ok || strings.TrimSpace(name) == "" || strings.ContainsAny(h, "\r\n") {
			return fmt.Errorf("handset: header %q; want Name: value", h)
		}
	}
	if o.Proxy != "" {
		if _, err := parseURL(o.Proxy); err != nil {
			return fmt.Errorf("handset: MMS proxy: %w", err)
		}
	}
	if o.URL != "" {
		if _, err := parseURL(o.URL); err != nil {
			return fmt.Errorf("handset: MMSC: %w", err)
		}
	}
	return nil
}

// literal says whether a host is an IP address.
func literal(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
