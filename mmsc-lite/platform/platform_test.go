package platform_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

func TestPicturesFitEveryClass(t *testing.T) {
	p := newPlatform(t, nil)
	pictures := map[string][]byte{
		"photo": asJPEG(t, noise(520, 400), 90), "tall": asJPEG(t, noise(150, 700), 80), "png": asPNG(t, flat(700, 500)), "wide": asPNG(t, flat(2000, 10)),
		"animation": animation(t, 200, 150, 4), "small": asJPEG(t, flat(60, 40), 90), "turned": turned(asJPEG(t, flat(700, 500), 80), 6),
	}
	for class := range platform.DefaultConfig().Classes {
		for name, data := range pictures {
			t.Run(class+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := request(class, text("Hello"), platform.Item{Type: "image/whatever", Name: name, Data: data})
				m := one(t, p, r)
				pictures := len(m.pdu.Parts) - 2
				if want := map[bool]int{true: 1}[class != "text"]; pictures != want {
					t.Errorf("%d pictures, want %d: %s, %v", pictures, want, m.names(), m.notes)
				}
				if m.pdu.Text(mms.FieldFrom) != "1234/TYPE=PLMN" || m.pdu.Recipients()[0] != "+46701234567/TYPE=PLMN" {
					t.Errorf("from %s to %v", m.pdu.Text(mms.FieldFrom), m.pdu.Recipients())
				}
			})
		}
	}
}

func TestWhatFitsIsNotTouched(t *testing.T) {
	p := newPlatform(t, nil)
	for name, data := range map[string][]byte{
		"a.jpg": asJPEG(t, flat(640, 480), 80), "b.gif": animation(t, 100, 80, 5), "c.wbmp": append([]byte{0, 0, 8, 2}, 0xAA, 0x55),
		"d.amr": amr(50), "e.3gp": append([]byte("\x00\x00\x00\x18ftyp3gp4"), make([]byte, 300)...), "f.vcf": []byte("BEGIN:VCARD\r\nVERSION:2.1\r\nN:A\r\nEND:VCARD\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			m := one(t, p, request("video-rich", text("x"), platform.Item{Name: name, Data: data}))
			if got := m.part(t, name); !bytes.Equal(got.Data, data) {
				t.Errorf("%d octets became %d: %v", len(data), len(got.Data), m.notes)
			}
			if len(m.notes) > 0 {
				t.Error(m.notes)
			}
		})
	}
}

