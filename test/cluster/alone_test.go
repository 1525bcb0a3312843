package cluster_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// A router that is alone keeps what operators said, too.
func TestDrainOfOneRouterOutlivesARestart(t *testing.T) {
	a, b := fake(t, "mmsc-a"), fake(t, "mmsc-b")
	s := appliance.Setup{Dir: t.TempDir(), MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: a.URL()}, {Name: "mmsc-b", URL: b.URL()}}}
	client := func(r *appliance.Router) *admin.Client {
		t.Helper()
		c, err := admin.NewClient(r.API, "")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	r := appliance.Start(t, s)
	for name, lasts := range map[string]string{"mmsc-a": "", "mmsc-b": "1h"} {
		if m, err := client(r).Drain(t.Context(), name, admin.Reason{By: "anna", For: lasts}); err != nil || len(m) != 1 || m[0].State != "draining" {
			t.Fatalf("drain of %s: %+v %v", name, m, err)
		}
	}
	r.Stop()
	r = appliance.Start(t, s)
	st, err := client(r).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range st.MMSCs {
		if m.State != "draining" || m.Drain == nil || m.Drain.By != "anna" {
			t.Errorf("%+v", m)
		}
	}
	for _, d := range st.Drains {
		if (d.Glob == "mmsc-b") != (d.Left > 3000 && d.Left <= 3600) {
			t.Errorf("%+v", d)
		}
	}
	for _, name := range []string{"mmsc-a", "mmsc-b"} {
		if m, err := client(r).Undrain(t.Context(), name, admin.Reason{}); err != nil || m[0].State != "up" {
			t.Errorf("undrain of %s: %+v %v", name, m, err)
		}
	}
}

// A planned drain begins by itself, and is forgotten by the restart after it.
func TestPlannedDrainBegins(t *testing.T) {
	l := start(t, node{}, node{})
	l.awaitDNS(0, 1, 2)
	if _, err := l.client(1).DrainSelf(t.Context(), admin.Reason{In: "1s"}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-l.routers[1].Done():
	case <-time.After(20 * time.Second):
		t.Fatal("did not end")
	}
	l.awaitDNS(0, 1)
	if d := l.status(0).Drains; len(d) != 0 {
		t.Errorf("the plan is still there: %+v", d)
	}
	l.again(1, 0)
	l.awaitDNS(0, 1, 2)
}

// A reload that changes this router's addresses changes all routers' answers, and a faulty one nothing.
func TestReloadedAddress(t *testing.T) {
	l := start(t, node{}, node{})
	l.awaitDNS(1, 1, 2)
	text := l.routers[0].Text(l.setups[0])
	if err := l.routers[0].ReloadText(strings.Replace(text, "192.0.2.1]", "192.0.2.1, 192.0.2.7]", 1)); err != nil {
		t.Fatal(err)
	}
	if got, _ := l.ask(0); len(got) != 3 {
		t.Errorf("right after the reload r1 answers %v", got)
	}
	l.awaitDNS(1, 1, 2, 7)
	for _, bad := range []string{strings.Replace(text, "192.0.2.1]", "nowhere]", 1), strings.Replace(text, "probe_interval: 200ms", "probe_interval: 300ms", 1)} {
		if err := l.routers[0].ReloadText(bad); err == nil {
			t.Error("a faulty configuration was taken")
		}
	}
	if got, _ := l.ask(0); len(got) != 3 {
		t.Errorf("after faulty reloads r1 answers %v", got)
	}
}

// What keepalived tells one router stands in every router's status; what the machine has is the kernel's word.
func TestHoldersAreShown(t *testing.T) {
	takeover := []string{"takeover:", "  interface: lo", "  routers:",
		`    - {name: r1, peer: 198.51.100.1, addresses: ["127.0.0.1/8"]}`, `    - {name: r2, peer: 198.51.100.2, addresses: ["198.51.100.12/24"]}`}
	l := start(t, node{top: takeover}, node{top: takeover})
	tell := func(body string) int {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "POST", l.routers[0].API+"/api/v1/takeover", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if code := tell(`{"instance":"r1","state":"MASTER","priority":"200"}`); code != http.StatusNoContent {
		t.Errorf("a notify: %d", code)
	}
	for _, bad := range []string{`{"instance":"r9","state":"MASTER"}`, `{"instance":"r1","state":"KING"}`, `MASTER`, ""} {
		if code := tell(bad); code != http.StatusBadRequest {
			t.Errorf("%q: %d", bad, code)
		}
	}
	if n := l.routers[0].Metric("mmsrouter_takeover_changes_total", `router="r1"`, `state="master"`); n != 1 {
		t.Errorf("%v changes are counted", n)
	}
	if code, body := l.routers[0].Get("/api/v1/takeover"); code != 200 || !strings.Contains(string(body), `"master"`) {
		t.Errorf("%d %s", code, body)
	}
	l.routers[1].Await("the holder in r2's status", func() bool {
		return slices.ContainsFunc(l.status(1).Members, func(m admin.Member) bool { return m.Name == "r1" && slices.Equal(m.Holds, []string{"127.0.0.1"}) })
	})
	http.DefaultClient.CloseIdleConnections()
	// a drain serves on until nobody is on them, and tells keepalived then
	slow, hold, uploaded := l.handset(0), make(chan struct{}), make(chan string, 1)
	defer slow.Close()
	go func() {
		a, err := slow.PostHolding(t.Context(), pdu.SendReq("slow", 30_000), 20_000, hold)
		o, why := handsets.Judge("slow", a, err)
		uploaded <- strings.TrimSpace(string(o) + " " + why)
	}()
	await(t, l.a, "an upload under way", func(k fakemmsc.Counts) bool { return k.Heads == 1 })
	if _, err := l.client(0).DrainSelf(t.Context(), admin.Reason{}); err != nil {
		t.Fatal(err)
	}
	step := func(name string) {
		t.Helper()
		l.routers[0].Await("the step of the drain: "+name, func() bool {
			d := l.status(0).Node.Drain
			return d != nil && d.Step == name
		})
	}
	step("emptying the service addresses")
	h := l.handset(0)
	defer h.Close()
	a, err := h.Post(t.Context(), pdu.SendReq("held", 1000), handsets.Fast)
	if o, why := handsets.Judge("held", a, err); o != handsets.Accepted || !a.Close {
		t.Errorf("a client of a service address that has not moved: %s %s, told to close: %v", o, why, a.Close)
	}
	yield := filepath.Join(l.routers[0].Dir, "data", "takeover", "yield")
	if b, err := os.ReadFile(yield); err == nil && string(b) != "0\n" {
		t.Errorf("keepalived was told %q while an upload was under way", b)
	}
	close(hold)
	if why := <-uploaded; why != string(handsets.Accepted) {
		t.Errorf("the upload under way: %s", why)
	}
	l.routers[0].Await("keepalived is told", func() bool {
		b, err := os.ReadFile(yield)
		return err == nil && string(b) == "1\n"
	})
}
