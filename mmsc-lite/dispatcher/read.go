package dispatcher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"golang.org/x/text/encoding/htmlindex"
)

// errNoContent is a message without a body.
var errNoContent = errors.New("the message has no content")

// Read takes the content of an M-Send.req for Accept: subject, class, the marks of the loop guard, and parts without the
// presentation, texts in UTF-8. Who sends it, to whom, and what is known of the handset is the caller's to add. The parts
// share the octets of pdu.
func Read(pdu []byte) (*Submission, error) {
	m, err := mms.Decode(pdu)
	if err != nil {
		return nil, fmt.Errorf("read a message for a service: %w", err)
	}
	s := &Submission{Subject: m.Subject(), Class: strings.ToLower(m.Class())}
	for _, h := range m.Headers {
		if h.Field != 0 {
			continue
		}
		value, _ := h.Text() // one that can't be read still marks
		switch {
		case strings.EqualFold(h.Name(), MarkService):
			s.Reply = true
		case strings.EqualFold(h.Name(), MarkHops):
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				n = 1 << 20 // beyond any bound
			}
			s.Hops = max(s.Hops, n)
		}
	}
	parts := m.Parts
	if parts == nil {
		if m.ContentType == nil || len(m.Body) == 0 {
			return nil, errNoContent
		}
		parts = []wsp.Part{{ContentType: *m.ContentType, Data: m.Body}}
	}
	for i := range parts {
		p := &parts[i]
		if p.ContentType.Is(wsp.SMIL) {
			continue
		}
		s.Parts = append(s.Parts, readPart(p))
	}
	return s, nil
}

// readPart undoes a transfer encoding and a charset, as far as they are known; else the octets stay as they are.
func readPart(p *wsp.Part) Part {
	out := Part{Type: p.ContentType.String(), Name: p.FileName(), ID: p.ContentID(), Data: p.Data}
	if name := p.TransferEncoding(); name != "" {
		if plain, ok := wsp.Undo(name, bytes.NewReader(p.Data)); ok {
			if data, err := io.ReadAll(plain); err == nil { // it only becomes smaller
				out.Data = data
			}
		}
	}
	if !p.ContentType.Is("text/plain") {
		return out
	}
	charset := strings.ToLower(p.ContentType.Param("charset"))
	switch charset {
	case "", "utf-8", "us-ascii":
		return out
	case "iso-10646-ucs-2":
		charset = "utf-16be"
	}
	if enc, err := htmlindex.Get(charset); err == nil {
		if data, err := enc.NewDecoder().Bytes(out.Data); err == nil {
			out.Type, out.Data = "text/plain; charset=utf-8", data
		}
	}
	return out
}
