package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

// conditions of one run of a peer.
type conditions struct {
	dir    string   // scratch, the peer's own
	listen string   // where it takes messages
	mmscs  []string // host:port of the MMSCs
	size   int      // of the largest message
	logs   bool     // a line per message into a file
	cpu    string   // processors it is pinned to
	admin  string   // ours: where the metrics are
}

// peer is a proxy that can be started.
type peer struct {
	name  string
	start func(c conditions) (*measure.Process, error)
}

func (b *bench) peers() (list []peer) {
	if b.ours != "" {
		list = append(list, peer{"mmsrouter", b.startOurs})
	}
	if nginx, err := measure.Find("nginx"); err == nil {
		list = append(list, peer{"nginx, buffers, replays", func(c conditions) (*measure.Process, error) { return startNginx(nginx, c) }})
	} else {
		b.skipped = append(b.skipped, "nginx")
	}
	if haproxy, err := measure.Find("haproxy"); err == nil {
		list = append(list,
			peer{"HAProxy, no replay", func(c conditions) (*measure.Process, error) { return startHAProxy(haproxy, c, false) }},
			peer{"HAProxy, buffers, replays", func(c conditions) (*measure.Process, error) { return startHAProxy(haproxy, c, true) }})
	} else {
		b.skipped = append(b.skipped, "HAProxy")
	}
	for _, buffer := range []bool{false, true} {
		name := "Go ReverseProxy, no replay"
		if buffer {
			name = "Go ReverseProxy, buffers, replays"
		}
		list = append(list, peer{name, func(c conditions) (*measure.Process, error) {
			return measure.Start(measure.Options{CPU: c.cpu}, b.self, "goproxy", "-listen", c.listen, "-mmsc", strings.Join(c.mmscs, ","), fmt.Sprintf("-buffer=%v", buffer))
		}})
	}
	return slices.DeleteFunc(list, func(p peer) bool { return !measure.Chosen(b.only, p.name) })
}

// startOurs runs the router with its defaults but for what a bench must change.
func (b *bench) startOurs(c conditions) (*measure.Process, error) {
	log := "off"
	if c.logs {
		log = filepath.Join(c.dir, "access.log")
	}
	var m strings.Builder
	for i, addr := range c.mmscs {
		fmt.Fprintf(&m, "  - {name: mmsc-%c, url: \"http://%s/\"}\n", 'a'+i, addr)
	}
	r, err := measure.StartRouter(measure.RouterOptions{Program: b.ours, Dir: c.dir, CPU: c.cpu, MM1: c.listen, Admin: c.admin, Config: func(r *measure.Router) string {
		return fmt.Sprintf(`dns:
  listen: [%q]
  zones: [{name: mms.example.net, ttl: 30s, addresses: ["127.0.0.1"]}]
mm1:
  listen: [%q]
  access_log: {path: %q}
mmscs:
%slog: {level: error, format: json}
`, r.DNS, r.MM1, log, m.String())
	}})
	if err != nil {
		return nil, err
	}
	return r.Process, nil
}

// startNginx: requests buffered in memory, tried again at the other MMSC even though POST is not idempotent. No MMSC is ever
// left out (max_fails=0): nginx has no probe that would bring one back, and answers 502 while it thinks that all are down.
func startNginx(program string, c conditions) (*measure.Process, error) {
	user, log := "", "off"
	if os.Getuid() == 0 {
		user = "user root;"
	}
	if c.logs {
		log = filepath.Join(c.dir, "access.log")
	}
	var servers strings.Builder
	for _, m := range c.mmscs {
		fmt.Fprintf(&servers, "server %s max_fails=0; ", m)
	}
	conf := fmt.Sprintf(`%[1]s
daemon off; worker_processes 1; pid %[2]s/nginx.pid; error_log %[2]s/error.log crit;
events { worker_connections 8192; }
http {
  access_log %[3]s;
  client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/f; uwsgi_temp_path %[2]s/u; scgi_temp_path %[2]s/s;
  keepalive_requests 1000000000; keepalive_timeout 75s;
  client_max_body_size 8m; client_body_buffer_size 2m;
  upstream mmsc { %[4]s keepalive 64; keepalive_requests 1000000000; }
  server {
    listen %[5]s backlog=1024;
    location / {
      proxy_pass http://mmsc; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_request_buffering on; proxy_connect_timeout 2s;
      proxy_next_upstream error timeout invalid_header http_500 http_502 http_503 http_504 non_idempotent; proxy_next_upstream_tries 3;
    }
  }
}
`, user, c.dir, log, servers.String(), c.listen)
	file := filepath.Join(c.dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return measure.Start(measure.Options{CPU: c.cpu}, program, "-e", filepath.Join(c.dir, "error.log"), "-p", c.dir, "-c", file)
}

// startHAProxy: with replay, the request is read whole into one buffer first and may go out again from there.
func startHAProxy(program string, c conditions, replay bool) (*measure.Process, error) {
	bufsize, buffer, retry, log := 16384, "", "", ""
	if replay {
		bufsize = c.size + 16384
		buffer = "option http-buffer-request"
		retry = "retry-on all-retryable-errors"
	}
	opt := measure.Options{CPU: c.cpu}
	if c.logs {
		log = "log stdout format raw local0\n  option httplog"
		opt.Quiet = true
	}
	var servers strings.Builder
	for i, m := range c.mmscs {
		fmt.Fprintf(&servers, "  server m%d %s check inter 500ms fall 1 rise 1\n", i, m)
	}
	conf := fmt.Sprintf(`global
  maxconn 4096
  nbthread 1
  tune.bufsize %d
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout http-request 60s
  timeout http-keep-alive 75s
  retries 3
  option redispatch 1
  http-reuse always
  %s
  %s
  %s
frontend mm1
  bind %s
  default_backend mmsc
backend mmsc
  balance roundrobin
%s`, bufsize, buffer, retry, log, c.listen, servers.String())
	file := filepath.Join(c.dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return measure.Start(opt, program, "-db", "-f", file)
}

// run starts a peer, does the work and ends it.
func (b *bench) run(p peer, c conditions, work func(proc *measure.Process, c conditions) error) error {
	dir, err := os.MkdirTemp(b.scratch, "peer")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c.dir, c.cpu = dir, b.proxyCPU
	if c.mmscs == nil {
		c.mmscs = b.sinks
	}
	for _, a := range []*string{&c.listen, &c.admin} {
		if *a, err = measure.FreeAddr(); err != nil {
			return err
		}
	}
	proc, err := p.start(c)
	if err != nil {
		return err
	}
	defer proc.Stop()
	if err := proc.WaitListening(c.listen, 15*time.Second); err != nil {
		return err
	}
	return work(proc, c)
}
