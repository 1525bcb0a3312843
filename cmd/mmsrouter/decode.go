package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/mmsjson"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
)

func decodeCommand() *cobra.Command {
	var asJSON bool
	var parts string
	c := &cobra.Command{
		Use:   "decode [--json] [--parts DIR] FILE|-",
		Short: "Read a PDU and print it",
		Long: `decode reads an MMS PDU, a WSP push that carries one, or a text file whose lines "mms: HEX", "push: HEX" or
"tpdu: HEX" (an SMS-DELIVER) hold one; # begins a comment there. --json prints it whole, every header with its octets, so that encode can build it again.
A PDU that must be refused: exit code 1, and one line that says where and why.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			b, err := readFile(args[0], c.InOrStdin())
			if err != nil {
				return err
			}
			if b, err = unwrap(b); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			p, err := mms.Decode(b)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if asJSON || parts != "" {
				doc, err := mmsjson.Marshal(p, parts)
				if err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				if asJSON {
					_, err = c.OutOrStdout().Write(append(bytes.TrimRight(doc, "\n"), '\n'))
					return err
				}
			}
			return printPDU(c.OutOrStdout(), p)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, every header with its octets")
	c.Flags().StringVar(&parts, "parts", "", "write the bodies of the parts into this folder")
	return c
}

// unwrap finds the PDU in a push or in a text file of hex.
func unwrap(b []byte) ([]byte, error) {
	if len(b) > 0 && b[0] == byte(mms.FieldMessageType) {
		return b, nil
	}
	if kind, octets, err := hexFile(b); err != nil || kind == "mms" {
		return octets, err
	} else if kind == "push" {
		b = octets
	} else if len(b) < 2 || b[1] != wappush.TypePush && b[1] != wappush.TypeConfirmedPush {
		return b, nil // no push: the codec says what is wrong with it
	}
	p, err := wappush.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("WSP push: %w", err)
	}
	if !p.IsMMS() {
		return nil, fmt.Errorf("WSP push: carries %s, no PDU of MMS", p.ContentType.Type)
	}
	return p.Body, nil
}

// hexFile reads a text file of hex; kind is "" if b is none.
func hexFile(b []byte) (kind string, octets []byte, err error) {
	var sms [][]byte
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		k, digits, ok := strings.Cut(line, ":")
		if !ok || k != "mms" && k != "push" && k != "tpdu" {
			return "", nil, nil // some other file
		}
		data, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			return k, nil, fmt.Errorf("line %s: %w", k, err)
		}
		if k == "tpdu" {
			sms = append(sms, data)
		} else if kind != "mms" {
			kind, octets = k, data
		}
	}
	if kind == "" && len(sms) > 0 {
		octets, err = joinSMS(sms)
		return "push", octets, err
	}
	return kind, octets, nil
}

func printPDU(w io.Writer, p *mms.PDU) error {
	doc, err := mmsjson.Describe(p, "")
	if err != nil {
		return err
	}
	for _, h := range doc.Headers {
		if h.Value != nil {
			fmt.Fprintf(w, "%s: %s\n", h.Name, shown(*h.Value))
		} else {
			fmt.Fprintf(w, "%s: octets %s\n", h.Name, h.Hex)
		}
	}
	if doc.ContentType != nil {
		fmt.Fprintf(w, "Content-Type: %s\n", typeLine(*doc.ContentType))
	}
	if doc.Body != nil {
		fmt.Fprintf(w, "body: %d octets\n", doc.Body.Size)
	}
	return printParts(w, doc.Parts, "")
}

func printParts(w io.Writer, parts []mmsjson.Part, in string) error {
	for i, p := range parts {
		at := fmt.Sprintf("%s%d", in, i+1)
		if _, err := fmt.Fprintf(w, "part %s: %s, %d octets\n", at, typeLine(p.ContentType), p.Size); err != nil {
			return err
		}
		for _, h := range p.Headers {
			if h.Value != nil {
				fmt.Fprintf(w, "  %s: %s\n", h.Name, shown(*h.Value))
			}
		}
		if err := printParts(w, p.Parts, at+"."); err != nil {
			return err
		}
	}
	return nil
}

func typeLine(c mmsjson.ContentType) string {
	var b strings.Builder
	b.WriteString(shown(c.Value))
	for _, p := range c.Params {
		fmt.Fprintf(&b, "; %s=%s", shown(p[0]), shown(p[1]))
	}
	return b.String()
}

// shown keeps a peer's text on one line and its controls away from the terminal.
func shown(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F || r >= 0x80 && r < 0xA0 {
			return '?'
		}
		return r
	}, s)
}
