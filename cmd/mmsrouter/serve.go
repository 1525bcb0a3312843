package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/app"
)

// endTime is how long a process that was told twice to end may still take.
const endTime = 5 * time.Second

func serveCommand() *cobra.Command {
	var file, pidFile string
	c := &cobra.Command{
		Use:   "serve [-c FILE]",
		Short: "Run the router",
		Long: `serve runs the router until SIGTERM or SIGINT, then finishes what is in flight (bounded by drain.max); a second
signal ends it at once. SIGHUP reads the configuration again: a faulty file changes nothing and is logged line by
line, a good one is swapped in without dropping a connection. SIGUSR2 does what mmsrouter upgrade does: a new
process takes over without losing a message.

Without -c it runs an embedded default: everything on loopback, with the embedded MMSC.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return serve(c.Context(), file, pidFile, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file (YAML)")
	c.Flags().StringVar(&pidFile, "pid-file", "", "write the id of the serving process to this file; it changes with an upgrade")
	return c
}

func serve(ctx context.Context, file, pidFile string, out, errOut io.Writer) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR2)
	defer signal.Stop(signals)

	cfg, err := app.Load(file)
	process, elder, elderErr := inherit(pidFile, cfg.Upgrade.Timeout)
	switch {
	case err != nil:
		elder.Refuse(err)
		return usageError{err}
	case process != nil && elderErr != nil && !errors.Is(elderErr, app.ErrElderGone):
		return elderErr
	}
	limit := app.TuneMemory()
	a, err := app.New(app.Options{Config: cfg, File: file, Version: version, LogTo: errOut, Process: process, Elder: elder})
	if err != nil {
		elder.Refuse(err)
		return err
	}
	processors := app.TuneProcessors(&cfg)
	a.Log().Debug("machine", "memory_limit", limit, "processors", processors)
	switch {
	case process == nil:
		a.Log().Warn("this process can't be upgraded in place", "err", elderErr)
	case elderErr != nil:
		a.Log().Warn("upgrade: starting afresh", "err", elderErr)
	}
	for _, w := range cfg.Warnings() {
		if file != "" { // the embedded default is meant to be as it is
			a.Log().Warn("configuration", "warning", w)
		}
	}
	if file == "" && elder == nil {
		printNext(out, a)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return steer(a, signals, done)
}

// inherit makes this process one that can be replaced, and takes over from the one that it replaces, if there is one. Without a Process the
// error says why it can't be replaced, which is no reason not to serve.
func inherit(pidFile string, timeout time.Duration) (app.Process, *app.Elder, error) {
	up, err := tableflip.New(tableflip.Options{PIDFile: pidFile, UpgradeTimeout: timeout})
	if err != nil {
		return nil, nil, fmt.Errorf("prepare for upgrades: %w", err)
	}
	elder, err := app.Inherit(up, version)
	return up, elder, err
}

// steer turns signals into what they ask for until Run has returned.
func steer(a *app.App, signals <-chan os.Signal, done <-chan error) error {
	var patience <-chan time.Time
	asked, forced := false, false
	for {
		select {
		case err := <-done:
			if err == nil && forced {
				return errors.New("ended at once, as asked a second time; what was accepted is on disk")
			}
			return err
		case <-patience:
			return errors.New("ended at once, with something still under way; what was accepted is on disk")
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				_ = a.Reload() // it has logged every line of what is wrong; nothing has changed
			case s == syscall.SIGUSR2:
				go func() {
					_, _ = a.Upgrade() // it has logged how it ended
				}()
			case !asked:
				asked = true
				a.Log().Info("asked to end: draining; a second signal ends at once", "signal", s.String())
				a.Drain()
			default:
				a.Log().Warn("asked again: ending at once", "signal", s.String())
				forced = true
				a.EndNow()
				patience = time.After(endTime)
			}
		}
	}
}

// printNext says what to try with the embedded default.
func printNext(w io.Writer, a *app.App) {
	l := a.Listening()
	first := func(key string) (host, port string) {
		if len(l[key]) == 0 {
			return "127.0.0.1", "0"
		}
		host, port, err := net.SplitHostPort(l[key][0])
		if err != nil {
			return l[key][0], ""
		}
		return host, port
	}
	c := a.Config()
	dnsHost, dnsPort := first("dns.listen")
	adminHost, adminPort := first("admin.listen")
	zone := c.DNS.Zones[0].Name
	fmt.Fprintf(w, `mmsrouter %s runs its embedded default: one machine, nothing configured, the embedded MMSC behind it.
Try, in another terminal:

  dig @%s -p %s %s
  ./mmsrouter send --to +46701740606 --text "Hello"
  ./mmsrouter status
  http://%s/            (status page)

Ctrl-C finishes what is in flight and ends; a second one ends at once.

`, version, dnsHost, dnsPort, zone, net.JoinHostPort(adminHost, adminPort))
}
