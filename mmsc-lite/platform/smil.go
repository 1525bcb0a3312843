package platform

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// presentation is what MMS SMIL can say (OMA-MMS-CONF, the MMS presentation
// language): a sequence of pages, each with a picture or video, a text and a
// sound, on up to two regions.
type presentation struct {
	width, height string // of the root layout; may be empty
	background    string
	image, text   region
	slides        []smilSlide
}

// region is where something is shown. Empty values were not given.
type region struct {
	left, top, width, height, fit string
}

type smilSlide struct {
	dur   time.Duration
	media []smilMedia
}

type smilMedia struct {
	tag                  string // text, img, video, audio, ref
	src, alt, begin, end string
	region               string
}

var (
	errSMIL    = errors.New("no SMIL that MMS knows")
	lengthForm = regexp.MustCompile(`^[0-9]{1,4}(%|px)?$`)
	colourForm = regexp.MustCompile(`^(#[0-9a-fA-F]{3}|#[0-9a-fA-F]{6}|[a-zA-Z]{1,20})$`)
	fits       = []string{"hidden", "meet", "scroll", "fill", "slice"}
)

// leaves are elements with nothing in them that counts; they need not be closed.
var leaves = []string{"img", "text", "audio", "video", "ref", "region", "root-layout", "meta", "param"}

// smilReader gathers a presentation, element by element.
type smilReader struct {
	in           InputConfig
	p            presentation
	page         bool // the last slide is open
	regions      map[string]region
	depth, count int
	seen         bool
}

// parseSMIL reads a presentation leniently: names in any case, elements that are
// not closed, no declaration. There are no entities but those of XML; a document
// type that declares something is refused. What MMS does not know is passed over.
func parseSMIL(data []byte, in InputConfig) (*presentation, error) {
	if int64(len(data)) > int64(in.SMIL) {
		return nil, fmt.Errorf("SMIL of %d octets: more than %s", len(data), in.SMIL)
	}
	d := xml.NewDecoder(strings.NewReader(decodeText(data, "")))
	d.Strict = false
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // it is UTF-8 by now
	r := &smilReader{in: in, regions: make(map[string]region)}
	for {
		tok, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("SMIL: %w", err)
		}
		switch t := tok.(type) {
		case xml.Directive:
			if s := strings.ToUpper(string(t)); strings.ContainsAny(s, "[]") || strings.Contains(s, "ENTITY") {
				return nil, errors.New("SMIL: a document type that declares entities")
			}
		case xml.StartElement:
			if err := r.start(t); err != nil {
				return nil, err
			}
		case xml.EndElement:
			name := strings.ToLower(t.Name.Local)
			if !slices.Contains(leaves, name) {
				r.depth--
			}
			r.page = r.page && name != "par"
		}
	}
	if !r.seen || len(r.p.slides) == 0 {
		return nil, errSMIL
	}
	r.p.place(r.regions)
	return &r.p, nil
}

func (r *smilReader) start(t xml.StartElement) error {
	name, at := strings.ToLower(t.Name.Local), attributes(t)
	if !slices.Contains(leaves, name) {
		r.depth++
	}
	if r.count++; r.count > r.in.SMILCount || r.depth > r.in.SMILDepth {
		return errors.New("SMIL: too many elements, or too deep")
	}
	r.seen = r.seen || name == "smil"
	switch name {
	case "root-layout":
		r.p.width, r.p.height, r.p.background = match(lengthForm, at["width"]), match(lengthForm, at["height"]), match(colourForm, at["background-color"])
	case "region":
		g := region{match(lengthForm, at["left"]), match(lengthForm, at["top"]), match(lengthForm, at["width"]), match(lengthForm, at["height"]), ""}
		if f := strings.ToLower(at["fit"]); slices.Contains(fits, f) {
			g.fit = f
		}
		r.regions[strings.ToLower(at["id"])] = g
	case "par":
		r.p.slides = append(r.p.slides, smilSlide{dur: clockValue(at["dur"])})
		r.page = true
	case "text", "img", "video", "audio", "ref":
		if !r.page { // outside of a page it is one of its own
			r.p.slides = append(r.p.slides, smilSlide{dur: clockValue(at["dur"])})
		}
		last := &r.p.slides[len(r.p.slides)-1]
		last.media = append(last.media, smilMedia{name, strings.TrimSpace(at["src"]), at["alt"], at["begin"], at["end"], strings.ToLower(at["region"])})
	}
	return nil
}

// place finds the two regions: those that media of each kind name, else those
// of the usual names.
func (p *presentation) place(regions map[string]region) {
	p.image, p.text = regions["image"], regions["text"]
	var image, text bool
	for _, s := range p.slides {
		for _, m := range s.media {
			r, ok := regions[m.region]
			switch {
			case !ok:
			case m.tag == "text" && !text:
				p.text, text = r, true
			case (m.tag == "img" || m.tag == "video") && !image:
				p.image, image = r, true
			}
		}
	}
}

func attributes(t xml.StartElement) map[string]string {
	m := make(map[string]string, len(t.Attr))
	for _, a := range t.Attr {
		m[strings.ToLower(a.Name.Local)] = oneLine(a.Value, 500)
	}
	return m
}

func match(form *regexp.Regexp, s string) string {
	if form.MatchString(s) {
		return s
	}
	return ""
}

// clockValue reads "2000ms", "10s", "1.5s", "00:10", "10"; 0 if it is none.
func clockValue(s string) time.Duration {
	s = strings.TrimSpace(strings.ToLower(s))
	factor := float64(time.Second)
	for _, u := range []struct {
		suffix string
		unit   time.Duration
	}{{"ms", time.Millisecond}, {"min", time.Minute}, {"h", time.Hour}, {"s", time.Second}} {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok {
			s, factor = rest, float64(u.unit)
			break
		}
	}
	var v float64
	for f := range strings.SplitSeq(s, ":") {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil || n < 0 || math.IsNaN(n) || n > 1e6 {
			return 0
		}
		v = v*60 + n
	}
	if v *= factor; v > float64(time.Hour) {
		return time.Hour
	}
	return time.Duration(v).Round(time.Millisecond)
}
