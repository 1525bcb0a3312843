package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/app/strict"
	"github.com/mmsrouter/mmsrouter/configs/drills"
	"github.com/mmsrouter/mmsrouter/drill"
)

func drillCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "drill",
		Short: "Break things on purpose and see whether the promises hold",
		Long: `A drill is a scenario with a verdict: marked messages flow all along, things are broken on the way, and a ledger
holds what every client was told against what every MMSC has. The exit code is 1 when a promise broke.

drill lab starts MMSCs, routers and clients of its own on loopback, and may do anything to them. drill run breaks a
running system, for the drill's own messages alone unless told otherwise.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(drillListCommand(), drillLabCommand(), drillRunCommand(), drillMMSCCommand())
	return c
}

func drillListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the drills that come with this program",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := shippedDrills()
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "DRILL\tLENGTH\tWHERE\tWHAT")
			for i := range all {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", all[i].Name, all[i].Length, where(&all[i]), all[i].Title)
			}
			return w.Flush()
		},
	}
}

// where says which commands may do a drill.
func where(s *drill.Scenario) string {
	switch {
	case s.LabOnly():
		return "lab"
	case s.RealTraffic():
		return "lab, run, real traffic"
	}
	return "lab, run"
}

// shippedDrills reads the embedded scenarios, by name.
func shippedDrills() ([]drill.Scenario, error) {
	files, err := fs.Glob(drills.Files, "*.yaml")
	if err != nil {
		return nil, err
	}
	var all []drill.Scenario
	for _, f := range files {
		b, err := drills.Files.ReadFile(f)
		if err != nil {
			return nil, err
		}
		s, err := parseDrill(f, b)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// parseDrill reads a scenario strictly; the error names every faulty line.
func parseDrill(file string, b []byte) (drill.Scenario, error) {
	s := drill.Defaults()
	doc, err := strict.Decode(file, b, &s)
	if err != nil {
		return s, err
	}
	if want := strings.TrimSuffix(path.Base(file), ".yaml"); s.Name == "" {
		s.Name = want
	}
	if all := doc.Place(s.Validate()); len(all) > 0 {
		return s, all
	}
	return s, nil
}

// chosenDrills finds scenarios by the names of shipped ones or by files. No word: all shipped ones that may is true of.
func chosenDrills(words []string, may func(*drill.Scenario) bool) ([]drill.Scenario, error) {
	shipped, err := shippedDrills()
	if err != nil {
		return nil, err
	}
	if len(words) == 0 {
		return slices.DeleteFunc(shipped, func(s drill.Scenario) bool { return !may(&s) }), nil
	}
	var all []drill.Scenario
	for _, word := range words {
		if i := slices.IndexFunc(shipped, func(s drill.Scenario) bool { return s.Name == word }); i >= 0 {
			all = append(all, shipped[i])
			continue
		}
		b, err := os.ReadFile(word)
		if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(word, "/.") {
			return nil, wrongUsage("drill: there is no drill %q; `mmsrouter drill list` shows them", word)
		}
		if err != nil {
			return nil, usageError{err}
		}
		s, err := parseDrill(word, b)
		if err != nil {
			return nil, usageError{err}
		}
		all = append(all, s)
	}
	return all, nil
}

// progressBar shows on a terminal how far a drill is; elsewhere nothing.
func progressBar(w io.Writer) func(drill.Progress) {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if st, err := f.Stat(); err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return func(p drill.Progress) { fmt.Fprint(f, "\r"+barLine(p)+"\x1b[K") }
}

// barLine is one line: a bar, the counts and the last step.
func barLine(p drill.Progress) string {
	const width = 30
	full := min(int(float64(width)*p.Elapsed.Seconds()/p.Length.Seconds()), width)
	return fmt.Sprintf("%-14s [%s%s] %3.0fs/%.0fs  sent %d  accepted %d  failed %d  %s", p.Name, strings.Repeat("#", full), strings.Repeat("-", width-full),
		p.Elapsed.Seconds(), p.Length.Seconds(), p.Sent, p.Accepted, p.Failed, p.Doing)
}

// printPromises shows the promises of one drill.
func printPromises(out io.Writer, r *drill.Result) error {
	word := "every promise kept"
	if !r.Kept() {
		word = "A PROMISE BROKE"
	}
	fmt.Fprintf(out, "drill %s: %s\n", r.Scenario.Name, word)
	w := tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
	for _, p := range r.Promises {
		mark := "ok"
		if !p.Kept {
			mark = "BROKEN"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t(wanted: %s)\t%s\n", mark, p.Name, p.Got, p.Want, p.Note)
	}
	return w.Flush()
}
