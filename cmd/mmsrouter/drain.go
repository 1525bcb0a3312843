package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/admin"
)

func drainCommand() *cobra.Command {
	var f clientFlags
	var self bool
	var reason string
	c := &cobra.Command{
		Use:   "drain NAME | --self",
		Short: "Send an MMSC no new messages, or end the router itself without losing one",
		Long: `drain NAME takes an MMSC out of balancing: it gets no new messages, those in flight finish, and it still
serves what it holds. status shows how many are left; undrain NAME ends it.

drain --self lets the router finish what it has in flight and end, as SIGTERM does; progress is shown until it
has ended.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if self == (len(args) == 1) {
				return wrongUsage("drain: give the name of an MMSC, or --self")
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			why := admin.Reason{By: whoami(), Reason: reason}
			if self {
				return drainSelf(c.Context(), client, why, c.OutOrStdout())
			}
			m, err := client.Drain(c.Context(), args[0], why)
			if err != nil {
				return err
			}
			return printDrain(c.OutOrStdout(), m)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&self, "self", false, "drain the router itself")
	c.Flags().StringVar(&reason, "reason", "", "why, shown in status and log")
	return c
}

func undrainCommand() *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use:   "undrain NAME",
		Short: "Give a drained MMSC its share again",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			m, err := client.Undrain(c.Context(), args[0])
			if err != nil {
				return err
			}
			return printDrain(c.OutOrStdout(), m)
		},
	}
	f.add(c)
	return c
}

func printDrain(w io.Writer, m admin.MMSC) error {
	_, err := fmt.Fprintf(w, "%s: %s, %d in flight\n", m.Name, m.State, m.InFlight)
	return err
}

// drainSelf begins the drain and shows how much is in flight until the admin address has gone, which is the
// last thing that ends.
func drainSelf(ctx context.Context, client *admin.Client, why admin.Reason, w io.Writer) error {
	st, err := client.DrainSelf(ctx, why)
	if err != nil {
		return err
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	last := -1
	for {
		left := 0
		for _, m := range st.MMSCs {
			left += m.InFlight
		}
		if left != last {
			fmt.Fprintf(w, "router %s: draining, %d in flight\n", st.Node.Name, left)
			last = left
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

// whoami names the caller for status and log.
func whoami() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "command line"
}
