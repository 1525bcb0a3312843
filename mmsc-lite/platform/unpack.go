package platform

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/url"
	"path"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
)

// unpacker turns items into plain ones: containers opened, URLs fetched. All
// bounds count over one content.
type unpacker struct {
	in      InputConfig
	fetch   Fetcher
	note    func(Note)
	left    int64 // octets
	items   int
	fetches int
	subject string
	smil    []byte
	leaves  int // plain items so far
}

// open appends the plain items that an item stands for.
func (u *unpacker) open(ctx context.Context, it Item, depth int, out []Item) ([]Item, error) {
	if u.items++; u.items > u.in.Items {
		return nil, tooLarge("more than %d pieces of content", u.in.Items)
	}
	if depth > u.in.Depth {
		return nil, tooLarge("containers within containers, more than %d deep", u.in.Depth)
	}
	if it.URL != "" {
		got, err := u.obtain(ctx, it)
		var e *Error
		if err != nil && it.Optional && ctx.Err() == nil && errors.As(err, &e) {
			u.note(Note{Dropped, it.Name, err.Error()})
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		it = got
	}
	k, media := identify(&it)
	it.Type = withMedia(it.Type, media)
	switch k {
	case kindMultipart:
		return u.openMultipart(ctx, it, depth, out)
	case kindZip:
		return u.openZip(ctx, it, depth, out)
	case kindWAP, kindMMS:
		return u.openWAP(ctx, it, k, depth, out)
	case kindList:
		return u.openList(ctx, it, depth, out)
	}
	if u.left -= int64(len(it.Data)); u.left < 0 {
		return nil, tooLarge("more than %s of content", u.in.Size)
	}
	if k == kindSMIL {
		if u.smil == nil {
			u.smil = it.Data
		}
		return out, nil
	}
	u.leaves++
	return append(out, it), nil
}

// withMedia replaces a type that said nothing and keeps one with parameters.
func withMedia(declared, media string) string {
	if had, _ := splitType(declared); had == media {
		return declared
	}
	return media
}

// obtain fetches an item.
func (u *unpacker) obtain(ctx context.Context, it Item) (Item, error) {
	if u.fetch == nil {
		return it, &Error{Kind: Unobtainable, Err: errors.New("content by URL is not allowed here")}
	}
	if u.fetches++; u.fetches > u.in.Fetches {
		return it, tooLarge("more than %d URLs", u.in.Fetches)
	}
	a, err := u.fetch.Get(ctx, it.URL, u.left+1)
	if err != nil {
		var e *outgoing.Error
		retry := errors.As(err, &e) && e.Transient()
		if e != nil && e.Kind == outgoing.TooLarge {
			return it, &Error{Kind: TooLarge, Err: fmt.Errorf("fetch content: %w", err)}
		}
		return it, &Error{Kind: Unobtainable, Retry: retry, Err: fmt.Errorf("fetch content: %w", err)}
	}
	it.Data = a.Body
	if declared, _ := splitType(it.Type); declared == "" {
		it.Type = a.Header.Get("Content-Type")
	}
	if it.Location == "" {
		it.Location = it.URL
	}
	if it.Name == "" {
		it.Name = dispositionName(a.Header.Get("Content-Disposition"))
	}
	if it.Name == "" {
		it.Name = path.Base(a.URL.Path)
	}
	it.URL = ""
	return it, nil
}

func dispositionName(s string) string {
	_, params, err := mime.ParseMediaType(s)
	if err != nil {
		return ""
	}
	return params["filename"]
}

// openMultipart reads a multipart of MIME. Of alternatives the best that is not
// HTML is taken, else the best (RFC 2046 5.1.4).
func (u *unpacker) openMultipart(ctx context.Context, it Item, depth int, out []Item) ([]Item, error) {
	media, params := splitType(it.Type)
	if params["boundary"] == "" {
		return nil, unusable("%s without a boundary", media)
	}
	r := multipart.NewReader(bytes.NewReader(it.Data), params["boundary"])
	var children []Item
	for {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, unusable("multipart: %w", err)
		}
		if len(children) >= u.in.Items {
			return nil, tooLarge("more than %d parts", u.in.Items)
		}
		child, err := u.mimePart(p)
		if err != nil {
			return nil, err
		}
		child.Optional = child.Optional || it.Optional
		if media == "multipart/form-data" && p.FormName() == "subject" && p.FileName() == "" {
			u.setSubject(decodeText(child.Data, ""))
			continue
		}
		children = append(children, child)
	}
	if media == "multipart/alternative" && len(children) > 0 {
		best := children[len(children)-1]
		for _, c := range children {
			if k, _ := identify(&c); k != kindHTML {
				best = c
			}
		}
		children = []Item{best}
	}
	for _, child := range children {
		var err error
		if out, err = u.open(ctx, child, depth+1, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (u *unpacker) mimePart(p *multipart.Part) (Item, error) {
	plain, ok := wsp.Undo(strings.ToLower(strings.TrimSpace(p.Header.Get("Content-Transfer-Encoding"))), p)
	if !ok {
		return Item{}, unusable("multipart: a transfer encoding that is not known")
	}
	data, err := io.ReadAll(io.LimitReader(plain, u.left+1))
	if err != nil {
		return Item{}, unusable("multipart: %w", err)
	}
	_, params, _ := mime.ParseMediaType(p.Header.Get("Content-Type")) // what can't be read has no name
	name := p.FileName()
	if name == "" {
		name = params["name"]
	}
	return Item{Type: p.Header.Get("Content-Type"), Name: name, ID: p.Header.Get("Content-ID"), Location: p.Header.Get("Content-Location"),
		Data: data, Optional: strings.EqualFold(p.Header.Get("X-Mmsrouter-Optional"), "yes")}, nil
}

func (u *unpacker) setSubject(s string) {
	if u.subject == "" {
		u.subject = s
	}
}

// openZip reads an archive in its order. Counts and sizes are checked by what it
// announces and again by what comes out.
func (u *unpacker) openZip(ctx context.Context, it Item, depth int, out []Item) ([]Item, error) {
	if n, ok := zipEntries(it.Data); !ok || n > 4*u.in.Items {
		return nil, tooLarge("a zip without a directory, or with too many entries")
	}
	z, err := zip.NewReader(bytes.NewReader(it.Data), int64(len(it.Data)))
	if err != nil {
		return nil, unusable("zip: %w", err)
	}
	budget := min(u.left, int64(u.in.ZipRatio)*int64(len(it.Data)))
	for _, f := range z.File {
		base := path.Base(strings.ReplaceAll(f.Name, `\`, "/"))
		if !f.Mode().IsRegular() || strings.HasPrefix(base, ".") || strings.HasPrefix(f.Name, "__MACOSX/") || strings.EqualFold(base, "Thumbs.db") {
			continue
		}
		if f.Flags&1 != 0 {
			return nil, unusable("zip: an entry is encrypted")
		}
		if f.UncompressedSize64 > uint64(budget) {
			return nil, tooLarge("zip: unpacked it is too large, or packed too well")
		}
		r, err := f.Open()
		if err != nil {
			return nil, unusable("zip: %w", err)
		}
		data, err := io.ReadAll(io.LimitReader(r, budget+1))
		_ = r.Close() // only read; what matters came with ReadAll
		if err != nil {
			return nil, unusable("zip: %w", err)
		}
		if budget -= int64(len(data)); budget < 0 {
			return nil, tooLarge("zip: unpacked it is too large, or packed too well")
		}
		if out, err = u.open(ctx, Item{Name: base, Location: f.Name, Data: data, Optional: it.Optional}, depth+1, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// zipEntries reads how many entries an archive announces, before memory is spent
// on them (APPNOTE 4.3.16).
func zipEntries(b []byte) (int, bool) {
	tail := b[max(0, len(b)-(22+65535)):]
	i := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if i < 0 || len(tail)-i < 22 {
		return 0, false
	}
	return int(binary.LittleEndian.Uint16(tail[i+10:])), true
}

// openWAP reads a multipart of WSP or the parts of an MMS message.
func (u *unpacker) openWAP(ctx context.Context, it Item, k kind, depth int, out []Item) ([]Item, error) {
	var parts []wsp.Part
	var err error
	if k == kindMMS {
		var pdu *mms.PDU
		if pdu, err = mms.Decode(it.Data); err == nil {
			u.setSubject(pdu.Subject())
			parts = pdu.Parts
		}
	} else {
		parts, err = wsp.ReadParts(it.Data, 0)
	}
	if err != nil {
		return nil, unusable("%s: %w", it.Type, err)
	}
	for i := range parts {
		p := &parts[i]
		child := Item{Type: p.ContentType.String(), Name: p.FileName(), ID: p.ContentID(), Location: p.ContentLocation(), Data: p.Data, Optional: it.Optional}
		if plain, ok := wsp.Undo(p.TransferEncoding(), bytes.NewReader(p.Data)); ok && p.TransferEncoding() != "" {
			if child.Data, err = io.ReadAll(io.LimitReader(plain, u.left+1)); err != nil {
				return nil, unusable("%s: %w", it.Type, err)
			}
		}
		if out, err = u.open(ctx, child, depth+1, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// openList fetches what a list of URLs names (RFC 2483 5).
func (u *unpacker) openList(ctx context.Context, it Item, depth int, out []Item) ([]Item, error) {
	for line := range strings.Lines(decodeText(it.Data, "utf-8")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var err error
		if out, err = u.open(ctx, Item{URL: line, Optional: it.Optional}, depth+1, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// named gives the names by which a presentation may refer to an item.
func (it *Item) named() []string {
	var out []string
	add := func(s string) {
		if s != "" && s != "." && s != "/" {
			out = append(out, s)
		}
	}
	add(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(it.ID), "<"), ">"))
	add(it.Location)
	add(it.Name)
	if loc, err := url.Parse(it.Location); err == nil && fs.ValidPath(strings.TrimPrefix(loc.Path, "/")) {
		add(path.Base(loc.Path))
	}
	return out
}
