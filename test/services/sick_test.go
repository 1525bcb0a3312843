package services_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/services/provider"
)

// sickness is a way in which a provider is no use.
type sickness struct {
	name, format, more string
	answer             func(p *provider.Provider) provider.Answer
	once               bool // its answer is for good, so it is asked once
}

// sicknesses are what TestSickProviders shows; private is an address that no request may reach.
func sicknesses(private string) []sickness {
	say := func(a provider.Answer) func(*provider.Provider) provider.Answer {
		return func(*provider.Provider) provider.Answer { return a }
	}
	zip, gzip := provider.ZipBomb(32<<20), provider.GzipBomb("application/json", 16<<20)
	picture := provider.PictureBomb(30_000, 30_000)
	named := func(url string) func(*provider.Provider) provider.Answer {
		return say(provider.Reply{Parts: []provider.Content{{Type: "image/png", URL: url}}}.XML())
	}
	return []sickness{
		{"garbage for XML", "xml", "", say(provider.Garbage("application/xml")), true},
		{"garbage for JSON", "json", "", say(provider.Garbage("application/json")), true},
		{"an answer of another format", "json", "", say(provider.Reply{Text: "x"}.XML()), true},
		{"garbage for a picture", "http", "", say(provider.Garbage("image/png")), true},
		{"nothing", "http", "", say(provider.Answer{}), true},
		{"a refusal", "json", "", say(provider.Answer{Status: 404}), true},
		{"cut off", "json", "", say(provider.Cut("application/json")), false},
		{"too much", "json", ", max_answer: 100KiB", say(provider.Endless("application/json")), true},
		{"too much of a picture", "http", ", max_answer: 100KiB", say(provider.Endless("image/png")), true},
		{"too much after decompression", "json", "", say(gzip), true},
		{"silence", "json", ", timeout: 200ms", say(provider.Silent()), false},
		{"an octet now and then", "xml", ", timeout: 200ms", say(provider.Trickle("application/xml", nil)), false},
		{"redirect of a POST", "json", "", func(p *provider.Provider) provider.Answer { return provider.Redirect(307, p.URL) }, true},
		{"redirect to a private address", "http", ", method: GET", say(provider.Redirect(302, "http://"+private+"/")), true},
		{"redirect in circles", "http", ", method: GET", func(p *provider.Provider) provider.Answer { return provider.Redirect(302, p.URL+"media/round") }, true},
		{"content at a private address", "xml", "", named("http://" + private + "/x.png"), true},
		{"content behind a redirect to a private address", "xml", "", func(p *provider.Provider) provider.Answer {
			return named(p.URL + "media/private")(p)
		}, true},
		{"content in a file", "xml", "", named("file:///etc/hostname"), true},
		{"XML bomb", "xml", "", say(provider.XMLBomb()), true},
		{"XML too deep", "xml", "", say(provider.XMLDeep()), true},
		{"zip bomb", "http", "", say(provider.Answer{Type: "application/zip", Body: zip}), true},
		{"picture bomb", "http", "", say(provider.Answer{Type: "image/png", Body: picture}), true},
	}
}

// TestSickProviders: whatever a provider answers, its user gets the fall-back text, nobody else notices, and nothing grows: not the
// memory, not the goroutines, not the files. It does not run beside other stories, since it looks at the whole process.
func TestSickProviders(t *testing.T) {
	w := newWorld(t, setup{})
	var hits atomic.Int32
	l, err := net.Listen("tcp", "127.0.0.2:0") // loopback, but not the address that is allowed
	if err != nil {
		t.Skipf("no second loopback address here: %v", err)
	}
	secret := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }), ReadHeaderTimeout: patience}
	served := make(chan error, 1)
	go func() { served <- secret.Serve(l) }()
	defer func() {
		_ = secret.Close() // Serve tells
		<-served
	}()
	media := http.NewServeMux()
	media.Handle("/media/private", http.RedirectHandler("http://"+l.Addr().String()+"/x.png", http.StatusFound))
	media.Handle("/media/round", http.RedirectHandler("/media/round", http.StatusFound))
	list := sicknesses(l.Addr().String())
	providers, entries := make([]*provider.Provider, len(list)), []string{}
	for i, s := range list {
		providers[i] = provider.Start(t, provider.Options{Media: media, Do: func(provider.Ask) provider.Answer { return s.answer(providers[i]) }})
		entries = append(entries, fmt.Sprintf(`{name: s%d, match: {codes: ["%d"]}, provider: {url: "%s", format: %s, retry: {first: 50ms, max: 50ms, for: 200ms}%s}, reply: {fallback: "sorry"}}`,
			i, 7000+i, providers[i].URL, s.format, s.more))
	}
	well := provider.Start(t, provider.Options{Do: func(a provider.Ask) provider.Answer { return provider.Reply{Text: "well"}.JSON() }})
	entries = append(entries, fmt.Sprintf(`{name: well, match: {codes: ["7999"]}, provider: {url: "%s"}}`, well.URL))
	w.enter(entries...)
	round := func(n int) {
		t.Helper()
		for i := range list {
			w.users.say(t, alice, fmt.Sprint(7000+i), "x")
		}
		w.users.say(t, alice, "7999", "x")
		if r := w.users.reply(t, alice, "7999", n); r.text != "well" {
			t.Errorf("the service that is well: %q", r.text)
		}
		for i, s := range list {
			if r := w.users.reply(t, alice, fmt.Sprint(7000+i), n); r.text != "sorry" {
				t.Errorf("%s: the user reads %q", s.name, r.text)
			}
		}
	}
	round(1)
	for i, s := range list {
		if n := len(providers[i].Asks()); n == 0 || s.once && n != 1 {
			t.Errorf("%s: asked %d times", s.name, n)
		}
		if d := w.dead(fmt.Sprint("s", i)); len(d) != 1 || d[0].Error == "" {
			t.Errorf("%s: dead letters %+v", s.name, d)
		} else {
			t.Logf("%s: %s", s.name, d[0].Error)
		}
	}
	before := weigh(w)
	peak := make(chan uint64)
	stop := make(chan struct{})
	go func() { peak <- highest(stop) }()
	round(2)
	close(stop)
	if p := <-peak; p > before.heap+256<<20 {
		t.Errorf("the heap reached %d MiB", p>>20)
	}
	after := weigh(w)
	t.Logf("before %+v, after %+v", before, after)
	if after.heap > before.heap+16<<20 || after.goroutines > before.goroutines+20 || after.files > before.files+4 {
		t.Errorf("after another round of sick answers %+v, before it %+v", after, before)
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("the private address was asked %d times", n)
	}
}

// weight is what could grow.
type weight struct {
	heap              uint64
	goroutines, files int
}

// weigh looks once all is at rest.
func weigh(w *world) (x weight) {
	var m runtime.MemStats
	w.Await("rest", func() bool { // idle connections of the handsets and of the router end
		client.CloseIdleConnections()
		n := runtime.NumGoroutine()
		runtime.GC()
		return n == runtime.NumGoroutine()
	})
	runtime.ReadMemStats(&m)
	x.heap, x.goroutines = m.HeapAlloc, runtime.NumGoroutine()
	_ = filepath.WalkDir(w.Dir, func(_ string, d os.DirEntry, err error) error { // a file that has just gone is none
		if err == nil && !d.IsDir() {
			x.files++
		}
		return nil
	})
	return x
}

// highest gives the largest heap that it saw.
func highest(stop <-chan struct{}) (peak uint64) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var m runtime.MemStats
	for {
		select {
		case <-stop:
			return peak
		case <-tick.C:
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
		}
	}
}
