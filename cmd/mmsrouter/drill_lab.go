package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/mmsrouter/mmsrouter/drill"
	"github.com/mmsrouter/mmsrouter/drill/fake"
	"github.com/mmsrouter/mmsrouter/drill/lab"
)

// reports says where the reports go.
type reports struct{ markdown, html string }

func (f *reports) add(c *cobra.Command) {
	c.Flags().StringVar(&f.markdown, "markdown", "", "write the report as Markdown to this file")
	c.Flags().StringVar(&f.html, "html", "", "write the report, with charts, as one HTML file")
}

// write writes what was asked for.
func (f *reports) write(results []*drill.Result) error {
	for _, r := range []struct {
		file  string
		write func(io.Writer, []*drill.Result) error
	}{{f.markdown, drill.WriteMarkdown}, {f.html, drill.WriteHTML}} {
		if r.file == "" || len(results) == 0 {
			continue
		}
		out, err := os.Create(r.file)
		if err != nil {
			return err
		}
		err = r.write(out, results)
		if cerr := out.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", r.file, err)
		}
	}
	return nil
}

func drillLabCommand() *cobra.Command {
	var f reports
	var dir, config string
	c := &cobra.Command{
		Use:   "lab [DRILL|FILE]…",
		Short: "Run drills against MMSCs and routers of their own, on loopback",
		Long: `drill lab starts, for each drill, fake MMSCs and routers as processes of their own on a loopback network, lets clients
post through them, some following DNS and some that never ask again, and does what the scenario says. Without a
name it runs every drill that comes with this program. It needs Linux and no privileges.`,
		Example: `  mmsrouter drill lab kill-mmsc --html report.html
  mmsrouter drill lab --config 'mm1: {ambiguous: {m-send-req: fail}}' lost-answer`,
		RunE: func(c *cobra.Command, args []string) error {
			all, err := chosenDrills(args, func(*drill.Scenario) bool { return true })
			if err != nil {
				return err
			}
			if err := yaml.Unmarshal([]byte(config), new(map[string]any)); err != nil {
				return wrongUsage("drill lab: --config: want YAML such as 'mm1: {…}': %w", err)
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return runAll(ctx, c, all, &f, func(ctx context.Context, s drill.Scenario) (*drill.Result, error) {
				return labDrill(ctx, s, config, dir, c.ErrOrStderr())
			})
		},
	}
	f.add(c)
	c.Flags().StringVar(&dir, "dir", "", "keep configurations, logs and ledgers in this folder")
	c.Flags().StringVar(&config, "config", "", "YAML laid over the routers' configuration, to see what another setting would do")
	return c
}

// runAll does one drill after the other, shows each verdict and writes the reports.
func runAll(ctx context.Context, c *cobra.Command, all []drill.Scenario, f *reports, do func(context.Context, drill.Scenario) (*drill.Result, error)) error {
	var results []*drill.Result
	broken := false
	for _, s := range all {
		r, err := do(ctx, s)
		if err != nil {
			_ = f.write(results) // what is there; the error that ends it is the one to tell
			return err
		}
		results = append(results, r)
		broken = broken || !r.Kept()
		if err := printPromises(c.OutOrStdout(), r); err != nil {
			return err
		}
	}
	if err := f.write(results); err != nil {
		return err
	}
	if broken {
		return silentError{}
	}
	return nil
}

// labDrill does one drill in a lab of its own.
func labDrill(ctx context.Context, s drill.Scenario, config, dir string, errOut io.Writer) (*drill.Result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "mmsrouter-drill-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir) // what can't be removed lies in the folder for what is temporary
	} else {
		dir = filepath.Join(dir, s.Name)
		if _, err := os.Stat(dir); err == nil {
			return nil, wrongUsage("drill lab: %s is there already: its ledgers would be added up; want another --dir", dir)
		}
	}
	l, err := lab.New(ctx, lab.Options{Scenario: s, Config: config, Dir: dir, Console: labConsole,
		Program: func(args ...string) *exec.Cmd { return exec.Command(self, args...) }})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return runShown(ctx, s, l, errOut)
}

// runShown does a drill with a progress bar.
func runShown(ctx context.Context, s drill.Scenario, w drill.World, errOut io.Writer) (*drill.Result, error) {
	bar := progressBar(errOut)
	r, err := drill.Run(ctx, drill.Options{Scenario: s, World: w, Progress: bar})
	if bar != nil {
		fmt.Fprint(errOut, "\r\x1b[K")
	}
	return r, err
}

func drillMMSCCommand() *cobra.Command {
	var o fake.Options
	c := &cobra.Command{
		Use:    "mmsc",
		Short:  "A fake MMSC that breaks on request; drill lab starts it",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return fake.Serve(c.Context(), o, c.InOrStdin(), c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&o.Name, "name", "", "its name")
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:0", "where it listens")
	c.Flags().StringVar(&o.Ledger, "ledger", "", "file in which it writes what it stores")
	c.Flags().DurationVar(&o.Answer, "answer", 2*time.Millisecond, "how long it takes for an answer")
	return c
}
