package services_test

import (
	"archive/zip"
	"bytes"
	"fmt"
	"image"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mmsrouter/mmsrouter/handset"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
	"github.com/mmsrouter/mmsrouter/test/services/provider"
)

// archive makes a zip of names and what they hold.
func archive(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i+1 < len(files); i += 2 {
		f, err := z.Create(files[i])
		if err == nil {
			_, err = f.Write([]byte(files[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// offer is one thing that a provider gives.
type offer struct {
	name, format string
	answer       func(p *provider.Provider) provider.Answer
	text         string // that the user reads
	frames       []int  // of each picture that the user sees
	parts        int    // beside the presentation; 0: texts and pictures
}

// offers are what TestContent shows.
func offers(t *testing.T) []offer {
	big, plain := asPNG(t, noise(660, 500)), asJPEG(t, shade(500, 700))
	raw := func(media string, body []byte) func(*provider.Provider) provider.Answer {
		return func(*provider.Provider) provider.Answer { return provider.Answer{Type: media, Body: body} }
	}
	multi := func(subtype string, list ...provider.Content) func(*provider.Provider) provider.Answer {
		media, body := provider.Multipart(subtype, list...)
		return raw(media, body)
	}
	say := func(format string, r provider.Reply) func(*provider.Provider) provider.Answer {
		return func(*provider.Provider) provider.Answer { return r.In(format) }
	}
	urls := func(format string, paths ...string) func(*provider.Provider) provider.Answer {
		return func(p *provider.Provider) provider.Answer {
			r := provider.Reply{Subject: "fetched"}
			for _, path := range paths {
				r.Parts = append(r.Parts, provider.Content{Type: "image/png", URL: p.URL + "media/" + path})
			}
			return r.In(format)
		}
	}
	hello := provider.Content{Type: "text/plain; charset=iso-8859-1", Name: "hej.txt", Data: []byte("Hej d\xe4r")}
	photo := provider.Content{Type: "image/jpeg", Name: "photo.jpg", Data: plain}
	pages := provider.Reply{Pages: []provider.Page{{Duration: 3, Text: "one", Parts: []provider.Content{photo}}, {Duration: 4, Text: "two", Parts: []provider.Content{{Type: "image/png", Data: big}}}}}
	given := provider.Reply{SMIL: `<smil><body><par dur="3s"><img src="cid:pic"/><text src="note.txt"/></par></body></smil>`,
		Parts: []provider.Content{{Type: "text/plain", Name: "note.txt", Data: []byte("below the picture")}, {Type: "image/jpeg", ID: "pic", Data: plain}}}
	amr := append([]byte("#!AMR\n"), bytes.Repeat([]byte{0x3C, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8}, 20)...)
	return []offer{
		{"raw picture", "http", raw("image/png", big), "", []int{1}, 0},
		{"raw animation", "http", raw("image/gif", animation(t, 120, 90, 5)), "", []int{5}, 0},
		{"raw text of another charset", "http", raw("text/plain; charset=iso-8859-1", hello.Data), "Hej där", nil, 0},
		{"page", "http", raw("text/html", []byte("<title>News</title><p>Read <b>all</b> of it.<script>evil()</script>")), "Read all of it.", nil, 0},
		{"multipart", "http", multi("mixed", hello, photo, provider.Content{Type: "audio/amr", Name: "s.amr", Data: amr}), "Hej där", []int{1}, 3},
		{"zip", "http", raw("application/zip", archive(t, "a/../../b.txt", "packed", "c.jpg", string(plain))), "packed", []int{1}, 0},
		{"list of URLs", "http", func(p *provider.Provider) provider.Answer {
			return provider.Answer{Type: "text/uri-list", Body: fmt.Appendf(nil, "# comment\r\n%smedia/big.png\r\n%[1]smedia/hello.txt\r\n", p.URL)}
		}, "from afar", []int{1}, 0},
		{"named by URL over HTTP", "http", urls("http", "big.png", "moved"), "", []int{1, 1}, 0},
		{"inside XML", "xml", say("xml", provider.Reply{Subject: "s", Text: "inside", Parts: []provider.Content{photo}}), "inside", []int{1}, 0},
		{"pages in XML", "xml", say("xml", pages), "one|two", []int{1, 1}, 0},
		{"presentation in XML", "xml", say("xml", given), "below the picture", []int{1}, 0},
		{"URLs in XML", "xml", urls("xml", "big.png", "moved"), "", []int{1, 1}, 0},
		{"pages in JSON", "json", say("json", pages), "one|two", []int{1, 1}, 0},
		{"URLs in JSON", "json", urls("json", "moved"), "", []int{1}, 0},
	}
}

// TestContent: whatever way a provider gives its content, raw, as multipart, packed, named by URL, inside XML or JSON, the user's handset gets a
// sound message with a presentation, whose pictures are within the dimensions and the size of the content class.
func TestContent(t *testing.T) {
	t.Parallel()
	big := asPNG(t, shade(700, 100))
	media := http.NewServeMux()
	media.HandleFunc("/media/big.png", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		_, _ = w.Write(big) // a reply without it fails the test
	})
	media.HandleFunc("/media/hello.txt", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("from afar")) // a reply without it fails the test
	})
	media.Handle("/media/moved", http.RedirectHandler("/media/big.png", http.StatusFound))
	for _, class := range []struct {
		name     string
		platform []string
		box      box
		only     string // offers with this in their names
	}{{"video-rich", nil, videoRich, ""}, {"image-basic", []string{"class: image-basic"}, imageBasic, "raw"}} {
		t.Run(class.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{platform: class.platform})
			list := slices.DeleteFunc(offers(t), func(o offer) bool { return !strings.Contains(o.name, class.only) })
			var entries []string
			for i, o := range list {
				var p *provider.Provider
				p = provider.Start(t, provider.Options{Media: media, Do: func(provider.Ask) provider.Answer { return o.answer(p) }})
				entries = append(entries, fmt.Sprintf(`{name: s%d, match: {codes: ["%d"]}, provider: {url: "%s", format: %s, max_answer: 20MiB}}`, i, 7000+i, p.URL, o.format))
			}
			w.enter(entries...)
			for i := range list {
				w.users.say(t, alice, fmt.Sprint(7000+i), "please")
			}
			var replies []reply
			for i, o := range list {
				r := w.users.reply(t, alice, fmt.Sprint(7000+i), 1)
				if got := strings.ReplaceAll(r.text, "\r\n", "\n"); !strings.Contains(got, o.text) || o.text == "" && got != "" {
					t.Errorf("%s: text %q, want %q", o.name, got, o.text)
				}
				if n := class.box.fits(t, r); !slices.Equal(n, o.frames) {
					t.Errorf("%s: pictures of %d frames, want %d", o.name, n, o.frames)
				}
				want := o.parts
				if want == 0 {
					want = len(o.frames) + strings.Count(o.text, "|")
					if o.text != "" {
						want++
					}
				}
				presentations := 0
				for k := range r.Message.Parts {
					p := &r.Message.Parts[k]
					if p.ContentType.Is(wsp.SMIL) {
						presentations++
					}
					if name := p.FileName(); strings.ContainsAny(name, "/\\") || strings.Contains(name, "..") {
						t.Errorf("%s: a part is named %q", o.name, name)
					}
				}
				if presentations != 1 || len(r.Message.Parts) != want+1 {
					t.Errorf("%s: %d parts with %d presentations, want %d and one", o.name, len(r.Message.Parts), presentations, want)
				}
				replies = append(replies, r)
			}
			sound(t, replies...)
		})
	}
}

// TestLongContent: what does not fit one message of the class comes in several, numbered in the subject, in their order and each sound; it is one turn.
func TestLongContent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{platform: []string{"class: image-basic"}})
	long := strings.Repeat("Every word of this long story has to reach its reader. ", 1200)
	p := provider.Start(t, provider.Options{Do: func(a provider.Ask) provider.Answer {
		return provider.Reply{Subject: "Story", Text: long, State: "s"}.XML()
	}})
	w.enter(fmt.Sprintf(`{name: story, match: {codes: ["7000"]}, provider: {url: "%s", format: xml}}`, p.URL))
	w.users.say(t, alice, "7000", "tell")
	var got []reply
	for i := range 3 {
		r := w.users.reply(t, alice, "7000", i+1)
		imageBasic.fits(t, r)
		got = append(got, r)
	}
	slices.SortFunc(got, func(a, b reply) int { return strings.Compare(a.Subject, b.Subject) })
	words := ""
	for i, r := range got {
		if !strings.Contains(r.Subject, fmt.Sprintf("%d/3", i+1)) {
			t.Errorf("subject %q", r.Subject)
		}
		words += " " + r.text
	}
	if strings.Join(strings.Fields(words), " ") != strings.TrimSpace(long) {
		t.Errorf("%d words arrived of %d", len(strings.Fields(words)), len(strings.Fields(long)))
	}
	w.users.say(t, alice, "7000", "more")
	if a := p.Await(2, "for a turn", provider.Turn); a.Turn != 2 || a.State != "s" {
		t.Errorf("turn %d with state %q", a.Turn, a.State)
	}
	sound(t, got...)
}

