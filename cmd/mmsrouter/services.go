package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/admin"
	dispatch "github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
)

// servicesPath is where the admin API has the catalogue.
const servicesPath = "/api/v1/services"

func servicesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "services",
		Short: "Look at and change the catalogue of two-way services",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(servicesList(), servicesShow(), servicesEnter("add", "Enter new services", http.MethodPost), servicesEnter("edit", "Change services, or enter new ones", http.MethodPut),
		servicesRemove(), servicesTest(), servicesDead(), servicesReplay(), servicesDemo())
	return c
}

func servicesList() *cobra.Command {
	return question(&cobra.Command{
		Use:   "list",
		Short: "List the services",
		Args:  cobra.NoArgs,
	}, func(c *cobra.Command, client *admin.Client, _ []string) (list []dispatch.Summary, err error) {
		err = client.Do(c.Context(), http.MethodGet, servicesPath, "", nil, &list)
		return list, err
	}, func(w io.Writer, list []dispatch.Summary) error {
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "SERVICE\tTAKES\tPRIORITY\tFORMAT\tPROVIDER")
		for _, s := range list {
			name := s.Name
			if s.Disabled {
				name += " (disabled)"
			}
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\n", name, shown(s.Match), s.Priority, s.Format, shown(s.URL))
		}
		return t.Flush()
	})
}

func servicesShow() *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use:   "show SERVICE",
		Short: "Print a service in YAML, as edit takes it; secrets are shown as ***, which edit leaves as they are",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			var d dispatch.Document
			if err := client.Do(c.Context(), http.MethodGet, servicesPath+"/"+url.PathEscape(args[0]), "", nil, &d); err != nil {
				return err
			}
			_, err = io.WriteString(c.OutOrStdout(), d.YAML)
			return err
		},
	}
	f.add(c)
	return c
}

func servicesEnter(use, short, method string) *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use:   use + " FILE|-",
		Short: short,
		Long: short + `, from YAML or JSON: a service, a list of them, or "services:" with a list.
All are entered or none. One that can't work is refused with the reason: a bad URL, an unknown format, a rule that
takes the same messages as another service's with equal rank.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := readServices(c.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			var names []string
			if err := client.Do(c.Context(), method, servicesPath, "application/yaml", text, &names); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), strings.Join(names, "\n"))
			return err
		},
	}
	f.add(c)
	return c
}

// readServices reads a file, and sees to it that it can be understood before anything is sent.
func readServices(in io.Reader, name string) ([]byte, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close() // only read
		in = f
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	if _, err := dispatch.ParseServices(bytes.NewReader(text)); err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", name, err)}
	}
	return text, nil
}

func servicesRemove() *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use:   "remove SERVICE",
		Short: "Take a service out of the catalogue",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			return client.Do(c.Context(), http.MethodDelete, servicesPath+"/"+url.PathEscape(args[0]), "", nil, nil)
		},
	}
	f.add(c)
	return c
}

func servicesTest() *cobra.Command {
	var f clientFlags
	var q dispatch.Question
	c := &cobra.Command{
		Use:   "test --to CODE [--from NUMBER] [--text TEXT] [--subject TEXT] [--media TYPE]…",
		Short: "Say which service would take a message, and why; exit code 1 if none would",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if q.Code == "" {
				return wrongUsage("services test: want --to CODE")
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			var v dispatch.Verdict
			if err := postJSON(c.Context(), client, servicesPath+"/-/test", q, &v); err != nil {
				return err
			}
			return printVerdict(c.OutOrStdout(), &v)
		},
	}
	f.add(c)
	fl := c.Flags()
	fl.StringVar(&q.Code, "to", "", "the address that the message is sent to")
	fl.StringVar(&q.From, "from", testSender, "its sender")
	fl.StringVar(&q.Text, "text", "", "its text")
	fl.StringVar(&q.Subject, "subject", "", "its subject")
	fl.StringSliceVar(&q.Media, "media", nil, "the type of a part, such as image/jpeg")
	fl.BoolVar(&q.Reply, "reply", false, "the message was made by a service")
	return c
}

func printVerdict(w io.Writer, v *dispatch.Verdict) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	switch {
	case v.Service == "":
		fmt.Fprintf(t, "no service: %s\n", v.Why)
	case v.Stop:
		fmt.Fprintf(t, "%s, its stop word: %s\n", v.Service, v.Why)
	default:
		fmt.Fprintf(t, "%s: %s\n", v.Service, v.Why)
	}
	if len(v.Candidates) > 0 {
		fmt.Fprintln(t, "\nSERVICE\tFITS\tWHY")
	}
	for _, k := range v.Candidates {
		fits := "no"
		if k.Fits {
			fits = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", k.Service, fits, shown(k.Why))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if v.Refusal != "" {
		return errors.New("the message would be refused: " + v.Refusal)
	}
	return nil
}

func servicesDead() *cobra.Command {
	return question(&cobra.Command{
		Use:   "dead [SERVICE]",
		Short: "List the turns that failed for good",
		Args:  cobra.MaximumNArgs(1),
	}, func(c *cobra.Command, client *admin.Client, args []string) (list []dispatch.DeadLetter, err error) {
		path := servicesPath + "/-/dead"
		if len(args) > 0 {
			path += "?service=" + url.QueryEscape(args[0])
		}
		err = client.Do(c.Context(), http.MethodGet, path, "", nil, &list)
		return list, err
	}, func(w io.Writer, list []dispatch.DeadLetter) error {
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		fmt.Fprintln(t, "ID\tSERVICE\tKIND\tUSER\tTURN\tENDED\tERROR")
		for _, l := range list {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", l.ID, l.Service, l.Kind, shown(l.User), l.Turn, l.Ended.UTC().Format(timeForm), shown(l.Error))
		}
		return t.Flush()
	})
}

func servicesReplay() *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use:   "replay SERVICE [ID]",
		Short: "Ask the provider again for turns that failed for good: one, or all of the service",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			path := servicesPath + "/" + url.PathEscape(args[0]) + "/replay"
			if len(args) > 1 {
				path += "?id=" + url.QueryEscape(args[1])
			}
			var r dispatch.Replayed
			if err := client.Do(c.Context(), http.MethodPost, path, "", nil, &r); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%d replayed\n", r.Replayed)
			return err
		},
	}
	f.add(c)
	return c
}

func postJSON(ctx context.Context, client *admin.Client, path string, in, out any) error {
	var b bytes.Buffer
	if err := printJSON(&b, in); err != nil {
		return err
	}
	return client.Do(ctx, http.MethodPost, path, "application/json", b.Bytes(), out)
}
