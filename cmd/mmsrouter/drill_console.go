package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/drill"
	"github.com/mmsrouter/mmsrouter/drill/lab"
	"github.com/mmsrouter/mmsrouter/drill/lease"
	"github.com/mmsrouter/mmsrouter/drill/live"
	"github.com/mmsrouter/mmsrouter/mms"
)

// console is a router's admin API as drills use it.
type console struct{ *admin.Client }

// Look implements lab.Console and live.Console.
func (c console) Look(ctx context.Context) (drill.Look, error) {
	st, err := c.Status(ctx)
	if err != nil {
		return drill.Look{}, err
	}
	l := drill.Look{Router: st.Node.Name, Started: st.Node.Started, Ambiguous: st.Counters["mmsrouter_proxy_ambiguous_retries_total"]}
	for _, m := range st.Members {
		if m.State == "alive" {
			l.Members++
		}
	}
	for _, m := range st.MMSCs {
		if !m.Spare {
			l.MMSCs = append(l.MMSCs, drill.Seen{Name: m.Name, Up: m.State != "down", Since: m.Since, Why: m.Why})
		}
	}
	return l, nil
}

const drillDoor = "/api/v1/drill"

// Lend implements live.Console.
func (c console) Lend(ctx context.Context) (lease.Door, error) {
	var d lease.Door
	return d, c.Do(ctx, http.MethodGet, drillDoor, "", nil, &d)
}

// send posts JSON and reads JSON.
func (c console) send(ctx context.Context, method, path string, in, out any) error {
	b, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.Do(ctx, method, path, "application/json", b, out)
}

// Begin implements live.Console.
func (c console) Begin(ctx context.Context, r lease.Request) (lease.Lease, error) {
	var l lease.Lease
	return l, c.send(ctx, http.MethodPost, drillDoor, r, &l)
}

// Break implements live.Console.
func (c console) Break(ctx context.Context, id string, faults []lease.Fault) error {
	return c.send(ctx, http.MethodPut, drillDoor+"/"+url.PathEscape(id), faults, nil)
}

// End implements live.Console.
func (c console) End(ctx context.Context, id string) error {
	return c.Do(ctx, http.MethodDelete, drillDoor+"/"+url.PathEscape(id), "", nil, nil)
}

// Fate implements live.Console.
func (c console) Fate(ctx context.Context, transaction string) ([]live.Attempt, error) {
	fates, err := c.Client.Fate(ctx, transaction)
	if err != nil && !admin.NotFound(err) {
		return nil, err
	}
	var all []live.Attempt
	for i := len(fates) - 1; i >= 0; i-- { // the newest comes first
		for _, a := range fates[i].Attempts {
			all = append(all, live.Attempt{MMSC: a.MMSC, Accepted: a.Phase == "answered" && a.Result == mms.StatusOk.String(), Ambiguous: a.Phase == "ambiguous"})
		}
	}
	return all, nil
}

// labRouter is the console of a lab's router: it keeps the lease of the faults that befall the router itself.
type labRouter struct {
	console
	mu    sync.Mutex
	lease string
}

func labConsole(at string) lab.Console {
	return &labRouter{console: console{&admin.Client{Base: "http://" + at, HTTP: &http.Client{Timeout: 30 * time.Second}}}}
}

// Break implements lab.Console.
func (c *labRouter) Break(ctx context.Context, mark string, faults ...lease.Fault) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lease == "" {
		l, err := c.Begin(ctx, lease.Request{By: "drill lab", Scenario: "lab", For: "10m", Mark: mark})
		if err != nil {
			return err
		}
		c.lease = l.ID
	}
	if len(faults) > 0 {
		return c.console.Break(ctx, c.lease, faults)
	}
	id := c.lease
	c.lease = ""
	if err := c.End(ctx, id); err != nil && !admin.NotFound(err) { // a router that was restarted has forgotten it, faults and all
		return err
	}
	return nil
}

// Listening implements lab.Console.
func (c *labRouter) Listening(ctx context.Context) (map[string][]string, error) {
	st, err := c.Status(ctx)
	return st.Node.Listen, err
}

// Drain implements lab.Console.
func (c *labRouter) Drain(ctx context.Context, router bool, name string, on bool) (err error) {
	why := admin.Reason{By: "drill", Reason: "a failover drill"}
	switch {
	case router && on:
		_, err = c.DrainRouter(ctx, name, why)
	case router:
		_, err = c.UndrainRouter(ctx, name, why)
	case on:
		_, err = c.Client.Drain(ctx, name, why)
	default:
		_, err = c.Undrain(ctx, name, why)
	}
	return err
}

// Retire implements lab.Console.
func (c *labRouter) Retire(ctx context.Context) error {
	_, err := c.DrainSelf(ctx, admin.Reason{By: "drill", Reason: "a failover drill"})
	return err
}
