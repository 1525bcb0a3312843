package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// goproxyMain is the peer "plain Go": net/http/httputil.ReverseProxy as anybody would set it up. With -buffer it
// reads the body first and tries the other MMSC when a round trip fails.
func goproxyMain(args []string) error {
	fs := flag.NewFlagSet("goproxy", flag.ContinueOnError)
	listen := fs.String("listen", "", "address")
	mmscs := fs.String("mmsc", "", "host:port, host:port")
	buffer := fs.Bool("buffer", false, "read the body whole, retry elsewhere")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var targets []*url.URL
	for _, m := range strings.Split(*mmscs, ",") {
		targets = append(targets, &url.URL{Scheme: "http", Host: m})
	}
	var turn atomic.Uint64
	next := func() *url.URL { return targets[turn.Add(1)%uint64(len(targets))] }
	tr := &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 128, DisableCompression: true,
		DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext}
	p := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(next()); r.SetXForwarded() },
		Transport: tr,
		ErrorLog:  log.New(io.Discard, "", 0),
	}
	if *buffer {
		p.Transport = retrying{tr, next, len(targets)}
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: p}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	go func() {
		<-ctx.Done()
		srv.Close() // the process ends
	}()
	if err := srv.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return nil
}

type retrying struct {
	tr   *http.Transport
	next func() *url.URL
	n    int
}

func (t retrying) RoundTrip(r *http.Request) (*http.Response, error) {
	body := make([]byte, 0, max(r.ContentLength, 0))
	buf := bytes.NewBuffer(body)
	if r.Body != nil {
		if _, err := io.Copy(buf, r.Body); err != nil {
			return nil, err
		}
	}
	var err error
	for range t.n {
		try := r.Clone(r.Context())
		try.Body = io.NopCloser(bytes.NewReader(buf.Bytes()))
		try.ContentLength = int64(buf.Len())
		var res *http.Response
		if res, err = t.tr.RoundTrip(try); err == nil {
			return res, nil
		}
		r.URL.Host = t.next().Host
	}
	return nil, err
}
