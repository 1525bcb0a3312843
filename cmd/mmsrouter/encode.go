package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/mms/mmsjson"
)

func encodeCommand() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "encode FILE|-",
		Short: "Build a PDU from what decode --json printed",
		Long: `encode takes the JSON of decode --json, changed or written by hand, and writes the PDU to standard output. A header
is built from its value, or taken from its hex where there is no value; the bodies of parts come from file or data
(base64).`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			b, err := readFile(args[0], c.InOrStdin())
			if err != nil {
				return err
			}
			p, err := mmsjson.Unmarshal(b, "")
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if to != "" {
				return os.WriteFile(to, p.Encode(), 0o600)
			}
			_, err = c.OutOrStdout().Write(p.Encode())
			return err
		},
	}
	c.Flags().StringVarP(&to, "output", "o", "", "write to this file")
	return c
}
