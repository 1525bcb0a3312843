package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	dispatch "github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

// replies is the user's phone.
type replies chan platform.Request

func (r replies) Send(_ context.Context, q platform.Request) ([]platform.Sent, []platform.Note, error) {
	r <- q
	return nil, nil, nil
}

// servicesServer runs a dispatcher with its API as the admin server mounts it.
func servicesServer(t *testing.T) (*dispatch.Dispatcher, string, replies) {
	t.Helper()
	gc := outgoing.DefaultConfig()
	gc.Allow = []string{"127.0.0.1"}
	guard, err := outgoing.New(outgoing.Options{Config: gc})
	if err != nil {
		t.Fatal(err)
	}
	got := make(replies, 10)
	d, err := dispatch.New(dispatch.Options{Config: dispatch.DefaultConfig(), DataDir: t.TempDir(), Guard: guard, Sender: got})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	srv := httptest.NewServer(d.API())
	t.Cleanup(func() {
		srv.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		guard.Close()
	})
	return d, srv.URL, got
}

func runServices(t *testing.T, in string, args ...string) (string, error) {
	t.Helper()
	c := servicesCommand()
	c.SilenceErrors, c.SilenceUsage = true, true
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(io.Discard)
	c.SetIn(strings.NewReader(in))
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestServicesCommands(t *testing.T) {
	_, url, _ := servicesServer(t)
	file := filepath.Join(t.TempDir(), "quiz.yaml")
	if err := os.WriteFile(file, []byte(quizEntry("7000", "http://127.0.0.1:1/quiz")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name, in string
		args     []string
		want     string // in the output, or in the error
		usage    bool
	}{
		{"add", "", []string{"add", file}, "quiz", false},
		{"add again", "", []string{"add", file}, "there is a service of this name", false},
		{"add nonsense", "name: [", []string{"add", "-"}, "-:", true},
		{"add an unknown key", "{name: a, mach: {}}", []string{"add", "-"}, "mach", true},
		{"edit what can't work", strings.Replace(quizEntry("7000", "http://127.0.0.1:1/"), "xml", "soap", 1), []string{"edit", "-"}, "provider.format", false},
		{"list", "", []string{"list"}, "code 7000", false},
		{"show", "", []string{"show", "quiz"}, "stop_text: Thank you for playing.", false},
		{"test", "", []string{"test", "--to", "7000", "--text", "quiz"}, "quiz: code 7000", false},
		{"test of a code that nobody has", "", []string{"test", "--to", "8000"}, "refused", false},
		{"test without a code", "", []string{"test"}, "--to", true},
		{"dead", "", []string{"dead", "quiz"}, "ERROR", false},
		{"replay", "", []string{"replay", "quiz"}, "0 replayed", false},
		{"remove", "", []string{"remove", "quiz"}, "", false},
		{"remove again", "", []string{"remove", "quiz"}, "no such service", false},
	} {
		t.Run(step.name, func(t *testing.T) {
			out, err := runServices(t, step.in, append(step.args, "--admin", url)...)
			if err != nil {
				out += err.Error()
			}
			var usage usageError
			if !strings.Contains(out, step.want) || errors.As(err, &usage) != step.usage {
				t.Errorf("%s; want %q", out, step.want)
			}
		})
	}
}

// TestDemoIsPlayed plays the quiz to its end.
func TestDemoIsPlayed(t *testing.T) {
	d, url, got := servicesServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := serveQuiz(ctx, l); err != nil {
			t.Error(err)
		}
	})
	defer func() { cancel(); wg.Wait() }()
	mute, err := net.Dial("tcp", l.Addr().String()) // asks nothing, and holds up nobody at the end
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	if _, err := runServices(t, quizEntry("7000", "http://"+l.Addr().String()+"/quiz"), "edit", "-", "--admin", url); err != nil {
		t.Fatal(err)
	}
	for i, turn := range []struct{ say, want string }{
		{"quiz", "Question 1 of 3"}, {"B", "Right!"}, {"c", "No, that was Denmark."}, {"Finland", "You have 2 of 3 points"}, {"again", "Welcome"}, {"stop", "Thank you for playing."},
	} {
		err := d.Accept(ctx, &dispatch.Submission{MessageID: strings.Repeat("m", i+1), From: testSender, Code: "7000", Received: time.Now(),
			Parts: []dispatch.Part{{Type: "text/plain", Data: []byte(turn.say)}}})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-got:
			var text string
			for _, p := range r.Content.Pages {
				text += string(p.Items[0].Data)
				if len(p.Items) != 2 || http.DetectContentType(p.Items[1].Data) != "image/png" {
					t.Errorf("%q comes without a picture", text)
				}
			}
			for _, it := range r.Content.Items {
				text += string(it.Data)
			}
			if !strings.Contains(text, turn.want) {
				t.Errorf("%q is answered %q, want %q", turn.say, text, turn.want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q is not answered", turn.say)
		}
	}
}
