package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/admin"
)

func upgradeCommand() *cobra.Command {
	var f clientFlags
	var wait time.Duration
	c := &cobra.Command{
		Use:   "upgrade",
		Short: "Put the program that now stands at the router's path in place of the running one, without losing a message",
		Long: `upgrade makes the running router start the program at its path anew, with the same arguments and the
configuration as it is now. The new process checks the configuration, takes the listening sockets over, the
duplicate fence and the learned owners, and serves; the old one finishes what it has in flight and ends.

Where the new process refuses the configuration, crashes or does not serve within upgrade.timeout, the old one
goes on as if nothing had been, and the reason is shown here and in its log (exit code 1). SIGUSR2 to the
process does the same.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if wait < 0 {
				return wrongUsage("upgrade: --wait: want a time to come")
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			return upgrade(c.Context(), client, wait, c.OutOrStdout())
		},
	}
	f.add(c)
	c.Flags().DurationVar(&wait, "wait", 0, "while an earlier upgrade still finishes, try again for so long")
	return c
}

// upgrade asks until the router can.
func upgrade(ctx context.Context, client *admin.Client, wait time.Duration, w io.Writer) error {
	end := time.Now().Add(wait)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	said := false
	for {
		up, err := client.Upgrade(ctx)
		if err == nil {
			_, err := fmt.Fprintf(w, "process %d (version %s) serves since %.1f s after the question; process %d finishes what it has (%d connections)\n",
				up.PID, up.Version, up.Took, up.Old, up.Clients)
			return err
		}
		if !admin.Busy(err) || time.Now().After(end) {
			return err
		}
		if !said {
			fmt.Fprintf(w, "waiting: %v\n", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