// TestProfile: a handset whose profile says what it can take gets a picture and a message of that size; one whose profile is silent, no profile,
// or at an address that may not be reached gets what the configuration says.
func TestProfile(t *testing.T) {
	t.Parallel()
	media, hits := http.NewServeMux(), atomic.Int32{}
	media.HandleFunc("/media/+"+alice[1:], func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = w.Write([]byte(`<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:prf="urn:prf"><rdf:Description>
			<prf:component><rdf:Description rdf:ID="MmsCharacteristics"><prf:MmsMaxMessageSize>30720</prf:MmsMaxMessageSize><prf:MmsMaxImageResolution>160x120</prf:MmsMaxImageResolution>
			</rdf:Description></prf:component></rdf:Description></rdf:RDF>`)) // a larger picture fails the test
	})
	media.HandleFunc("/media/+"+bob[1:], func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	media.HandleFunc("/media/+"+carol[1:], func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.2/profile.xml", http.StatusFound)
	})
	picture := asPNG(t, shade(500, 375))
	p := provider.Start(t, provider.Options{Media: media, Do: func(a provider.Ask) provider.Answer {
		return provider.Reply{Text: "look", Parts: []provider.Content{{Type: "image/png", Data: picture}}}.XML()
	}})
	w := newWorld(t, setup{platform: []string{"profiles: {timeout: 500ms}"}, phones: func(o *handset.Options) { o.Header = append(o.Header, "X-WAP-Profile: "+p.URL+"media/##LINE1##") }})
	w.enter(fmt.Sprintf(`{name: look, match: {codes: ["7000"]}, provider: {url: "%s", format: xml}}`, p.URL))
	for _, c := range []struct {
		number string
		box    box
		turns  int
	}{{alice, imageBasic, 2}, {bob, videoRich, 1}, {carol, videoRich, 1}} {
		for i := range c.turns {
			w.users.say(t, c.number, "7000", "x")
			r := w.users.reply(t, c.number, "7000", i+1)
			if n := c.box.fits(t, r); !slices.Equal(n, []int{1}) || r.text != "look" {
				t.Errorf("%s: %q, pictures of %d frames", c.number, r.text, n)
			}
			if big := len(r.pdu) > imageBasic.size || imageWidth(r) > imageBasic.width; big != (c.box == videoRich) {
				t.Errorf("%s: %d octets, %d pixels wide", c.number, len(r.pdu), imageWidth(r))
			}
		}
	}
	if n := hits.Load(); n != 1 {
		t.Errorf("a profile was fetched %d times for two turns", n)
	}
}

// imageWidth is how wide a message's first picture is.
func imageWidth(r reply) int {
	for i := range r.Message.Parts {
		if c, _, err := image.DecodeConfig(bytes.NewReader(r.Message.Parts[i].Data)); err == nil {
			return c.Width
		}
	}
	return 0
}
