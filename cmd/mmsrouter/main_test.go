package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/app"
	"github.com/mmsrouter/mmsrouter/mms"
)

// asProgram makes the test binary the program itself, for tests that need a process.
const asProgram = "MMSROUTER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// cli runs a command line in this process.
func cli(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = run(args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestExitCodes(t *testing.T) {
	bad := write(t, "bad.yaml", "mmsc: {enabled: true}\nmm1: {lisen: []}\n")
	good := write(t, "good.yaml", "node: {name: r1}\nmmsc: {enabled: true}\n")
	garbage := write(t, "garbage.mms", "<html>")
	tests := []struct {
		name string
		args []string
		code int
		says string // on either stream
	}{
		{"nothing", nil, exitFine, "Usage"},
		{"help", []string{"--help"}, exitFine, "Available Commands"},
		{"version", []string{"version"}, exitFine, "mmsrouter devel (go"},
		{"unknown command", []string{"serv"}, exitUsage, "unknown command"},
		{"unknown flag", []string{"status", "--jsn"}, exitUsage, "unknown flag"},
		{"too many arguments", []string{"version", "now"}, exitUsage, "unknown command"},
		{"drain whom", []string{"drain"}, exitUsage, "--self"},
		{"drain both", []string{"drain", "a", "--self"}, exitUsage, "--self"},
		{"drain a name later", []string{"drain", "a", "--in", "1h"}, exitUsage, "--in goes with --self"},
		{"drain itself for a while", []string{"drain", "--self", "--for", "1h"}, exitUsage, "--for with a name"},
		{"takeover without a file", []string{"takeover"}, exitUsage, "-c"},
		{"undrain nobody", []string{"undrain"}, exitUsage, "arg"},
		{"check without a file", []string{"check"}, exitUsage, "-c"},
		{"check a bad file", []string{"check", "-c", bad}, exitUsage, bad + `:2: mm1.lisen: unknown key, did you mean "listen"?`},
		{"check a good file", []string{"check", "-c", good}, exitFine, "fine, "},
		{"check a file that is not there", []string{"check", "-c", good + "x"}, exitUsage, "no such file"},
		{"serve a bad file", []string{"serve", "-c", bad}, exitUsage, ":2: mm1.lisen"},
		{"status of a bad file's router", []string{"status", "-c", bad}, exitUsage, ":2: mm1.lisen"},
		{"status of nobody", []string{"status", "--admin", "127.0.0.1:1"}, exitFailed, "ask the admin API"},
		{"a bad admin address", []string{"status", "--admin", "ftp://x"}, exitUsage, "admin address"},
		{"send to nobody", []string{"send", "--text", "x"}, exitUsage, "--to"},
		{"send nothing", []string{"send", "--to", "+46701740606"}, exitUsage, "--text or --file"},
		{"send nowhere", []string{"send", "--to", "1", "--text", "x", "--url", "mms:"}, exitUsage, "--url"},
		{"send a file that is not there", []string{"send", "--to", "1", "--file", good + "x"}, exitFailed, "no such file"},
		{"decode garbage", []string{"decode", "--json", garbage}, exitFailed, "octet 0"},
		{"encode garbage", []string{"encode", garbage}, exitFailed, garbage},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errOut := cli(tc.args...)
			if code != tc.code || !strings.Contains(out+errOut, tc.says) {
				t.Errorf("exit %d, want %d and %q\n%s%s", code, tc.code, tc.says, out, errOut)
			}
			if tc.code == exitFailed && strings.Count(errOut, "\n") != 1 {
				t.Errorf("want one line on standard error, got %q", errOut)
			}
		})
	}
}

// okToAll is an MMSC that takes the probe's message for a real one.
func okToAll(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var h mms.Head
	h.Peek(b, true)
	w.Header().Set("Content-Type", "application/vnd.wap.mms-message")
	_, _ = w.Write(mms.SendConf{TransactionID: h.TransactionID, Version: h.Version, Status: 0x80, MessageID: "m"}.Append(nil))
}

func TestCheckProbes(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(okToAll))
	defer s.Close()
	file := write(t, "c.yaml", "node: {name: r1}\nmm1: {url: \"http://127.0.0.1:8080/\"}\nmmscs:\n  - {name: odd, url: \""+s.URL+
		"/\", probe: {type: mm1}}\n  - {name: gone, url: \"http://127.0.0.1:1/\", probe: {type: http}}\n")
	code, out, errOut := cli("check", "-c", file)
	if code != exitFine || !strings.Contains(out, "odd: up") || !strings.Contains(out, "warning: odd: ") || !strings.Contains(out, "gone: down") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	if code, out, _ = cli("check", "--offline", "-c", file); code != exitFine || strings.Contains(out, "odd: up") {
		t.Errorf("offline: exit %d\n%s", code, out)
	}
}

const oneMachine = `node: {name: r1, data: %DATA%}
dns:
  listen: ["127.0.0.1:0"]
  zones: [{name: mms.example.net, ttl: 30s, addresses: ["127.0.0.1"]}]
mm1: {listen: ["127.0.0.1:0"], access_log: {path: "off"}}
mmsc: {enabled: true}
admin: {listen: "127.0.0.1:0"}
`

