// Command mmsrouter is the appliance and its tools: serve runs it, the other subcommands look at it, steer
// it, or talk to it as a handset would.
//
// Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/app/strict"
)

// version is set by the linker; see the Makefile.
var version = "devel"

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// exit codes of the contract.
const (
	exitFine   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is wrong usage that a subcommand itself found.
type usageError struct{ error }

// Unwrap gives what was wrong.
func (u usageError) Unwrap() error { return u.error }

func wrongUsage(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

// silentError ends a subcommand that has already said what there is to say.
type silentError struct{}

func (silentError) Error() string { return "" }

// run is main without the process around it.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	started := false // a subcommand began: what fails before is wrong usage
	root := newRoot(&started)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.Execute()
	if err == nil {
		return exitFine
	}
	var usage usageError
	var mistakes strict.Mistakes
	switch {
	case errors.As(err, &mistakes):
		fmt.Fprintln(errOut, err)
		return exitUsage
	case !started || errors.As(err, &usage):
		fmt.Fprintf(errOut, "mmsrouter: %v\nSee mmsrouter --help.\n", err)
		return exitUsage
	case !errors.Is(err, silentError{}):
		fmt.Fprintf(errOut, "mmsrouter: %v\n", err)
	}
	return exitFailed
}

func newRoot(started *bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "mmsrouter",
		Short: "The MMS router: one address for several MMSCs, and no message lost when one of them dies",
		Long: `mmsrouter is the authoritative DNS server of an MMS domain and answers with its own address, takes each
MM1 submission there and forwards it to an MMSC that passes detection. An embedded MMSC serves labs, and
takes over when all others are down.`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) { *started = true },
		RunE:             func(c *cobra.Command, _ []string) error { return c.Help() },
		Args:             cobra.NoArgs,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(commands()...)
	return root
}

// commands lists the subcommands; each stands in a file of its own.
func commands() []*cobra.Command {
	return []*cobra.Command{
		serveCommand(), checkCommand(), statusCommand(), drainCommand(), undrainCommand(), explainCommand(),
		fateCommand(), sendCommand(), phoneCommand(), decodeCommand(), encodeCommand(), messagesCommand(), servicesCommand(), takeoverCommand(),
		drillCommand(), upgradeCommand(), versionCommand(),
	}
}