func decoded(t testing.TB, data []byte) image.Image {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestPicturesAreUpright(t *testing.T) {
	// The left half of the source is red. Where it is in an upright picture, by orientation.
	red := map[uint16][2]float64{1: {.25, .5}, 2: {.75, .5}, 3: {.75, .5}, 4: {.25, .5}, 5: {.5, .25}, 6: {.5, .25}, 7: {.5, .75}, 8: {.5, .75}}
	p := newPlatform(t, nil)
	for o, at := range red {
		m := one(t, p, request("image-basic", platform.Item{Name: "p.jpg", Data: turned(asJPEG(t, flat(300, 150), 90), o)}))
		img := decoded(t, m.part(t, "p.jpg").Data)
		b := img.Bounds()
		if (b.Dy() > b.Dx()) != (o > 4) {
			t.Errorf("orientation %d: %v", o, b)
		}
		r, _, blue, _ := img.At(int(at[0]*float64(b.Dx())), int(at[1]*float64(b.Dy()))).RGBA()
		if r < 0xC000 || blue > 0x4000 {
			t.Errorf("orientation %d: red is not where it belongs", o)
		}
	}
}

func TestTransparencyBecomesWhite(t *testing.T) {
	m := one(t, newPlatform(t, nil), request("image-rich", platform.Item{Name: "p.png", Data: asPNG(t, image.NewNRGBA(image.Rect(0, 0, 50, 50)))}))
	if r, g, b, _ := decoded(t, m.part(t, "p.jpg").Data).At(20, 20).RGBA(); r < 0xF000 || g < 0xF000 || b < 0xF000 {
		t.Errorf("%x %x %x", r, g, b)
	}
}

func TestOrderOfReductions(t *testing.T) {
	p := newPlatform(t, nil)
	photo := platform.Item{Name: "photo.jpg", Data: asJPEG(t, noise(640, 480), 85)}
	sound := platform.Item{Name: "sound.amr", Data: amr(800), Optional: true} // 25 KiB
	t.Run("quality", func(t *testing.T) {
		r := request("video-rich", photo, text("x"))
		r.Limits.Size = int64(len(photo.Data)) * 3 / 4
		m := one(t, p, r)
		if !m.noted(platform.Quality) || m.noted(platform.Scaled) {
			t.Error(m.notes)
		}
		if b := decoded(t, m.part(t, "photo.jpg").Data).Bounds(); b.Dx() != 640 {
			t.Errorf("scaled to %v before quality was spent", b)
		}
	})
	t.Run("then dimensions", func(t *testing.T) {
		m := one(t, p, request("image-rich", photo, text("x"), sound))
		if !m.noted(platform.Scaled) || m.noted(platform.Dropped) {
			t.Error(m.notes)
		}
	})
	t.Run("animation", func(t *testing.T) {
		r := request("video-rich", platform.Item{Name: "a.gif", Data: animation(t, 200, 150, 6)})
		r.Limits.Size = 30 << 10
		if m := one(t, p, r); !m.noted(platform.FirstFrame) && !m.noted(platform.Scaled) {
			t.Error(m.notes)
		}
	})
	t.Run("then what is optional", func(t *testing.T) {
		r := request("image-basic", platform.Item{Name: "s.amr", Data: amr(500)}, sound, photo, text("x"))
		m := one(t, p, r)
		if !m.noted(platform.Dropped) || strings.Contains(m.names(), "sound.amr") || !strings.Contains(m.names(), "s.amr") || !strings.Contains(m.names(), "photo.jpg") {
			t.Error(m.names(), m.notes)
		}
	})
	t.Run("then several messages", func(t *testing.T) {
		r := request("video-rich")
		for i := range 3 {
			r.Content.Pages = append(r.Content.Pages, platform.Page{Items: []platform.Item{text(fmt.Sprint("page ", i)), {Name: "v.3gp", Type: "video/3gpp", Data: make([]byte, 200<<10)}}})
		}
		r.Subject = "Film"
		list := all(t, p, r)
		if len(list) != 3 || list[1].pdu.Subject() != "Film (2/3)" || string(list[1].pdu.TransactionID()) != "t1-2" || !list[0].noted(platform.Split) {
			t.Fatal(len(list), list[0].notes, list[0].pdu.Subject())
		}
		for i, m := range list {
			if !strings.Contains(string(m.part(t, "text.txt").Data), fmt.Sprint(i)) || len(m.part(t, "v.3gp").Data) != 200<<10 {
				t.Errorf("message %d: %s", i, m.names())
			}
		}
	})
	t.Run("then left out and cut", func(t *testing.T) {
		long := strings.Repeat("A sentence of a very long story. ", 6000) // 198 KB in a class of 30
		r := request("text", text(long))
		list := all(t, p, r)
		var whole strings.Builder
		for _, m := range list {
			whole.Write(m.part(t, "text.txt").Data)
			whole.WriteByte(' ')
		}
		if len(list) != 3 || !list[0].noted(platform.Cut) || !strings.HasSuffix(whole.String(), "… ") || !strings.HasPrefix(long, strings.TrimSuffix(whole.String(), "… ")) {
			t.Errorf("%d messages, %v", len(list), list[0].notes)
		}
		if whole.Len() < 70<<10 {
			t.Errorf("only %d octets of text in %d messages", whole.Len(), len(list))
		}
	})
	t.Run("a video that fits nothing", func(t *testing.T) {
		m := one(t, p, request("video-basic", text("See:"), platform.Item{Name: "v.3gp", Type: "video/3gpp", Data: make([]byte, 500<<10)}))
		if !m.noted(platform.LeftOut) || string(m.part(t, "text.txt").Data) != "See:" {
			t.Error(m.names(), m.notes)
		}
		refused(t, p, request("video-basic", platform.Item{Name: "v.3gp", Type: "video/3gpp", Data: make([]byte, 500<<10)}), platform.TooLarge)
	})
}

func TestManyPicturesShareTheRoom(t *testing.T) {
	p := newPlatform(t, nil)
	items := []platform.Item{{Name: "tiny.jpg", Data: asJPEG(t, flat(30, 20), 80)}}
	for i := range 5 {
		items = append(items, platform.Item{Name: fmt.Sprintf("p%d.jpg", i), Data: asJPEG(t, noise(400, 200+i), 80)})
	}
	m := one(t, p, request("image-rich", items...))
	if !bytes.Equal(m.part(t, "tiny.jpg").Data, items[0].Data) {
		t.Error("the small picture paid for the large ones")
	}
	if strings.Count(m.smil, "<par") != 6 || m.octet < 50<<10 {
		t.Errorf("%d octets: %s", m.octet, m.smil)
	}
}

func TestProtectedPartsAreNeverTouched(t *testing.T) {
	p := newPlatform(t, nil)
	data := append([]byte("--b\r\nContent-Type: image/jpeg\r\n\r\n"), asJPEG(t, noise(1200, 900), 20)...)
	it := platform.Item{Type: "application/vnd.oma.drm.message; boundary=b", Name: "song.dm", Data: data}
	r := request("video-rich", text("x"), it)
	r.Version = mms.Version13
	m := one(t, p, r)
	got := m.part(t, "song.dm")
	if !bytes.Equal(got.Data, data) || got.ContentType.Param("boundary") != "b" || !m.pdu.Flag(mms.FieldDRMContent, false) {
		t.Error(got.ContentType, m.pdu.Flag(mms.FieldDRMContent, false))
	}
	refused(t, p, request("image-basic", text("x"), it), platform.TooLarge)
}

func TestHeaders(t *testing.T) {
	p := newPlatform(t, nil)
	r := request("image-rich", text("x"))
	r.Subject, r.Delay, r.Expiry, r.DeliveryReport, r.ReadReport = "A subject\r\nBcc: x "+strings.Repeat("long ", 20), time.Hour, 24*time.Hour, true, true
	r.Version, r.Class = mms.Version13, "Informational"
	m := one(t, p, r)
	if s := m.pdu.Subject(); strings.ContainsAny(s, "\r\n") || len([]rune(s)) > 40 || !strings.HasSuffix(s, "…") {
		t.Errorf("subject %q", s)
	}
	when, _ := m.pdu.When(mms.FieldDeliveryTime)
	expiry, _ := m.pdu.When(mms.FieldExpiry)
	if when.After != time.Hour || expiry.After != 24*time.Hour || !m.pdu.Flag(mms.FieldDeliveryReport, false) || !m.pdu.Flag(mms.FieldReadReport, false) ||
		m.pdu.Class() != "Informational" || m.pdu.Octet(mms.FieldContentClass) != 0x82 {
		t.Error(when, expiry, m.pdu.Class(), m.pdu.Octet(mms.FieldContentClass))
	}
	for from, want := range map[string]string{"1234": "1234/TYPE=PLMN", "+46701234567": "+46701234567/TYPE=PLMN", "quiz@example.com": "quiz@example.com", "QUIZ": "QUIZ"} {
		r := request("text", text("x"))
		r.From = from
		if got := one(t, p, r).pdu.Text(mms.FieldFrom); got != want {
			t.Errorf("from %s: %s", from, got)
		}
	}
	for name, change := range map[string]func(*platform.Request){
		"no sender": func(r *platform.Request) { r.From = "" }, "line in sender": func(r *platform.Request) { r.From = "12\r\n34" },
		"no recipient": func(r *platform.Request) { r.To = nil }, "bad recipient": func(r *platform.Request) { r.To = []string{"a b c"} },
		"unknown class": func(r *platform.Request) { r.Limits.Class = "huge" }, "negative delay": func(r *platform.Request) { r.Delay = -1 },
		"negative size": func(r *platform.Request) { r.Limits.Size = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := request("text", text("x"))
			change(&r)
			refused(t, p, r, platform.BadRequest)
		})
	}
}

