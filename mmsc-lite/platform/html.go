package platform

import (
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// blocks begin and end a line; those with true have a line of space around them.
var blocks = map[atom.Atom]bool{
	atom.P: true, atom.H1: true, atom.H2: true, atom.H3: true, atom.H4: true, atom.H5: true, atom.H6: true, atom.Ul: true, atom.Ol: true, atom.Dl: true,
	atom.Table: true, atom.Pre: true, atom.Blockquote: true, atom.Section: true, atom.Article: true, atom.Hr: true,
	atom.Div: false, atom.Li: false, atom.Tr: false, atom.Dt: false, atom.Dd: false, atom.Header: false, atom.Footer: false, atom.Main: false,
	atom.Nav: false, atom.Form: false, atom.Fieldset: false, atom.Caption: false, atom.Figure: false, atom.Figcaption: false, atom.Address: false,
	atom.Body: false, atom.Option: false,
}

// hidden is not for readers. The tokenizer takes their content as one text.
var hidden = map[atom.Atom]bool{
	atom.Script: true, atom.Style: true, atom.Noscript: true, atom.Template: true, atom.Iframe: true, atom.Noembed: true, atom.Noframes: true,
	atom.Textarea: true, atom.Object: true, atom.Svg: true, atom.Math: true, atom.Select: true,
}

// pageWriter gathers the text of a page, white space folded.
type pageWriter struct {
	b       strings.Builder
	newline int  // line ends that are due before the next word
	space   bool // a space is due
	pre     int
}

// pageReader follows the tokens of a page.
type pageReader struct {
	w       pageWriter
	title   strings.Builder
	inTitle bool
	hide    atom.Atom // the hidden element that is open, and how often
	depth   int
	link    string // the address of the link that is open, and where its text begins
	linkAt  int
}

// HTMLText gives the text of an HTML page as a person reads it, and its title.
// It works on tokens, not on a tree, so that its memory is bounded by the page's
// size whatever the nesting. A link is followed by its address if that is an
// absolute one that the text does not show; a picture is told by its alternative
// text.
func HTMLText(page string) (text, title string) {
	z := html.NewTokenizer(strings.NewReader(page))
	var r pageReader
	for {
		switch z.Next() {
		case html.ErrorToken: // the end: a strings.Reader has no other error
			return strings.TrimSpace(r.w.b.String()), oneLine(r.title.String(), 200)
		case html.TextToken:
			switch data := clean(string(z.Text())); {
			case r.hide != 0:
			case r.inTitle:
				r.title.WriteString(data)
			default:
				r.w.text(data)
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			r.start(z.Token())
		case html.EndTagToken:
			r.end(z.Token())
		}
	}
}

func (r *pageReader) start(t html.Token) {
	opens := t.Type == html.StartTagToken
	switch {
	case r.hide != 0:
		if opens && t.DataAtom == r.hide {
			r.depth++
		}
	case hidden[t.DataAtom]:
		if opens {
			r.hide, r.depth = t.DataAtom, 1
		}
	case t.DataAtom == atom.Title:
		r.inTitle = opens
	case t.DataAtom == atom.A:
		r.link, r.linkAt = absolute(attribute(t, "href")), r.w.b.Len()
	default:
		r.w.open(t)
	}
}

func (r *pageReader) end(t html.Token) {
	switch {
	case r.hide != 0:
		if t.DataAtom != r.hide {
			return
		}
		if r.depth--; r.depth == 0 {
			r.hide = 0
		}
	case t.DataAtom == atom.Title:
		r.inTitle = false
	case t.DataAtom == atom.A:
		if shown := r.w.b.String()[r.linkAt:]; r.link != "" && !strings.Contains(shown, strings.TrimSuffix(r.link, "/")) {
			r.w.text(" (" + r.link + ")")
		}
		r.link = ""
	default:
		r.w.close(t)
	}
}

func attribute(t html.Token, name string) string {
	for _, a := range t.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// absolute gives an address that a person can use, "" if it is none.
func absolute(href string) string {
	u, err := url.Parse(strings.TrimSpace(href))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || len(href) > 500 {
		return ""
	}
	return u.String()
}

func (w *pageWriter) open(t html.Token) {
	switch t.DataAtom {
	case atom.Br:
		w.newline = min(w.newline+1, 2)
	case atom.Td, atom.Th:
		w.space = true
	case atom.Img:
		if alt := strings.TrimSpace(attribute(t, "alt")); alt != "" {
			w.text(" [" + clean(alt) + "] ")
		}
	default:
		w.block(t.DataAtom)
	}
	switch t.DataAtom {
	case atom.Li:
		w.text("- ")
	case atom.Pre:
		w.pre++
	}
}

func (w *pageWriter) close(t html.Token) {
	w.block(t.DataAtom)
	if t.DataAtom == atom.Pre && w.pre > 0 {
		w.pre--
	}
}

func (w *pageWriter) block(a atom.Atom) {
	wide, ok := blocks[a]
	switch {
	case !ok:
	case wide:
		w.newline = 2
	default:
		w.newline = max(w.newline, 1)
	}
}

// text writes words; white space between them is folded outside of pre.
func (w *pageWriter) text(s string) {
	if w.pre > 0 {
		if w.due(); s != "" {
			w.b.WriteString(s)
		}
		return
	}
	for len(s) > 0 {
		i := strings.IndexAny(s, " \t\n\u00a0")
		if i < 0 {
			i = len(s)
		}
		if i > 0 {
			w.due()
			w.b.WriteString(s[:i])
			s = s[i:]
			continue
		}
		w.space = true
		s = strings.TrimLeft(s, " \t\n\u00a0")
	}
}

// due writes the white space that was put off until a word follows.
func (w *pageWriter) due() {
	switch {
	case w.b.Len() == 0:
	case w.newline > 0:
		w.b.WriteString("\n\n"[:w.newline])
	case w.space:
		w.b.WriteByte(' ')
	}
	w.newline, w.space = 0, false
}
