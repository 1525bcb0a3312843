package main

import (
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
	return question(&cobra.Command{
		Use:   "status",
		Short: "Show the router, its MMSCs and what they do",
		Args:  cobra.NoArgs,
	}, func(c *cobra.Command, client *admin.Client, _ []string) (admin.Status, error) {
		return client.Status(c.Context())
	}, printStatus)
}

func printStatus(w io.Writer, st admin.Status) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	n := st.Node
	fmt.Fprintf(t, "router %s: %s, version %s, up %s\n", n.Name, n.State, n.Version, time.Duration(n.Uptime*float64(time.Second)).Round(time.Second))
	if n.Why != "" {
		fmt.Fprintf(t, "  %s\n", n.Why)
	}
	if n.Drill != "" {
		fmt.Fprintf(t, "  a drill runs: %s\n", n.Drill)
	}
	for _, k := range slices.Sorted(maps.Keys(n.Listen)) {
		fmt.Fprintf(t, "  %s %s\n", k, strings.Join(n.Listen[k], " "))
	}
	if d := n.Drain; d != nil {
		fmt.Fprintf(t, "  drain: %s, %.0fs left\n", d.Step, d.Left)
	}
	if b := n.Before; b != nil {
		fmt.Fprintf(t, "  upgrade: process %d (version %s) still finishes what it has, %d connections\n", b.PID, b.Version, b.Clients)
	}
	if len(st.Members) > 1 || len(st.Members) == 1 && st.Members[0].Drain != nil {
		routerRows(t, &st)
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
	}
	for _, m := range st.MMSCs { // behind the table: a line of other columns would break it in two
		if m.Fault != "" {
			fmt.Fprintf(t, "%s: fault: %s\n", m.Name, m.Fault)
		}
	}
	opinionRows(t, &st)
	drainRows(t, &st)
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

// printRouters shows the routers alone.
func printRouters(w io.Writer, st *admin.Status) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	routerRows(t, st)
	return t.Flush()
}

func routerRows(w io.Writer, st *admin.Status) {
	fmt.Fprintln(w, "\nROUTER\tSTATE\tIN DNS\tGOSSIP\tADDRESSES\tHOLDS\tFENCE\tKEPT\tOWNERS\tVERSION\tNOTES")
	for i := range st.Members {
		m := &st.Members[i]
		inDNS := "no"
		if m.InDNS {
			inDNS = "yes"
		}
		var addresses []string
		for _, zone := range slices.Sorted(maps.Keys(m.Zones)) {
			addresses = append(addresses, m.Zones[zone]...)
		}
		slices.Sort(addresses)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.Name, m.State, inDNS, orDash(m.Address), orDash(strings.Join(slices.Compact(addresses), " ")),
			orDash(strings.Join(m.Holds, " ")), count(m.Fence), count(m.Kept), count(m.Owners), orDash(m.Version), strings.Join(notes(m), "; "))
	}
}

// notes says what is unusual about a router.
func notes(m *admin.Member) []string {
	var all []string
	if m.Self {
		all = append(all, "this one")
	}
	if !m.Known {
		all = append(all, "has not told of itself yet")
	} else if !m.Ready {
		all = append(all, "not ready")
	}
	if m.Blind {
		all = append(all, "sees no MMSC")
	}
	if m.Mismatch {
		all = append(all, "another configuration ("+m.Digest+")")
	}
	if m.Drain != nil {
		all = append(all, strings.TrimSuffix("drained by "+m.Drain.By+": "+m.Drain.Reason, ": "))
	}
	if m.ClockOffset > 1 || m.ClockOffset < -1 {
		all = append(all, fmt.Sprintf("its clock is off by %.1fs", m.ClockOffset))
	}
	return all
}

// opinionRows shows what each router thinks of each MMSC, where there are several routers.
func opinionRows(w io.Writer, st *admin.Status) {
	if len(st.Members) < 2 || len(st.Verdicts) == 0 {
		return
	}
	fmt.Fprintln(w, "\nMMSC\tROUTER\tHOLDS IT FOR\tSINCE\tWHY")
	for _, mmsc := range slices.Sorted(maps.Keys(st.Verdicts)) {
		for _, router := range slices.Sorted(maps.Keys(st.Verdicts[mmsc])) {
			o := st.Verdicts[mmsc][router]
			state := "down"
			if o.Up {
				state = "up"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", mmsc, router, state, o.Since.UTC().Format("2006-01-02 15:04:05Z"), o.Why)
		}
	}
}

// drainRows shows what operators have said.
func drainRows(w io.Writer, st *admin.Status) {
	if len(st.Drains) == 0 {
		return
	}
	fmt.Fprintln(w, "\nSAID\tOF\tBY\tAT\tSINCE\tENDS IN\tREASON")
	for _, d := range st.Drains {
		what, ends := d.Kind, "-"
		if !d.On {
			what = "not " + what
		}
		if d.Left > 0 {
			ends = (time.Duration(d.Left) * time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", what, d.Glob, d.By, orDash(d.Node), d.Since.UTC().Format("2006-01-02 15:04:05Z"), ends, d.Reason)
	}
}

func count(n *int) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}
