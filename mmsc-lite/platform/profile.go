package platform

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ProfileConfig says how handsets' own descriptions of themselves (UAProf) are used.
type ProfileConfig struct {
	Enabled bool          `yaml:"enabled"` // read them: a handset names its own by X-Wap-Profile
	Timeout time.Duration `yaml:"timeout"` // of one; then the class of unknown recipients counts
	Keep    time.Duration `yaml:"keep"`    // how long one is remembered; one that could not be had, ten minutes at most
}

const (
	maxProfile      = 256 << 10 // octets of a profile
	maxProfileURL   = 500
	profileFailed   = 10 * time.Minute
	profileMemory   = 5_000  // profiles of one generation; there are fewer models of phones
	profileElements = 20_000 // tokens, texts between elements included
	profileTypes    = 200
)

// profiles remembers what handsets are capable of. Two generations bound its memory: the older one is forgotten when
// the younger is full.
type profiles struct {
	fetch      Fetcher
	mu         sync.Mutex
	young, old map[string]*profile
}

// profile is one that is being fetched, or was.
type profile struct {
	ready chan struct{} // closed: what and until stand
	what  Capability    // zero: nothing is known
	until time.Time
}

// of gives what the profile at a URL says; nothing of one that can't be had. Of those who ask for the same at the same time
// one fetches it.
func (p *profiles) of(ctx context.Context, c *ProfileConfig, url string) Capability {
	if !c.Enabled || p.fetch == nil || url == "" || len(url) > maxProfileURL {
		return Capability{}
	}
	one, mine := p.find(url, time.Now())
	if mine {
		// It is for all who wait, and for those to come: one who gives up does not end it.
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Timeout)
		defer cancel()
		var err error
		one.what, err = p.read(within, url)
		one.until = time.Now().Add(c.Keep)
		if err != nil {
			one.until = time.Now().Add(min(c.Keep, profileFailed))
		}
		close(one.ready)
	}
	select {
	case <-one.ready:
		return one.what
	case <-ctx.Done():
		return Capability{}
	}
}

// find gives the profile of a URL; mine says that the caller has to fetch it.
func (p *profiles) find(url string, now time.Time) (one *profile, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one = p.young[url]; one == nil {
		one = p.old[url]
	}
	if one != nil {
		select {
		case <-one.ready:
			if now.Before(one.until) {
				return one, false
			}
		default:
			return one, false
		}
	}
	one = &profile{ready: make(chan struct{})}
	if p.young == nil || len(p.young) >= profileMemory {
		p.old, p.young = p.young, make(map[string]*profile)
	}
	p.young[url] = one
	return one, true
}

func (p *profiles) read(ctx context.Context, url string) (Capability, error) {
	a, err := p.fetch.Get(ctx, url, maxProfile)
	if err != nil {
		return Capability{}, err
	}
	return ReadProfile(a.Body)
}

// Capability is what a handset says that it can take; what it does not say is zero.
type Capability struct {
	Size      int64 // octets of a message
	MaxWidth  int   // pixels of a picture
	MaxHeight int
	Accept    []string // media types in small letters
}

// errProfile is a document that is no profile.
var errProfile = errors.New("no UAProf document")

// ReadProfile reads what a UAProf document (WAP-248-UAPROF) says about multimedia messages, in its component
// MmsCharacteristics. Makers write RDF loosely, so elements count by their names alone, the first of each. Entities that a
// document type declares, as some do for namespaces, are not expanded.
func ReadProfile(doc []byte) (Capability, error) {
	var c Capability
	dec := xml.NewDecoder(bytes.NewReader(doc))
	dec.Strict = false
	dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil } // what counts is ASCII
	rdf := false
	var path []string
	for range profileElements {
		t, err := dec.Token()
		if err != nil && (rdf && errors.Is(err, io.EOF) || c.Size > 0 || c.MaxWidth > 0) {
			return c, nil // where it broke, if it did, is behind what was looked for
		}
		if err != nil {
			return Capability{}, errProfile
		}
		switch t := t.(type) {
		case xml.StartElement:
			rdf = rdf || t.Name.Local == "RDF"
			path = append(path, t.Name.Local)
		case xml.EndElement:
			path = path[:max(0, len(path)-1)]
		case xml.CharData:
			c.take(path, strings.TrimSpace(string(t)))
		}
	}
	return c, nil
}

// take reads one property, or an item of one.
func (c *Capability) take(path []string, value string) {
	if value == "" || len(path) == 0 {
		return
	}
	switch name := path[len(path)-1]; {
	case name == "MmsMaxMessageSize":
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 && c.Size == 0 {
			c.Size = min(n, 1<<30)
		}
	case name == "MmsMaxImageResolution":
		w, h, ok := strings.Cut(strings.ToLower(value), "x")
		width, errW := strconv.Atoi(strings.TrimSpace(w))
		height, errH := strconv.Atoi(strings.TrimSpace(h))
		if ok && errW == nil && errH == nil && width > 0 && height > 0 && c.MaxWidth == 0 {
			c.MaxWidth, c.MaxHeight = min(width, 1<<16), min(height, 1<<16)
		}
	case name == "li" && slices.Contains(path, "MmsCcppAccept"):
		media, _, _ := strings.Cut(strings.ToLower(value), ";")
		if len(c.Accept) < profileTypes && len(media) < 100 {
			c.Accept = append(c.Accept, strings.TrimSpace(media))
		}
	}
}

// takes says whether a handset takes a media type; one that lists none is taken to.
func (c *Capability) takes(media string) bool {
	major, _, _ := strings.Cut(media, "/")
	return len(c.Accept) == 0 || slices.Contains(c.Accept, media) || slices.Contains(c.Accept, major+"/*") || slices.Contains(c.Accept, "*/*")
}

// minProfile is the smallest size that is believed: below it nothing could be sent, and some makers count in other units.
const minProfile = 10 << 10

// fit says what a recipient that has told its capabilities gets: the largest class of its size, else the class of unknown
// recipients, cut down to the capabilities in either case. A tenth of a size counts as none: some say 300000 where the class
// says 300 KiB. Classes that adapt nothing are for recipients that a provider knows.
func (c *Config) fit(can Capability) Limits {
	if can.Size < minProfile {
		can.Size = 0
	}
	out := Limits{Class: c.Class, Size: can.Size, MaxWidth: can.MaxWidth, MaxHeight: can.MaxHeight}
	if can.Size == 0 {
		return out
	}
	if can.MaxWidth == 0 { // larger pictures only for who asks for them
		can.MaxWidth, can.MaxHeight = c.Classes[c.Class].MaxWidth, c.Classes[c.Class].MaxHeight
	}
	var best *Class
	for _, name := range slices.Sorted(maps.Keys(c.Classes)) {
		class := c.Classes[name]
		if class.free() || class.MaxWidth == 0 || class.takes("video/3gpp") && !can.takes("video/3gpp") || int64(class.Size)/10*9 > can.Size {
			continue
		}
		if best == nil || class.better(best, &can) {
			best, out.Class = &class, name
		}
	}
	return out
}

// better orders classes by what they let through to a recipient; of two that are equal in that, the lesser one is closer to it.
func (c *Class) better(o *Class, can *Capability) bool {
	area := func(c *Class) int { return min(c.MaxWidth, can.MaxWidth) * min(c.MaxHeight, can.MaxHeight) }
	return cmp.Or(cmp.Compare(c.Size, o.Size), cmp.Compare(area(c), area(o)), cmp.Compare(len(c.Media), len(o.Media)), cmp.Compare(o.Code, c.Code)) > 0
}
