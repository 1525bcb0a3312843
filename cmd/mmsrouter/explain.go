package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/admin"
)

// maxPDUFile bounds what is read of a file whose head alone is looked at.
const maxPDUFile = 64 << 20

func explainCommand() *cobra.Command {
	var q admin.Question
	c := question(&cobra.Command{
		Use:   "explain [FILE|-]",
		Short: "Tell where a request would go now, and why",
		Long: `explain asks the running router for its decision on a request: that of a PDU in a file (- is standard
input), or one described by flags. Nothing is sent to an MMSC.`,
		Example: `  mmsrouter explain message.mms
  mmsrouter explain --from +46701234567 --to +46707654321
  mmsrouter explain --method GET --url http://mms.example.net/m/abc`,
		Args: cobra.MaximumNArgs(1),
	}, func(c *cobra.Command, client *admin.Client, args []string) (admin.Explanation, error) {
		if len(args) == 0 {
			return client.Explain(c.Context(), q)
		}
		pdu, err := readFile(args[0], c.InOrStdin())
		if err != nil {
			return admin.Explanation{}, err
		}
		return client.ExplainPDU(c.Context(), pdu, q)
	}, printExplanation)
	fl := c.Flags()
	fl.StringVar(&q.Method, "method", "", "GET or POST (default)")
	fl.StringVar(&q.URL, "url", "", "URL of the request: host, path and query count")
	fl.StringVar(&q.PDU, "pdu", "", "PDU, such as m-send-req (default) or m-forward-req")
	fl.StringVar(&q.Subscriber, "subscriber", "", "identity of the subscriber")
	fl.StringVar(&q.Sender, "from", "", "sender as E.164 number")
	fl.StringSliceVar(&q.Recipients, "to", nil, "recipient as E.164 number; may be repeated")
	fl.StringVar(&q.Location, "location", "", "X-Mms-Content-Location inside the PDU")
	fl.StringVar(&q.MessageID, "message", "", "Message-ID inside the PDU")
	fl.StringVar(&q.TransactionID, "transaction", "", "transaction id inside the PDU")
	return c
}

// readFile reads a file or, for "-", standard input.
func readFile(name string, in io.Reader) ([]byte, error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	b, err := io.ReadAll(io.LimitReader(in, maxPDUFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxPDUFile {
		return nil, fmt.Errorf("read %s: larger than %d octets", name, maxPDUFile)
	}
	return b, nil
}

func printExplanation(w io.Writer, e admin.Explanation) error {
	order := strings.Join(e.Order, ", then ")
	if order == "" {
		order = "nobody"
	}
	what := map[string]string{"any": "goes to", "owner": "belongs to", "search": "is looked for at", "all": "goes to all of"}[e.Kind]
	subject := e.Request.PDU
	if subject == "" || strings.EqualFold(e.Request.Method, "GET") {
		subject = "retrieval"
	}
	fmt.Fprintf(w, "%s %s: %s\n", subject, what, order)
	if len(e.Missing) > 0 {
		fmt.Fprintf(w, "down but perhaps its owner: %s\n", strings.Join(e.Missing, ", "))
	}
	for _, y := range e.Why {
		if _, err := fmt.Fprintf(w, "  %s\n", y); err != nil {
			return err
		}
	}
	return nil
}