// start runs an appliance with the embedded MMSC until the test ends and gives its addresses.
func start(t *testing.T) map[string][]string {
	t.Helper()
	cfg, err := app.Parse("test.yaml", []byte(strings.ReplaceAll(oneMachine, "%DATA%", t.TempDir())))
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(app.Options{Config: cfg, Version: "test", LogTo: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for a.Ready() != nil {
		select {
		case <-tick.C:
		case err := <-ended:
			t.Fatal(err)
		}
	}
	return a.Listening()
}

// eventually polls what other goroutines bring about.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it does not come about")
		}
	}
}

func TestCommandsAgainstAnAppliance(t *testing.T) {
	at := start(t)
	api := at["admin.listen"][0]
	_, port, _ := strings.Cut(at["mm1.listen"][0], ":")
	picture := write(t, "picture.dat", "\x89PNG\r\n\x1a\n"+strings.Repeat("x", 5000))
	send := []string{"send", "--dns", at["dns.listen"][0], "--url", "http://mms.example.net:" + port + "/"}

	code, out, errOut := cli(append(send, "--to", "+46701740606", "--subject", "Ferien", "--text", "Grüße", "--file", picture)...)
	if code != exitFine || !strings.Contains(out, "mms.example.net is 127.0.0.1 (TTL 30 s") || !strings.Contains(out, "m-send-conf: Ok, transaction ") {
		t.Fatalf("send: exit %d\n%s%s", code, out, errOut)
	}
	_, rest, _ := strings.Cut(out, `transaction "`)
	id, rest, _ := strings.Cut(rest, `"`)
	_, rest, _ = strings.Cut(rest, `message "`)
	message, _, _ := strings.Cut(rest, `"`)

	// the record is made after the answer has gone out
	eventually(t, func() bool { code, _, _ := cli("fate", id, "--admin", api); return code == exitFine })

	steps := []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"fate", []string{"fate", id}, exitFine, []string{"m-send-req", "local", "answered", "HTTP 200, Ok"}},
		{"fate in JSON", []string{"fate", "--json", id}, exitFine, []string{`"transaction_id": "` + id + `"`}},
		{"fate of nothing", []string{"fate", "nothing"}, exitFailed, []string{"nothing is remembered"}},
		{"status", []string{"status"}, exitFine, []string{"router r1: ready", "local", "mms.example.net", "mmsrouter_proxy_messages_total"}},
		{"status in JSON", []string{"status", "--json"}, exitFine, []string{`"state": "up"`, `"name": "r1"`}},
		{"explain", []string{"explain", "--to", "+46701740606"}, exitFine, []string{"m-send-req goes to: local"}},
		{"drain", []string{"drain", "local", "--reason", "why not"}, exitFine, []string{"local: draining"}},
		{"explain while it drains", []string{"explain"}, exitFine, []string{"nobody", "draining, gets nothing new"}},
		{"undrain", []string{"undrain", "local"}, exitFine, []string{"local: up"}},
		{"messages", []string{"messages", "list", "--number", "+46701740606", "--after", "1h"}, exitFine, []string{message, "+46701740605", "+46701740606"}},
		{"messages of nobody", []string{"messages", "list", "--number", "+46701740699", "--json"}, exitFine, []string{"[]"}},
		{"messages in no state", []string{"messages", "list", "--state", "lost"}, exitFailed, []string{"want one of [queued"}},
		{"messages at no time", []string{"messages", "list", "--after", "yesterday"}, exitUsage, []string{"--after"}},
		{"a message", []string{"messages", "show", message}, exitFine, []string{`subject "Ferien"`, "+46701740606", "EVENT"}},
		{"a message in JSON", []string{"messages", "show", "--json", message}, exitFine, []string{`"timeline": [`}},
		{"a stranger's message", []string{"messages", "show", "nobody@nowhere"}, exitFailed, []string{"no such message"}},
		{"requeue", []string{"messages", "requeue", message}, exitFine, []string{message + ": 1 recipients"}},
		{"cancel", []string{"messages", "cancel", message}, exitFine, []string{message + ": 1 recipients"}},
		{"a cancelled message", []string{"messages", "list", "--state", "cancelled"}, exitFine, []string{message}},
		{"drain a stranger", []string{"drain", "mmsc-z"}, exitFailed, []string{`no MMSC is named "mmsc-z"`}},
	}
	for _, tc := range steps {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errOut := cli(append(tc.args, "--admin", api)...)
			for _, s := range tc.says {
				if code != tc.code || !strings.Contains(out+errOut, s) {
					t.Fatalf("exit %d, want %d and %q\n%s%s", code, tc.code, s, out, errOut)
				}
			}
		})
	}
	if code, out, errOut = cli("drain", "local", "--admin", api); code != exitFine {
		t.Fatal(out, errOut)
	}
	if code, out, _ = cli(append(send, "--to", "+46701740606", "--text", "again")...); code != exitFailed || !strings.Contains(out, "Error-transient") {
		t.Errorf("send while nobody takes it: exit %d\n%s", code, out)
	}
}
