package main

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/app"
	"github.com/mmsrouter/mmsrouter/cluster/takeover"
)

func takeoverCommand() *cobra.Command {
	var file string
	var write bool
	c := &cobra.Command{
		Use:   "takeover -c FILE [--write]",
		Short: "Write keepalived's configuration, so that a dead router's addresses move to a living one",
		Long: `takeover makes, from the section takeover of the configuration, what keepalived needs on this router: its
configuration with the service addresses, priorities and peers, a script that asks whether the router is ready, and a
script that tells the router who holds which addresses. Without --write it prints them (a token is left out); with it they
are written into takeover.dir, which takes root. Afterwards point keepalived at the configuration and reload it.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return wrongUsage("takeover: give the file with -c")
			}
			cfg, err := app.Load(file)
			if err != nil {
				return usageError{err}
			}
			data, err := filepath.Abs(cfg.Node.Data)
			if err != nil {
				return err
			}
			files, err := takeover.Files(cfg.Takeover, takeover.Site{Node: cfg.Node.Name, Admin: "http://" + reachable(cfg.Admin.Listen), Token: cfg.Admin.Token, Data: data})
			if err != nil {
				return usageError{err}
			}
			if !write {
				return printFiles(c.OutOrStdout(), files)
			}
			if err := errors.Join(takeover.Write(files), takeover.MakeYieldFolder(data)); err != nil {
				return err
			}
			return tellWritten(c.OutOrStdout(), files)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file (YAML)")
	c.Flags().BoolVar(&write, "write", false, "write the files instead of printing them")
	return c
}

// printFiles shows the files one after the other. A secret has its own file, which is not shown.
func printFiles(w io.Writer, files []takeover.File) error {
	var errs []error
	for _, f := range files {
		text := f.Text
		if f.User != "" {
			text = "(a secret, readable by " + f.User + " alone)\n"
		}
		_, err := fmt.Fprintf(w, "# ---- %s (mode %04o)\n%s\n", f.Path, f.Mode, text)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// tellWritten says what was written, and what the machine lacks.
func tellWritten(w io.Writer, files []takeover.File) error {
	for _, f := range files {
		fmt.Fprintln(w, f.Path)
	}
	if missing := takeover.Missing(exec.LookPath); len(missing) > 0 {
		fmt.Fprintf(w, "this machine lacks: %s\n", strings.Join(missing, ", "))
	}
	_, err := fmt.Fprintf(w, "now let keepalived read %s and reload it\n", files[0].Path)
	return err
}
