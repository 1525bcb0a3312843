package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/app"
	"github.com/mmsrouter/mmsrouter/app/handover"
)

// process is a Process whose other side is a function of the test.
type process struct {
	t      *testing.T
	parent *os.File // of the elder's socket; nil: nobody was before
	next   func(link *handover.Link) error
	given  *os.File
	ready  chan struct{}
	once   sync.Once
	heard  <-chan struct{} // closed: it, too, knows of the end of the process before; nil: it does
	asked  func()          // when that is waited for
}

func (p *process) HasParent() bool               { return p.parent != nil }
func (p *process) File(string) (*os.File, error) { return p.parent, nil }
func (p *process) Ready() error                  { p.once.Do(func() { close(p.ready) }); return nil }
func (p *process) Stop()                         {}

func (p *process) WaitForParent(ctx context.Context) error {
	if p.heard == nil {
		return nil
	}
	if p.asked != nil {
		p.asked()
	}
	select {
	case <-p.heard:
		return errors.New("it ended in a way of its own")
	case <-ctx.Done():
		return ctx.Err()
	}
}
func (p *process) AddFile(_ string, f *os.File) error { p.given = duplicate(p.t, f); return nil }

func duplicate(t *testing.T, f *os.File) *os.File {
	t.Helper()
	raw, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if cerr := raw.Control(func(old uintptr) { fd, err = syscall.Dup(int(old)) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return os.NewFile(uintptr(fd), "handed")
}

// Upgrade plays the new process.
func (p *process) Upgrade() error {
	if p.heard != nil {
		select {
		case <-p.heard:
		default:
			return errors.New("the process before lives")
		}
	}
	link, err := handover.Open(p.given)
	if err != nil {
		return err
	}
	link.Take("socket", func(_ []byte, files []*os.File) {
		for _, f := range files {
			f.Close()
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = link.Run(context.Background()) // it ends with the router, or by Close
	}()
	p.t.Cleanup(func() {
		_ = link.Close()
		<-done
	})
	return p.next(link)
}

// upgradable starts a router with such a process and gives what Run returns.
func upgradable(t *testing.T, p *process, e *app.Elder) (*app.App, *logBuffer, <-chan error) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	text := "node: {name: r1, data: " + filepath.Join(dir, "data") + "}\nmm1: {listen: [\"127.0.0.1:0\"], hosts: [mms.example.net]}\nadmin: {listen: \"127.0.0.1:0\"}\nmmsc: {enabled: true}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := app.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	log := &logBuffer{}
	a, err := app.New(app.Options{Config: c, File: file, Version: "1", LogTo: log, Process: p, Elder: e})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(t.Context()) }()
	t.Cleanup(a.EndNow)
	<-p.ready
	return a, log, done
}

func say(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestUpgradeToAnotherVersion: programs whose tables differ hand the sockets over and begin without them, and say so.
func TestUpgradeToAnotherVersion(t *testing.T) {
	heard := make(chan struct{})
	p := &process{t: t, ready: make(chan struct{}), heard: heard, asked: func() { close(heard) }}
	p.next = func(link *handover.Link) error {
		_, err := link.Call(t.Context(), "hello", say(t, map[string]any{"base": 1, "tables": []int{7}, "pid": 4242, "version": "9", "more": "later"}))
		if err == nil {
			_, err = link.Call(t.Context(), "sockets", nil)
		}
		return err
	}
	a, log, done := upgradable(t, p, nil)
	up, err := a.Upgrade()
	if err != nil || up.PID != 4242 || up.Version != "9" {
		t.Fatalf("%+v %v", up, err)
	}
	if err := <-done; err != nil {
		t.Errorf("the old process ended with %v", err)
	}
	if !strings.Contains(log.String(), "share no version of the tables") {
		t.Error("the log does not say that there are no tables")
	}
	if _, err := a.Upgrade(); !errors.Is(err, app.ErrEnding) {
		t.Errorf("once more: %v", err)
	}
}

// TestUpgradeThatIsNone: what a new process says or does not say before it dies changes nothing.
func TestUpgradeThatIsNone(t *testing.T) {
	died := errors.New("child pid=4242 exited: exit status 2")
	for _, c := range []struct {
		name string
		next func(link *handover.Link) error
		want string
	}{
		{"silent", func(*handover.Link) error { return died }, "exit status 2"},
		{"with its reason", func(link *handover.Link) error {
			_, _ = link.Call(context.Background(), "refused", []byte("c.yaml:3: mm1.listen: nonsense")) // the reason is the test
			return died
		}, "c.yaml:3: mm1.listen"},
		{"after nonsense", func(link *handover.Link) error {
			for _, call := range []string{"hello", "fence.take", "fence.ask", "fence.settle", "owner.find", "what"} {
				if _, err := link.Call(context.Background(), call, []byte("nonsense")); err == nil {
					t.Errorf("%s: nonsense was answered", call)
				}
			}
			for _, note := range []string{"fence.gone", "owner.learn", "what"} {
				_ = link.Send(note, []byte("nonsense")) // it is heard or not
			}
			return died
		}, "exit status 2"},
		{"after it had the tables", func(link *handover.Link) error {
			_, err := link.Call(context.Background(), "hello", say(t, map[string]any{"base": 1, "tables": []int{1}, "pid": 4242}))
			if err == nil {
				_, err = link.Call(context.Background(), "tables", nil)
			}
			return errors.Join(died, err)
		}, "exit status 2"},
		{"without a word", func(*handover.Link) error { return nil }, "has not said who it is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &process{t: t, ready: make(chan struct{}), next: c.next}
			a, _, done := upgradable(t, p, nil)
			if _, err := a.Upgrade(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if err := a.Ready(); err != nil {
				t.Errorf("the router is not ready any more: %v", err)
			}
			nc, err := net.Dial("tcp", a.Listening()["mm1.listen"][0])
			if err != nil {
				t.Fatal(err)
			}
			nc.Close()
			select {
			case err := <-done:
				t.Errorf("the old process ended with %v", err)
			default:
			}
			a.Drain()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestElderOfAnotherVersion: the new process takes the sockets of a program whose tables it does not know, waits until that has let go of its
// work, and serves on when it is gone.
func TestElderOfAnotherVersion(t *testing.T) {
	link, theirs, err := handover.Pair()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	link.Answer("hello", func(context.Context, []byte) ([]byte, error) {
		return say(t, map[string]any{"base": 1, "tables": []int{7}, "pid": 4242, "version": "0", "generation": 1 << 40}), nil
	})
	link.Answer("sockets", func(context.Context, []byte) ([]byte, error) {
		names := []map[string]string{{"key": "mm1.listen", "at": "127.0.0.1:0", "net": "tcp"}, {"key": "old.listen", "at": "127.0.0.1:0", "net": "tcp"}}
		return nil, link.Send("socket", say(t, names), ln.(syscall.Conn), ln.(syscall.Conn))
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = link.Run(context.Background()) // it ends by Close
	}()
	p := &process{t: t, ready: make(chan struct{}), parent: theirs}
	e, err := app.Inherit(p, "1")
	if err != nil || e == nil {
		t.Fatal(e, err)
	}
	a, log, done := upgradable(t, p, e)
	if got := a.Listening()["mm1.listen"][0]; got != ln.Addr().String() {
		t.Errorf("listens on %s, was handed %s", got, ln.Addr())
	}
	if g := a.Board().Load().Generation; g <= 1<<40 {
		t.Errorf("generation %d: zone serials go back", g)
	}
	for _, want := range []string{"tables of another version", "old.listen"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if _, err := a.Upgrade(); !errors.Is(err, app.ErrElderLives) {
		t.Errorf("an upgrade on top: %v", err)
	}
	_ = link.Close() // it is killed, and says nothing any more
	<-ended
	for end := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), "upgrade: taken over") || !strings.Contains(log.String(), "process before has ended"); time.Sleep(time.Millisecond) { // only the log tells
		if time.Now().After(end) {
			t.Fatal("the new process does not take over")
		}
	}
	ln.Close()
	a.Drain()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
