package main

import (
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/app"
)

// clientFlags say where the admin API is: --admin and --token, else -c FILE, else the environment, else the
// default address.
type clientFlags struct{ file, admin, token string }

func (f *clientFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.file, "config", "c", "", "take the admin address and token from this configuration file")
	c.Flags().StringVar(&f.admin, "admin", "", "address of the admin API, such as http://127.0.0.1:8090 (or MMSROUTER_ADMIN)")
	c.Flags().StringVar(&f.token, "token", "", "its token (or MMSROUTER_TOKEN)")
}

func (f *clientFlags) client() (*admin.Client, error) {
	base, token := f.admin, f.token
	if f.file != "" {
		c, err := app.Load(f.file)
		if err != nil {
			return nil, usageError{err}
		}
		if base == "" {
			base = reachable(c.Admin.Listen)
		}
		if token == "" {
			token = c.Admin.Token
		}
	}
	if base == "" {
		base = os.Getenv("MMSROUTER_ADMIN")
	}
	if token == "" {
		token = os.Getenv("MMSROUTER_TOKEN")
	}
	if base == "" {
		base = admin.DefaultConfig().Listen
	}
	c, err := admin.NewClient(base, token)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// question is a command that shows what the admin API answers to it: by print, or as JSON.
func question[T any](c *cobra.Command, ask func(c *cobra.Command, client *admin.Client, args []string) (T, error), print func(w io.Writer, answer T) error) *cobra.Command {
	var f clientFlags
	var asJSON bool
	c.RunE = func(c *cobra.Command, args []string) error {
		client, err := f.client()
		if err != nil {
			return err
		}
		answer, err := ask(c, client, args)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), answer)
		}
		return print(c.OutOrStdout(), answer)
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

// reachable turns an address to listen on into one to call: every address of the machine means loopback.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