// outbox keeps what is submitted, up to a number.
type outbox struct {
	pdus [][]byte
	most int
}

func (o *outbox) Submit(_ context.Context, pdu []byte) (string, error) {
	if len(o.pdus) >= o.most {
		return "", errors.New("store is full")
	}
	o.pdus = append(o.pdus, pdu)
	return fmt.Sprintf("m%d", len(o.pdus)), nil
}

func TestSendTellsWhatWasSubmitted(t *testing.T) {
	box := &outbox{most: 2}
	p := newPlatform(t, func(o *platform.Options) { o.Submit = box })
	sent, _, err := p.Send(context.Background(), request("text", text("hello")))
	if err != nil || len(sent) != 1 || sent[0].MessageID != "m1" || sent[0].TransactionID != "t1" || sent[0].Size != int64(len(box.pdus[0])) {
		t.Fatal(sent, err)
	}
	sent, _, err = p.Send(context.Background(), request("text", text(strings.Repeat("word ", 10000))))
	if err == nil || len(sent) != 1 {
		t.Errorf("%v, %v: want the first and the error of the second", sent, err)
	}
	box.most = 10
	again := request("image-rich", text("x"), platform.Item{Data: asJPEG(t, noise(500, 400), 90)}, platform.Item{Data: asPNG(t, flat(700, 90))})
	for range 2 {
		if _, _, err := p.Send(context.Background(), again); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(box.pdus[2], box.pdus[3]) {
		t.Error("the same request gave other octets: a server can't tell the second from a new message")
	}
	if _, _, err := newPlatform(t, nil).Send(context.Background(), request("text", text("x"))); err == nil {
		t.Error("submitted to nobody")
	}
}

func TestTimeEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := newPlatform(t, nil).Compose(ctx, request("image-rich", platform.Item{Data: asJPEG(t, flat(700, 500), 80)}))
	var e *platform.Error
	if !errors.As(err, &e) || e.Kind != platform.Interrupted || !e.Retry || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestReload(t *testing.T) {
	p := newPlatform(t, nil)
	c := platform.DefaultConfig()
	c.MaxMessages = 1
	if p.Reload(platform.Config{}) == nil || p.Reload(c) != nil {
		t.Fatal("an empty configuration was taken, or a good one refused")
	}
	if m := one(t, p, request("text", text(strings.Repeat("word ", 10000)))); !m.noted(platform.Cut) {
		t.Error(m.notes)
	}
}
