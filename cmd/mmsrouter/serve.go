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

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/app"
)

// endTime is how long a process that was told twice to end may still take.
const endTime = 5 * time.Second

func serveCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "serve [-c FILE]",
		Short: "Run the router",
		Long: `serve runs the router until SIGTERM or SIGINT, then finishes what is in flight (bounded by drain.max); a second
signal ends it at once. SIGHUP reads the configuration again: a faulty file changes nothing and is logged line by
line, a good one is swapped in without dropping a connection.

Without -c it runs an embedded default: everything on loopback, with the embedded MMSC.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return serve(c.Context(), file, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file (YAML)")
	return c
}

func serve(ctx context.Context, file string, out, errOut io.Writer) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	cfg, err := app.Load(file)
	if err != nil {
		return usageError{err}
	}
	limit := app.TuneMemory()
	a, err := app.New(app.Options{Config: cfg, File: file, Version: version, LogTo: errOut})
	if err != nil {
		return err
	}
	a.Log().Debug("memory", "limit", limit)
	for _, w := range cfg.Warnings() {
		if file != "" { // the embedded default is meant to be as it is
			a.Log().Warn("configuration", "warning", w)
		}
	}
	if file == "" {
		printNext(out, a)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return steer(a, signals, done)
}

// steer turns signals into what they ask for until Run has returned.
func steer(a *app.App, signals <-chan os.Signal, done <-chan error) error {
	var patience <-chan time.Time
	asked := false
	for {
		select {
		case err := <-done:
			return err
		case <-patience:
			return errors.New("ended at once, with something still under way; what was accepted is on disk")
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				_ = a.Reload() // it has logged every line of what is wrong; nothing has changed
			case !asked:
				asked = true
				a.Log().Info("asked to end: draining; a second signal ends at once", "signal", s.String())
				a.Drain()
			default:
				a.Log().Warn("asked again: ending at once", "signal", s.String())
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
