package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/admin"
)

func fateCommand() *cobra.Command {
	return question(&cobra.Command{
		Use:   "fate TRANSACTION|MESSAGE",
		Short: "Tell which MMSC got which octets of a message, and what it answered",
		Args:  cobra.ExactArgs(1),
	}, func(c *cobra.Command, client *admin.Client, args []string) ([]admin.Fate, error) {
		return client.Fate(c.Context(), args[0])
	}, printFates)
}

func printFates(w io.Writer, fates []admin.Fate) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for i, f := range fates {
		if i > 0 {
			fmt.Fprintln(t)
		}
		fmt.Fprintf(t, "%s  %s  transaction %s", f.Time.UTC().Format("2006-01-02T15:04:05.000Z"), f.PDU, quoted(f.TransactionID))
		if f.MessageID != "" {
			fmt.Fprintf(t, "  message %s", quoted(f.MessageID))
		}
		fmt.Fprintf(t, "\n  from %s, subscriber %s, %s, %d octets%s\n", orDash(f.Client), orDash(f.Subscriber), orDash(f.Target), f.Octets, cut(f.Whole))
		if len(f.Attempts) > 0 {
			fmt.Fprintln(t, "  ATTEMPT\tMMSC\tPHASE\tOCTETS\tMS\tRESULT")
		}
		for n, a := range f.Attempts {
			fmt.Fprintf(t, "  %d\t%s\t%s\t%d\t%.1f\t%s\n", n+1, a.MMSC, a.Phase, a.Octets, a.Milliseconds, a.Result)
		}
		fmt.Fprintf(t, "  %s: HTTP %d, %s, after %.1f ms\n", f.Result, f.HTTPStatus, orDash(f.Answer), f.Milliseconds)
	}
	return t.Flush()
}

func cut(whole bool) string {
	if whole {
		return ""
	}
	return " (the upload was cut short)"
}

// quoted keeps a peer's octets from steering the terminal.
func quoted(s string) string { return fmt.Sprintf("%q", s) }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
