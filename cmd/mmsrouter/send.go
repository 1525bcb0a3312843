package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/app"
	"github.com/mmsrouter/mmsrouter/mms"
)

// testSender is from the block of numbers that Sweden keeps for fiction: nobody's phone rings.
const testSender = "+46701740605"

// maxConf bounds an answer to a submission.
const maxConf = 1 << 20

// sending is what the flags of send say.
type sending struct {
	letter
	file    string
	pdu     string
	write   string
	url     string
	dns     string
	headers []string
	ca      string
	timeout time.Duration
}

func sendCommand() *cobra.Command {
	var s sending
	c := &cobra.Command{
		Use:   "send --to ADDRESS [--text TEXT] [--file FILE]…",
		Short: "Send a multimedia message as a handset would",
		Long: `send composes a message from text and files, resolves the MMS URL's host through a DNS server, posts the message
there and prints the M-Send.conf in words. URL and DNS server are those of the configuration (-c, else the
embedded default) unless flags say otherwise. The exit code is 1 unless the message was accepted.`,
		Example: `  mmsrouter send --to +46701740606 --text "Hello"
  mmsrouter send --to +46701740606 --subject Holiday --text "Look!" --file beach.jpg --file waves.mp4
  mmsrouter send --pdu message.mms --url http://127.0.0.1:8080/ --dns ""`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.Load(s.file)
			if err != nil {
				return usageError{err}
			}
			if s.url == "" {
				s.url = cfg.PublicURL()
			}
			if !c.Flags().Changed("dns") && cfg.ServesDNS() {
				s.dns = reachable(cfg.DNS.Listen[0])
			}
			return s.run(c.Context(), c.InOrStdin(), c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVarP(&s.file, "config", "c", "", "configuration file that says MMS URL and DNS server")
	f.StringSliceVar(&s.to, "to", nil, "recipient: number or mail address; may be repeated")
	f.StringSliceVar(&s.cc, "cc", nil, "recipient of a copy")
	f.StringSliceVar(&s.bcc, "bcc", nil, "recipient whom the others don't see")
	f.StringVar(&s.from, "from", testSender, "sender; empty: let the MMSC insert the address")
	f.StringVar(&s.subject, "subject", "", "subject")
	f.StringArrayVar(&s.texts, "text", nil, "text; may be repeated")
	f.StringArrayVar(&s.files, "file", nil, "picture, sound, video, text or SMIL; may be repeated")
	f.BoolVar(&s.report, "report", false, "ask for a delivery report")
	f.StringVar(&s.pdu, "pdu", "", "post this M-Send.req instead (- is standard input)")
	f.StringVar(&s.write, "write", "", "write the M-Send.req to this file and post nothing")
	f.StringVar(&s.url, "url", "", "MMS URL")
	f.StringVar(&s.dns, "dns", "", `DNS server such as 127.0.0.1:1053; "" is the system's resolver`)
	f.StringArrayVar(&s.headers, "header", nil, `HTTP header field such as "X-MSISDN: +46701740605"`)
	f.StringVar(&s.ca, "ca", "", "PEM file of the authorities to trust instead of the system's, for an https MMS URL")
	f.DurationVar(&s.timeout, "timeout", time.Minute, "how long to wait for the answer")
	return c
}

func (s *sending) run(ctx context.Context, in io.Reader, out io.Writer) error {
	u, err := url.Parse(s.url)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return wrongUsage("send: --url %q: want an MMS URL such as http://mms.example.net/", s.url)
	}
	trust, err := s.trust(u.Scheme)
	if err != nil {
		return err
	}
	var pdu []byte
	if s.pdu != "" {
		pdu, err = readFile(s.pdu, in)
	} else {
		pdu, err = s.compose()
	}
	if err != nil {
		return err
	}
	if s.write != "" {
		return os.WriteFile(s.write, pdu, 0o600)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	addrs, err := s.resolve(ctx, u.Hostname(), out)
	if err != nil {
		return err
	}
	began := time.Now()
	answer, status, err := s.post(ctx, u, addrs, trust, pdu)
	if err != nil {
		return fmt.Errorf("post to %s: %w", s.url, err)
	}
	fmt.Fprintf(out, "posted %d octets to %s: HTTP %d after %s\n", len(pdu), s.url, status, time.Since(began).Round(time.Millisecond))
	return printConf(out, answer)
}

// resolve asks for the host's addresses; none means that the system's resolver does.
func (s *sending) resolve(ctx context.Context, host string, out io.Writer) ([]string, error) {
	if net.ParseIP(host) != nil || s.dns == "" {
		return nil, nil
	}
	found, err := lookup(ctx, s.dns, host)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, f := range found {
		addrs = append(addrs, f.addr)
	}
	fmt.Fprintf(out, "%s is %s (TTL %d s, says %s)\n", host, strings.Join(addrs, ", "), found[0].ttl, s.dns)
	return addrs, nil
}

// trust says whom an https MMS URL is believed; nil: the system's authorities. No flag turns verification off.
func (s *sending) trust(scheme string) (*tls.Config, error) {
	if s.ca == "" {
		return nil, nil
	}
	if scheme != "https" {
		return nil, wrongUsage("--ca is for an https MMS URL; the MMS URL is %s", s.url)
	}
	b, err := os.ReadFile(s.ca)
	if err != nil {
		return nil, wrongUsage("--ca: %v", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, wrongUsage("--ca: no certificate stands in %s", s.ca)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, nil
}

// post sends the PDU; it follows no redirect, as a handset does not.
func (s *sending) post(ctx context.Context, u *url.URL, addrs []string, trust *tls.Config, pdu []byte) ([]byte, int, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	tr := &http.Transport{DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: trust,
		DialContext: func(ctx context.Context, network, at string) (net.Conn, error) {
			if len(addrs) == 0 {
				return d.DialContext(ctx, network, at)
			}
			_, port, err := net.SplitHostPort(at)
			if err != nil {
				return nil, err
			}
			var all error
			for _, a := range addrs {
				conn, err := d.DialContext(ctx, network, net.JoinHostPort(a, port))
				if err == nil {
					return conn, nil
				}
				all = errors.Join(all, err)
			}
			return nil, all
		}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(pdu))
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Content-Type", "application/vnd.wap.mms-message")
	req.Header.Set("Accept", "application/vnd.wap.mms-message")
	req.Header.Set("User-Agent", "mmsrouter-send/"+version)
	for _, h := range s.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, 0, wrongUsage("send: --header %q: want Name: value", h)
		}
		req.Header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxConf))
	return b, resp.StatusCode, err
}

// printConf says the answer in words. Anything but an Ok is a failure.
func printConf(out io.Writer, answer []byte) error {
	p, err := mms.Decode(answer)
	if err != nil {
		return fmt.Errorf("the answer is no PDU (%d octets): %w", len(answer), err)
	}
	var h mms.Head
	h.Peek(answer, true)
	fmt.Fprintf(out, "%s: %s", p.Type, h.Response)
	if text, ok := p.Get(mms.FieldResponseText); ok {
		if t, ok := text.Text(); ok && t != "" {
			fmt.Fprintf(out, " (%q)", t)
		}
	}
	fmt.Fprintf(out, ", transaction %q", h.TransactionID)
	if id := p.MessageID(); id != "" {
		fmt.Fprintf(out, ", message %q", id)
	}
	fmt.Fprintln(out)
	if !h.HasResponse || mms.ResponseClass(h.Response) != mms.Ok {
		return silentError{}
	}
	return nil
}
