package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

func messagesVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify FOLDER",
		Short: "Read every content of the embedded MMSC's SQLite store in a data folder, or in a copy of one",
		Long: `verify checks the database in FOLDER (node.data, or a copy of it) and reads each content, in the database or in a
file beside it, and compares it with its length and sum. It may run beside a router. A content that is damaged
or missing is told with its messages, in one line each, and the exit code is 1.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := store.Verify(c.Context(), args[0], func(f store.Fault) {
				fmt.Fprintf(c.OutOrStdout(), "content %d:", f.Content)
				for _, m := range f.Messages {
					fmt.Fprintf(c.OutOrStdout(), " message %s:", m)
				}
				fmt.Fprintf(c.OutOrStdout(), " %v\n", f.Err)
			})
			if err != nil {
				return fmt.Errorf("messages verify: %w", err)
			}
			fmt.Fprintf(c.OutOrStdout(), "%d contents with %d octets, %d of them in files; %d damaged or missing\n", v.Contents, v.Octets, v.InFiles, v.Faults)
			if v.Faults > 0 {
				return fmt.Errorf("messages verify: %d contents are damaged or missing", v.Faults)
			}
			return nil
		},
	}
}
