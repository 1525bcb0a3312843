package platform_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

// uaprof writes a profile as makers do.
func uaprof(properties string) string {
	return `<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE rdf:RDF [<!ENTITY ns-prf "http://www.openmobilealliance.org/tech/profiles/UAPROF/ccppschema-20021212#">]>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:prf="&ns-prf;">
 <rdf:Description rdf:ID="Profile">
  <prf:component><rdf:Description rdf:ID="HardwarePlatform"><prf:ScreenSize>176x208</prf:ScreenSize><prf:Vendor>Maker &amp; Söhne</prf:Vendor></rdf:Description></prf:component>
  <prf:component><rdf:Description rdf:ID="MmsCharacteristics">` + properties + `</rdf:Description></prf:component>
 </rdf:Description>
</rdf:RDF>`
}

func TestReadProfile(t *testing.T) {
	for _, c := range []struct {
		name, doc string
		want      platform.Capability
		bad       bool
	}{
		{"all", uaprof(`<prf:MmsMaxMessageSize> 307200 </prf:MmsMaxMessageSize><prf:MmsMaxImageResolution>640X480</prf:MmsMaxImageResolution>
			<prf:MmsCcppAccept><rdf:Bag><rdf:li>image/jpeg</rdf:li><rdf:li>Video/3GPP; x=y</rdf:li></rdf:Bag></prf:MmsCcppAccept>`),
			platform.Capability{Size: 307200, MaxWidth: 640, MaxHeight: 480, Accept: []string{"image/jpeg", "video/3gpp"}}, false},
		{"nothing about messages", uaprof(""), platform.Capability{}, false},
		{"the first counts", uaprof(`<prf:MmsMaxMessageSize>1</prf:MmsMaxMessageSize><prf:MmsMaxMessageSize>2</prf:MmsMaxMessageSize>`), platform.Capability{Size: 1}, false},
		{"no numbers", uaprof(`<prf:MmsMaxMessageSize>300kB</prf:MmsMaxMessageSize><prf:MmsMaxImageResolution>big</prf:MmsMaxImageResolution>`), platform.Capability{}, false},
		{"negative", uaprof(`<prf:MmsMaxMessageSize>-1</prf:MmsMaxMessageSize><prf:MmsMaxImageResolution>-1x5</prf:MmsMaxImageResolution>`), platform.Capability{}, false},
		{"cut behind it", uaprof(`<prf:MmsMaxMessageSize>102400</prf:MmsMaxMessageSize><prf:Mms`)[:580], platform.Capability{Size: 102400}, false},
		{"a page", "<html><p>Not found", platform.Capability{}, true},
		{"no markup", "404", platform.Capability{}, true},
		{"empty", "", platform.Capability{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := platform.ReadProfile([]byte(c.doc))
			if (err != nil) != c.bad || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}

func FuzzProfile(f *testing.F) {
	f.Add([]byte(uaprof(`<prf:MmsMaxMessageSize>307200</prf:MmsMaxMessageSize><prf:MmsMaxImageResolution>640x480</prf:MmsMaxImageResolution><x><li>a/b`)))
	f.Add([]byte("<a></b></c><!DOCTYPE [<!ENTITY"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := platform.ReadProfile(doc)
		if err != nil && !reflect.DeepEqual(c, platform.Capability{}) || c.Size < 0 || c.MaxWidth < 0 || (c.MaxWidth == 0) != (c.MaxHeight == 0) || len(c.Accept) > 200 {
			t.Errorf("%+v %v", c, err)
		}
	})
}

// handsets serves profiles by URL and counts.
type handsets struct {
	docs  map[string]string
	count atomic.Int32
}

func (h *handsets) Get(_ context.Context, url string, limit int64) (*outgoing.Answer, error) {
	h.count.Add(1)
	doc, ok := h.docs[url]
	if !ok || int64(len(doc)) > limit {
		return nil, errors.New("not found")
	}
	return &outgoing.Answer{Status: 200, Body: []byte(doc)}, nil
}

// TestProfileSaysWhatFits: the recipient's own handset decides about size and dimensions.
func TestProfileSaysWhatFits(t *testing.T) {
	says := func(size int, resolution string, accept ...string) string {
		p := fmt.Sprintf(`<prf:MmsMaxMessageSize>%d</prf:MmsMaxMessageSize><prf:MmsMaxImageResolution>%s</prf:MmsMaxImageResolution>`, size, resolution)
		for i, a := range accept {
			p += map[bool]string{true: "<prf:MmsCcppAccept><rdf:Bag>"}[i == 0] + "<rdf:li>" + a + "</rdf:li>"
		}
		if len(accept) > 0 {
			p += "</rdf:Bag></prf:MmsCcppAccept>"
		}
		return uaprof(p)
	}
	hard, easy := asJPEG(t, noise(660, 495), 90), asJPEG(t, flat(1640, 1230), 90)
	for _, c := range []struct {
		name, doc     string
		picture       []byte
		size          int64 // of the message, at most
		width, height int   // of the picture
	}{
		{"small", says(30<<10, "160x120"), hard, 30 << 10, 160, 120},
		{"middle", says(102400, "640x480", "image/jpeg"), hard, 100 << 10, 640, 480},
		{"large, counted in thousands", says(300_000, "1600x1200"), easy, 300_000, 1600, 1200},
		{"a picture of its own form", says(600<<10, "320x240"), easy, 600 << 10, 320, 240},
		{"nonsense", says(300, "0x0"), hard, 300 << 10, 640, 480},
		{"no profile", "", easy, 300 << 10, 640, 480},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &handsets{docs: map[string]string{}}
			if c.doc != "" {
				h.docs["http://phones.example/1.xml"] = c.doc
			}
			p := newPlatform(t, func(o *platform.Options) { o.Fetch = h })
			r := request("", text("x"), platform.Item{Name: "a.jpg", Data: c.picture})
			r.Profile = "http://phones.example/1.xml"
			res, err := p.Compose(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			size, err := res.Messages[0].Size()
			if err != nil || len(res.Messages) != 1 || size > c.size {
				t.Errorf("%d octets in %d messages, want at most %d (%v)", size, len(res.Messages), c.size, err)
			}
			var data []byte
			for _, part := range res.Messages[0].Parts {
				if part.ContentType.Is("image/jpeg") {
					data = part.Data
				}
			}
			b := decoded(t, data).Bounds()
			if b.Dx() > c.width || b.Dy() > c.height || b.Dx() < c.width/4 {
				t.Errorf("the picture is %d by %d, want it within %d by %d, and not much smaller", b.Dx(), b.Dy(), c.width, c.height)
			}
			r.Content = platform.Content{Items: []platform.Item{text("x")}}
			if _, err := p.Compose(t.Context(), r); err != nil {
				t.Error(err)
			}
			if n := h.count.Load(); n != 1 {
				t.Errorf("asked for the profile %d times", n)
			}
		})
	}
}

// TestProfilesAreBounded: many at once ask for one profile once; URLs beyond reason, and other peoples' switches, are respected.
func TestProfilesAreBounded(t *testing.T) {
	h := &handsets{docs: map[string]string{"http://phones.example/1.xml": uaprof("")}}
	p := newPlatform(t, func(o *platform.Options) { o.Fetch = h })
	r := request("", text("x"))
	r.Profile = "http://phones.example/1.xml"
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := p.Compose(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, change := range []func(*platform.Request){
		func(r *platform.Request) { r.Profile = "http://phones.example/" + strings.Repeat("x", 500) },
		func(r *platform.Request) { r.Profile = "" },
		func(r *platform.Request) { r.Limits.Class = "text"; r.Profile = "http://phones.example/2.xml" }, // the provider knows better
	} {
		other := r
		change(&other)
		if _, err := p.Compose(t.Context(), other); err != nil {
			t.Error(err)
		}
	}
	if n := h.count.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}
