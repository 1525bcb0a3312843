package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/admin"
)

func statusCommand() *cobra.Command {
	var f clientFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the router, its MMSCs and what they do",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			st, err := client.Status(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), st)
			}
			return printStatus(c.OutOrStdout(), &st)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func printStatus(w io.Writer, st *admin.Status) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	n := st.Node
	fmt.Fprintf(t, "router %s: %s, version %s, up %s\n", n.Name, n.State, n.Version, time.Duration(n.Uptime*float64(time.Second)).Round(time.Second))
	if n.Why != "" {
		fmt.Fprintf(t, "  %s\n", n.Why)
	}
	for _, k := range slices.Sorted(maps.Keys(n.Listen)) {
		fmt.Fprintf(t, "  %s %s\n", k, strings.Join(n.Listen[k], " "))
	}
	if len(st.Members) > 1 {
		fmt.Fprintln(t, "\nROUTER\tSTATE\tADDRESS\tVERSION")
		for _, m := range st.Members {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", m.Name, m.State, m.Address, m.Version)
		}
	}
	fmt.Fprintln(t, "\nMMSC\tSTATE\tSINCE\tIN FLIGHT\tWEIGHT\tTIER\tURL\tWHY")
	for _, m := range st.MMSCs {
		state, weight := string(m.State), fmt.Sprint(m.Weight)
		if m.Ejected {
			state += " (ejected)"
		}
		if m.Share < 100 {
			weight += fmt.Sprintf(" (%d%%)", m.Share)
		}
		since := "-"
		if !m.Since.IsZero() {
			since = m.Since.UTC().Format("2006-01-02 15:04:05Z")
		}
		url := m.URL
		if m.Local {
			url = "embedded"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%d\t%s\t%s\n", m.Name, state, since, m.InFlight, weight, m.Tier, url, m.Why)
		if m.Fault != "" {
			fmt.Fprintf(t, "\tfault: %s\n", m.Fault)
		}
	}
	if len(st.Zones) > 0 {
		fmt.Fprintln(t, "\nZONE\tADDRESSES")
		for _, z := range st.Zones {
			fmt.Fprintf(t, "%s\t%s\n", z.Name, strings.Join(z.Addresses, " "))
		}
	}
	fmt.Fprintln(t, "\nCOUNTER\tSUM")
	for _, k := range slices.Sorted(maps.Keys(st.Counters)) {
		if st.Counters[k] != 0 {
			fmt.Fprintf(t, "%s\t%.0f\n", k, st.Counters[k])
		}
	}
	return t.Flush()
}
