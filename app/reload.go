package app

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mmsrouter/mmsrouter/app/strict"
	"github.com/mmsrouter/mmsrouter/healthcheck"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
	"github.com/mmsrouter/mmsrouter/proxy"
)

// Reload reads the configuration file again and swaps it in without dropping a connection. A faulty file
// changes nothing; the error names its lines. So does a change of a key that only a restart can take over.
func (a *App) Reload() error {
	a.reload.Lock()
	defer a.reload.Unlock()
	select {
	case <-a.handed:
		return errors.New("another process has taken over; it is the one to reload")
	default:
	}
	a.notify("RELOADING=1", monotonic())
	defer a.notify("READY=1")
	err := a.swap()
	if err != nil {
		a.m.reloads.WithLabelValues("refused").Inc()
		for line := range strings.Lines(err.Error()) {
			a.log.Error("reload refused: nothing has changed", "err", strings.TrimSpace(line))
		}
		return err
	}
	a.m.reloads.WithLabelValues("ok").Inc()
	a.log.Info("reloaded", "file", a.file, "mmscs", len(a.cfg.Load().MMSCs), "generation", a.board.Load().Generation)
	a.warn(true)
	return nil
}

// warn tells what is most likely wrong with the configuration in force; without written, only what this process lacks for it.
func (a *App) warn(written bool) {
	c := a.cfg.Load()
	if _, w := c.fitConnections(openFiles()); w != "" {
		a.log.Warn("configuration", "warning", w)
	}
	if !written {
		return
	}
	for _, w := range c.Warnings() {
		a.log.Warn("configuration", "warning", w)
	}
}

func monotonic() string {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return "STATUS=reloading" // the manager then takes its own time
	}
	return fmt.Sprintf("MONOTONIC_USEC=%d", ts.Nano()/1000)
}

// swap does everything that can fail first.
func (a *App) swap() error {
	old := a.cfg.Load()
	c, doc, err := load(a.file)
	if err != nil {
		return err
	}
	if all := needsRestart(doc, old, &c); len(all) > 0 {
		return all
	}
	if all := doc.Place(c.checkFiles()); len(all) > 0 {
		return all
	}
	set, err := a.compose(&c)
	if err != nil {
		return err
	}
	// a trial run of what reads files: it starts nothing
	if _, err := healthcheck.New(healthcheck.Options{Config: c.Detection, Targets: set.watched, Board: a.board}); err != nil {
		return err
	}
	if a.services != nil {
		if err := a.services.try(&c); err != nil {
			return err
		}
	}
	// The proxy may fail (a port, a certificate), so it comes first; until the Board has changed it must know
	// the MMSCs of both configurations.
	if err := a.mm1.Reload(c.frontDoor(), union(set.upstreams, a.upstreams(old))); err != nil {
		return err
	}
	if a.services != nil {
		if err := a.services.reload(&c); err != nil {
			return err
		}
	}
	if a.relay != nil {
		if err := a.relay.Reload(c.Peers); err != nil {
			return err
		}
	}
	a.following.mu.Lock()
	defer a.following.mu.Unlock()
	a.tell(&c)
	if err := a.board.Configure(set.targets, a.clusterZones(set.zones), set.table); err != nil {
		return err // names were checked before: this can't be
	}
	a.applyDrains()
	if err := a.checker.Reload(c.Detection, set.watched); err != nil {
		return err // the trial run has passed
	}
	if a.dns != nil {
		if err := a.dns.Reload(c.DNS); err != nil {
			return err // Parse has checked it
		}
	}
	if err := a.admin.Reload(c.Admin); err != nil {
		return err // Parse has checked it
	}
	if err := a.leases.Reload(c.Drill); err != nil {
		return err // Parse has checked it
	}
	lv, err := c.Log.level()
	if err != nil {
		return err // Parse has checked it
	}
	a.level.Set(lv)
	a.cfg.Store(&c)
	if err := a.mm1.Reload(c.frontDoor(), set.upstreams); err != nil {
		a.log.Warn("reload: connections to removed MMSCs are kept", "err", err)
	}
	return nil
}

// upstreams gives the upstreams of the configuration in force.
func (a *App) upstreams(c *Config) []proxy.Upstream {
	set, err := a.compose(c)
	if err != nil {
		return nil // its certificates have gone: the new ones count
	}
	return set.upstreams
}

// union adds to list those of more whose names it does not have.
func union(list, more []proxy.Upstream) []proxy.Upstream {
	all := append([]proxy.Upstream(nil), list...)
	have := map[string]bool{}
	for _, u := range list {
		have[u.Name] = true
	}
	for _, u := range more {
		if !have[u.Name] {
			all = append(all, u)
		}
	}
	return all
}

// fixed is the part of the embedded MMSC's section that stays until a restart.
func fixed(c *Config) mmsc.Config {
	m := c.MMSC
	m.Services, m.Platform, m.Outgoing = dispatcher.Config{}, platform.Config{}, outgoing.Config{}
	return m
}

// needsRestart names changes that a running appliance can't take over.
func needsRestart(doc *strict.Document, old, c *Config) strict.Mistakes {
	var all strict.Mistakes
	for _, k := range []struct {
		key      string
		old, new any
	}{
		{"node", old.Node, c.Node}, {"dns.listen", old.DNS.Listen, c.DNS.Listen}, {"dns.zones", old.ServesDNS(), c.ServesDNS()},
		{"mmsc", fixed(old), fixed(c)}, {"mmsc.services.enabled", old.MMSC.Services.Enabled, c.MMSC.Services.Enabled}, {"push", old.Push, c.Push}, {"ppg", old.PPG, c.PPG},
		{"peers.operators", len(old.Peers.Operators) > 0, len(c.Peers.Operators) > 0}, {"cluster", old.Cluster, c.Cluster},
		{"takeover", old.Takeover, c.Takeover}, {"admin.listen", old.Admin.Listen, c.Admin.Listen},
		{"log.format", old.Log.Format, c.Log.Format}, {"upgrade.timeout", old.Upgrade.Timeout, c.Upgrade.Timeout},
	} {
		if !reflect.DeepEqual(k.old, k.new) {
			all = append(all, strict.Mistake{File: doc.File, Line: doc.Line(k.key), Key: k.key, Text: "can't change while running; restart to change it, or mmsrouter upgrade"})
		}
	}
	return all
}
