package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/admin"
)

func messagesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "messages",
		Short: "Look at the embedded MMSC's messages and steer their delivery",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(messagesList(), messagesShow(), messagesVerify(),
		messagesChange("requeue", "Let the delivery of a message begin again for its open recipients", (*admin.Client).RequeueMessage),
		messagesChange("cancel", "End the delivery of a message to its open recipients", (*admin.Client).CancelMessage))
	return c
}

func messagesList() *cobra.Command {
	var filter admin.MessageFilter
	var after, before string
	c := question(&cobra.Command{
		Use:   "list",
		Short: "List messages, the newest first",
		Args:  cobra.NoArgs,
	}, func(c *cobra.Command, client *admin.Client, _ []string) ([]admin.Message, error) {
		for _, t := range []struct {
			flag, text string
			at         *time.Time
		}{{"after", after, &filter.After}, {"before", before, &filter.Before}} {
			if err := readTime(t.flag, t.text, t.at); err != nil {
				return nil, err
			}
		}
		return client.Messages(c.Context(), filter)
	}, printMessages)
	fl := c.Flags()
	fl.StringVar(&filter.Number, "number", "", "of the sender or a recipient")
	fl.StringVar(&filter.State, "state", "", "of a recipient, such as queued, notified, deferred, retrieved, expired")
	fl.StringVar(&after, "after", "", "accepted after this time (2026-01-31T12:00:00Z), or so long ago at most (24h)")
	fl.StringVar(&before, "before", "", "accepted before this time, or so long ago at least")
	fl.IntVar(&filter.Limit, "limit", 100, "at most so many")
	return c
}

// readTime reads a time, or a span that reaches back from now.
func readTime(flag, text string, at *time.Time) error {
	if text == "" {
		return nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		*at = time.Now().Add(-d)
		return nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return wrongUsage("messages list: --%s %q: want a time such as 2026-01-31T12:00:00Z or a span such as 24h", flag, text)
	}
	*at = t
	return nil
}

func messagesShow() *cobra.Command {
	return question(&cobra.Command{
		Use:   "show MESSAGE",
		Short: "Show a message and what happened to it",
		Args:  cobra.ExactArgs(1),
	}, func(c *cobra.Command, client *admin.Client, args []string) (admin.Message, error) {
		return client.Message(c.Context(), args[0])
	}, printMessage)
}

func messagesChange(use, short string, do func(*admin.Client, context.Context, string) (admin.Changed, error)) *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use:   use + " MESSAGE",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			n, err := do(client, c.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: %d recipients\n", n.ID, n.Recipients)
			return err
		},
	}
	f.add(c)
	return c
}

const timeForm = "2006-01-02 15:04:05Z"

func printMessages(w io.Writer, list []admin.Message) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "MESSAGE\tACCEPTED\tFROM\tTO\tSTATE\tOCTETS")
	for _, m := range list {
		for i, r := range m.Recipients {
			id, at, from, size := m.ID, m.Created.UTC().Format(timeForm), m.Sender, fmt.Sprint(m.Size)
			if i > 0 {
				id, at, from, size = "", "", "", ""
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", id, at, shown(from), shown(r.Address), r.State, size)
		}
	}
	return t.Flush()
}

func printMessage(w io.Writer, m admin.Message) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "message %s\nfrom %s, accepted %s, expires %s, %d octets", m.ID, shown(m.Sender), m.Created.UTC().Format(timeForm),
		m.Expires.UTC().Format(timeForm), m.Size)
	if m.Purged {
		fmt.Fprint(t, ", content gone")
	}
	if m.Subject != "" {
		fmt.Fprintf(t, "\nsubject %q", m.Subject)
	}
	fmt.Fprintln(t, "\n\nRECIPIENT\tKIND\tSTATE\tATTEMPTS\tLAST ERROR")
	for _, r := range m.Recipients {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", shown(r.Address), r.Kind, r.State, r.Attempts, shown(orDash(r.LastError)))
	}
	fmt.Fprintln(t, "\nTIME\tRECIPIENT\tEVENT\tDETAIL")
	for _, e := range m.Timeline {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", e.Time.UTC().Format("2006-01-02 15:04:05.000Z"), shown(orDash(e.Recipient)), e.Event, shown(e.Detail))
	}
	return t.Flush()
}
