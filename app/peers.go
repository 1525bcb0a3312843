package app

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/peer"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg"
	"github.com/mmsrouter/mmsrouter/proxy"
)

// makePPG makes the push proxy gateway, if it has an address.
func (a *App) makePPG(c *Config) error {
	if c.PPG.Listen == "" {
		return nil
	}
	var err error
	a.ppg, err = ppg.New(ppg.Options{Config: c.PPG, DataDir: c.Node.Data, Database: c.MMSC.Database, Metrics: a.reg, Log: a.room("ppg"),
		Listener: a.elder.listener("ppg.listen", c.PPG.Listen)})
	return err
}

// peerOpen bounds the opening of the store of relayed messages.
const peerOpen = 2 * time.Minute

// makePeers makes the room that fetches from other operators' servers, if any is listed.
func (a *App) makePeers(c *Config) error {
	if len(c.Peers.Operators) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), peerOpen)
	defer cancel()
	store, err := peer.Open(ctx, c.Node.Data, c.MMSC.Database)
	if err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	a.relay, err = peer.New(peer.Options{Config: c.Peers, Store: store, URL: c.PublicURL(), Identify: a.subscriberOf, Client: clientOf,
		Metrics: a.reg, Log: a.room("peer")})
	if err != nil {
		_ = store.Close() // the error that led here is the one to tell
	}
	return err
}

// resultsPath is where push proxy gateways tell what became of a push (push.carriers[].pap.notify_url), at the MM1 door.
const resultsPath = "/pap/results"

// wrapDoor puts what else comes in at the embedded MMSC's door before it: retrieval from peers, results of pushes, and
// late answers of services' providers.
func (a *App) wrapDoor(next http.Handler) http.Handler {
	if a.relay != nil {
		next = a.relay.Handler(next)
	}
	results := a.push.Results()
	var late http.Handler
	if a.services != nil {
		late = a.services.Late()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from := clientOf(r); from.IsValid() { // our proxy's word: behind its line peers are known by it
			r.RemoteAddr = netip.AddrPortFrom(from, 0).String()
		}
		if r.URL.Path == resultsPath && r.Method == http.MethodPost {
			results.ServeHTTP(w, r)
			return
		}
		if a.services != nil && a.services.late(r.URL.Path) {
			late.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// subscriberOf reads the identity that our own proxy let through: it strips these fields from senders that are not
// trusted.
func (a *App) subscriberOf(r *http.Request) string {
	for _, name := range a.cfg.Load().MM1.Identity.Headers {
		if v, _, _ := strings.Cut(r.Header.Get(name), ","); v != "" {
			if n := mms.Number(v); n != "" {
				return n
			}
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// clientOf is who our own proxy says has sent a request: the last address of X-Forwarded-For.
func clientOf(r *http.Request) netip.Addr {
	all := strings.Split(r.Header.Get("X-Forwarded-For"), ",")
	a, err := netip.ParseAddr(strings.TrimSpace(all[len(all)-1]))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

// frontDoor is the proxy's section, with the hosts of listed operators among those that handsets may name in absolute
// form, and with the fields by which the embedded MMSC tells subscribers among those that strangers may not send.
func (c *Config) frontDoor() proxy.Config {
	m := c.MM1
	m.Peers = c.peerHosts()
	m.Limits.Connections, _ = c.fitConnections(openFiles()) // warn tells
	if c.MMSC.Enabled {                                     // it believes what comes through the proxy
		m.Identity.Strip = c.MMSC.Identity.Headers
	}
	return m
}

func (c *Config) peerHosts() []string {
	hosts := slices.Clone(c.MM1.Peers)
	for _, o := range c.Peers.Operators {
		for _, h := range o.Hosts {
			if host, _, ok := strings.Cut(h, ":"); ok && strings.Count(h, ":") == 1 {
				h = host
			}
			if !slices.Contains(hosts, h) {
				hosts = append(hosts, h)
			}
		}
	}
	return hosts
}
