package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/admin"
)

// drainFlags say what is drained, beside a name.
type drainFlags struct {
	clientFlags
	self, router bool
	reason       string
}

func (f *drainFlags) add(c *cobra.Command) {
	f.clientFlags.add(c)
	c.Flags().BoolVar(&f.self, "self", false, "the router itself")
	c.Flags().BoolVar(&f.router, "router", false, "NAME is that of routers: they leave the DNS answers and go on serving")
	c.Flags().StringVar(&f.reason, "reason", "", "why, shown in status and log")
}

func (f *drainFlags) check(verb string, args []string) error {
	if f.self == (len(args) == 1) || f.self && f.router {
		return wrongUsage("%s: want one argument, a name, or --self", verb)
	}
	return nil
}

func drainCommand() *cobra.Command {
	var f drainFlags
	var lasts, in time.Duration
	c := &cobra.Command{
		Use:   "drain NAME | drain --router NAME | drain --self",
		Short: "Send an MMSC no new messages, take a router out of DNS, or end the router itself without losing one",
		Long: `drain NAME takes an MMSC out of balancing, on every router of the cluster and over restarts: it gets no new
messages, those in flight finish, and it still serves what it holds. NAME may be a pattern ('mmsc-*'). status shows
who drained what and how much is left; undrain NAME ends it, or --for does.

drain --router NAME takes routers out of the DNS answers; they go on serving whoever still comes.

drain --self ends the router, as SIGTERM does: where another router can take over, it leaves the DNS answers and
waits until resolvers have forgotten it, then it finishes what it has in flight. Progress is shown until it has ended.
With --in it does so later, and until then DNS answers are remembered for a short time only.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check("drain", args); err != nil {
				return err
			}
			if in != 0 && !f.self || lasts != 0 && f.self || in < 0 || lasts < 0 {
				return wrongUsage("drain: --in goes with --self, --for with a name; both want a time to come")
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			why := admin.Reason{By: whoami(), Reason: f.reason, For: timeText(lasts), In: timeText(in)}
			switch {
			case f.self:
				return drainSelf(c.Context(), client, why, c.OutOrStdout())
			case f.router:
				st, err := client.DrainRouter(c.Context(), args[0], why)
				if err != nil {
					return err
				}
				return printRouters(c.OutOrStdout(), &st)
			}
			m, err := client.Drain(c.Context(), args[0], why)
			if err != nil {
				return err
			}
			return printDrain(c.OutOrStdout(), m)
		},
	}
	f.add(c)
	c.Flags().DurationVar(&lasts, "for", 0, "it ends by itself after that time, such as 1h")
	c.Flags().DurationVar(&in, "in", 0, "with --self: begin after that time")
	return c
}

func undrainCommand() *cobra.Command {
	var f drainFlags
	c := &cobra.Command{
		Use:   "undrain NAME | undrain --router NAME | undrain --self",
		Short: "Give a drained MMSC its share again, or a router its place in DNS",
		Long: `undrain ends what drain began; of a name that a pattern still drains it makes an exception. undrain --self
calls off a drain that was planned with --in and has not begun.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check("undrain", args); err != nil {
				return err
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			why := admin.Reason{By: whoami(), Reason: f.reason}
			if f.self || f.router {
				st, err := admin.Status{}, error(nil)
				if f.self {
					st, err = client.UndrainSelf(c.Context())
				} else {
					st, err = client.UndrainRouter(c.Context(), args[0], why)
				}
				if err != nil {
					return err
				}
				return printRouters(c.OutOrStdout(), &st)
			}
			m, err := client.Undrain(c.Context(), args[0], why)
			if err != nil {
				return err
			}
			return printDrain(c.OutOrStdout(), m)
		},
	}
	f.add(c)
	return c
}

// timeText is the API's form of a duration; 0 is left out.
func timeText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func printDrain(w io.Writer, all []admin.MMSC) error {
	for _, m := range all {
		if _, err := fmt.Fprintf(w, "%s: %s, %d in flight\n", m.Name, m.State, m.InFlight); err != nil {
			return err
		}
	}
	return nil
}

// drainSelf begins the drain and shows its steps and how much is in flight until the admin address has gone, which is
// the last thing that ends.
func drainSelf(ctx context.Context, client *admin.Client, why admin.Reason, w io.Writer) error {
	st, err := client.DrainSelf(ctx, why)
	if err != nil {
		return err
	}
	if why.In != "" {
		_, err := fmt.Fprintf(w, "router %s: drains in %s; undrain --self calls it off\n", st.Node.Name, why.In)
		return err
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for {
		if line := progressLine(&st); line != last {
			fmt.Fprintln(w, line)
			last = line
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		var refusal *admin.Refusal
		next, err := client.Status(ctx)
		switch {
		case errors.As(err, &refusal):
			return err
		case err != nil:
			_, err := fmt.Fprintf(w, "router %s: ended\n", st.Node.Name)
			return err
		}
		st = next
	}
}

// progressLine is where a drain stands, in whole seconds, so that the same line need not be shown twice.
func progressLine(st *admin.Status) string {
	inFlight := 0
	for _, m := range st.MMSCs {
		inFlight += m.InFlight
	}
	step, left := "draining", ""
	if d := st.Node.Drain; d != nil {
		step = d.Step
		if strings.HasPrefix(d.Step, "withdrawn") || strings.HasPrefix(d.Step, "waiting") {
			left = fmt.Sprintf(", %.0fs left", d.Left)
		}
	}
	return fmt.Sprintf("router %s: %s, %d in flight%s", st.Node.Name, step, inFlight, left)
}

// whoami names the caller for status and log.
func whoami() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "command line"
}
