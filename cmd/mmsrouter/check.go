package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/app"
)

func checkCommand() *cobra.Command {
	var file string
	var offline bool
	c := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Check a configuration, and say what will most likely not work",
		Long: `check reads a configuration as serve would. Mistakes are told with file, line, key and what is allowed, all in
one go, and the exit code is 2. What is allowed but will most likely not work is a warning. Each MMSC is probed
once as its configuration says (--offline leaves that out); one that is down is shown and is no mistake.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return wrongUsage("check: give the file with -c")
			}
			cfg, err := app.Check(file)
			if err != nil {
				return usageError{err}
			}
			return check(c.Context(), c.OutOrStdout(), file, &cfg, offline)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file (YAML)")
	c.Flags().BoolVar(&offline, "offline", false, "do not probe the MMSCs")
	return c
}

func check(ctx context.Context, w io.Writer, file string, cfg *app.Config, offline bool) error {
	warnings := cfg.Warnings()
	if !offline {
		probed, err := cfg.ProbeOnce(ctx)
		if err != nil {
			return err
		}
		for _, p := range probed {
			state := "down"
			if p.Up {
				state = "up"
			}
			fmt.Fprintf(w, "%s: %s: %s: %s\n", file, p.Name, state, p.Why)
			if p.Fault != "" {
				warnings = append(warnings, p.Name+": "+p.Fault)
			}
		}
	}
	for _, m := range warnings {
		fmt.Fprintf(w, "%s: warning: %s\n", file, m)
	}
	_, err := fmt.Fprintf(w, "%s: fine, %d warnings\n", file, len(warnings))
	return err
}
