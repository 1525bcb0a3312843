package drill_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/mmsrouter/mmsrouter/app/strict"
	"github.com/mmsrouter/mmsrouter/drill"
)

// parse reads a scenario as the program does.
func parse(text string) (drill.Scenario, error) {
	s := drill.Defaults()
	doc, err := strict.Decode("x.yaml", []byte(text), &s)
	if err != nil {
		return s, err
	}
	if all := doc.Place(s.Validate()); len(all) > 0 {
		return s, all
	}
	return s, nil
}

const good = "name: x\ntitle: X\nlength: 5s\nsteps:\n  - {at: 1s, do: kill, target: mmsc-1}\n"

func TestScenarioMistakesNameTheirLines(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"good", good, ""},
		{"unknown key", good + "lenght: 5s\n", "x.yaml:6: lenght: unknown key"},
		{"unknown action", good + "  - {at: 2s, do: explode, target: mmsc-1}\n", `x.yaml:6: steps[1].do: "explode": want one of blackhole, cut`},
		{"no target", good + "  - {at: 2s, do: kill}\n", `x.yaml:6: steps[1].target: "": want mmsc-1`},
		{"target of another kind", good + "  - {at: 2s, do: partition, target: mmsc-1}\n", "x.yaml:6: steps[1].target: mmsc-1: partition is for router"},
		{"no such MMSC", good + "  - {at: 2s, do: kill, target: mmsc-3}\n", "x.yaml:6: steps[1].target: mmsc-3: lab has no such mmsc"},
		{"behind the end", good + "  - {at: 6s, do: kill, target: mmsc-1}\n", "x.yaml:6: steps[1].at: 6s: want 0s to length"},
		{"out of order", good + "  - {at: 500ms, do: kill, target: mmsc-1}\n", "x.yaml:6: steps[1].at: 500ms is before the step above it"},
		{"octets for a kill", good + "  - {at: 2s, do: kill, target: mmsc-1, after: 1KiB}\n", "x.yaml:6: steps[1].after: has a meaning for cut"},
		{"slow without a delay", good + "  - {at: 2s, do: slow, target: mmsc-1}\n", "x.yaml:6: steps[1].delay: 0s: want 1ms to 1m"},
		{"takeover by itself", good + "  - {at: 2s, do: takeover, target: router-1, to: router-1}\n", "x.yaml:6: steps[1].to"},
		{"no steps", "name: x\ntitle: X\nlength: 5s\n", "x.yaml: steps: want 1 to 100"},
		{"too long", strings.Replace(good, "length: 5s", "length: 1h", 1), "x.yaml:3: length: 1h0m0s: want 1s to 10m0s"},
		{"too many messages", good + "traffic: {rate: 1e9}\n", "x.yaml:6: traffic.rate"},
		{"not a number", good + "traffic: {rate: .nan}\n", "x.yaml:6: traffic.rate"},
		{"too large", good + "traffic: {sizes: [1GiB]}\n", "x.yaml:6: traffic.sizes[0]"},
		{"configuration that is none", good + "lab: {config: '- a'}\n", "x.yaml:6: lab.config"},
		{"many mistakes at once", good + "expect: {failed: -1, lost: 3}\n", "x.yaml:6: expect.lost: unknown key"},
		{"name", strings.Replace(good, "name: x", "name: ../x", 1), "x.yaml:1: name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(tt.text)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v; want %q", err, tt.want)
			}
		})
	}
}

// FuzzScenario: whatever stands in the file, Validate says what is wrong or the scenario is within its bounds.
func FuzzScenario(f *testing.F) {
	f.Add(good)
	f.Add(good + "traffic: {rate: 60, clients: 1, sizes: [1B]}\nexpect: {doubled: 1}\nlab: {config: 'mm1: {}'}\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse(text)
		if err != nil {
			var all strict.Mistakes
			if !errors.As(err, &all) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if s.Traffic.Rate*s.Length.Seconds() > 200_000 || len(s.Steps) > 100 || s.Traffic.Clients > 1000 {
			t.Fatalf("beyond the bounds: %+v", s)
		}
	})
}

// message makes one with a single try.
func message(id string, o drill.Outcome) drill.Message {
	return drill.Message{Transaction: id, Size: 10, Sum: 7, Tries: []drill.Try{{Outcome: o, Took: time.Millisecond}}}
}

func TestAccount(t *testing.T) {
	at := func(id, mmsc string) drill.Copy { return drill.Copy{Transaction: id, MMSC: mmsc, Size: 10, Sum: 7} }
	broken := at("t1", "a")
	broken.Sum = 8
	unsure := at("t1", "b")
	unsure.Unsure = true
	tests := []struct {
		name   string
		sent   []drill.Message
		copies []drill.Copy
		check  func(b drill.Balance) bool
	}{
		{"all is well", []drill.Message{message("t1", drill.Accepted)}, []drill.Copy{at("t1", "a")},
			func(b drill.Balance) bool {
				return b.Accepted == 1 && b.Failed+len(b.Lost)+b.Copies+b.Foreign+len(b.Damaged) == 0 && b.Served["a"] == 1
			}},
		{"lost", []drill.Message{message("t1", drill.Accepted)}, nil, func(b drill.Balance) bool { return slices.Equal(b.Lost, []string{"t1"}) }},
		{"perhaps there is not enough", []drill.Message{message("t1", drill.Accepted)}, []drill.Copy{unsure}, func(b drill.Balance) bool { return len(b.Lost) == 1 }},
		{"failed, and not there", []drill.Message{message("t1", drill.Transient)}, nil, func(b drill.Balance) bool { return b.Failed == 1 && b.Stray == 0 && len(b.Lost) == 0 }},
		{"failed, and there", []drill.Message{message("t1", drill.Broken)}, []drill.Copy{at("t1", "a")}, func(b drill.Balance) bool { return b.Failed == 1 && b.Stray == 1 && b.Broken == 1 }},
		{"doubled", []drill.Message{message("t1", drill.Accepted)}, []drill.Copy{at("t1", "a"), at("t1", "b"), at("t1", "b")},
			func(b drill.Balance) bool {
				return b.Copies == 2 && len(b.Doubled) == 1 && b.Where() == "1 at a and b and b" && !b.Doubled[0].Unsure
			}},
		{"perhaps doubled", []drill.Message{message("t1", drill.Accepted)}, []drill.Copy{at("t1", "a"), unsure}, func(b drill.Balance) bool { return b.Copies == 1 && b.Doubled[0].Unsure }},
		{"damaged", []drill.Message{message("t1", drill.Accepted)}, []drill.Copy{broken}, func(b drill.Balance) bool { return len(b.Damaged) == 1 }},
		{"nobody sent it", nil, []drill.Copy{at("t9", "a")}, func(b drill.Balance) bool { return b.Foreign == 1 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if b := drill.Account(tt.sent, tt.copies); !tt.check(b) {
				t.Errorf("%+v", b)
			}
		})
	}
}

// sound reads a page as a browser does and fails on what browsers repair, on references to other places, and on scripts.
func sound(t *testing.T, page []byte) (text string) {
	t.Helper()
	var open []string
	void := map[string]bool{"meta": true}
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if len(open) > 0 {
				t.Errorf("left open: %v", open)
			}
			return text
		case html.TextToken:
			text += string(z.Text())
		case html.StartTagToken:
			k := z.Token()
			if k.Data == "script" || k.Data == "link" || k.Data == "img" || k.Data == "iframe" {
				t.Errorf("the page has a %s", k.Data)
			}
			for _, a := range k.Attr {
				if (a.Key == "src" || a.Key == "href") && !strings.HasPrefix(a.Val, "#") {
					t.Errorf("the page loads %s", a.Val)
				}
				if strings.Contains(a.Val, "NaN") || strings.Contains(a.Val, "Inf") {
					t.Errorf("%s has %s=%s", k.Data, a.Key, a.Val)
				}
			}
			if !void[k.Data] {
				open = append(open, k.Data)
			}
		case html.EndTagToken:
			k := z.Token()
			if n := len(open); n == 0 || open[n-1] != k.Data {
				t.Fatalf("</%s> closes %v", k.Data, open)
			}
			open = open[:len(open)-1]
		}
	}
}

// sample is a result with something of everything, and with texts that are no friends of HTML.
func sample(t *testing.T) *drill.Result {
	t.Helper()
	s, err := parse(good)
	if err != nil {
		t.Fatal(err)
	}
	s.Title = `<script>alert("x")</script> | &`
	m := message("t1", drill.Broken)
	m.Tries[0].Why = "<b>dial | tcp</b>"
	full := &drill.Result{Scenario: s, Took: 5 * time.Second, Sent: []drill.Message{message("t0", drill.Accepted), m}, Copies: []drill.Copy{{Transaction: "t0", MMSC: "<i>", At: time.Second}},
		Done:    []drill.Done{{Step: s.Steps[0], Began: time.Second}, {Step: s.Steps[0], Began: time.Second}},
		Answers: []drill.Answer{{At: time.Second, Router: "r", Addresses: []string{"127.0.0.1"}}, {At: 2 * time.Second, Router: "r", Err: "<silent>"}}}
	full.Balance = drill.Account(full.Sent, full.Copies)
	full.Promises = []drill.Promise{{Name: "failed", Want: "0", Got: "1", Note: m.Tries[0].Why}}
	return full
}

func TestReports(t *testing.T) {
	full := sample(t)
	for _, results := range [][]*drill.Result{nil, {{Scenario: full.Scenario}}, {full}, {full, full}} {
		var page, text bytes.Buffer
		if err := drill.WriteHTML(&page, results); err != nil {
			t.Fatal(err)
		}
		words := sound(t, page.Bytes())
		if err := drill.WriteMarkdown(&text, results); err != nil {
			t.Fatal(err)
		}
		if len(results) > 0 && results[0] == full {
			if full.Kept() || !strings.Contains(words, "a promise broke") || !strings.Contains(text.String(), "**broken**") {
				t.Errorf("a broken promise is not told:\n%s", text.String())
			}
		}
	}
}

// A real browser opens the report and has nothing to complain of.
func TestReportInABrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil || os.Getenv("MMSROUTER_LONG") == "" {
		t.Skip("no chromium, or MMSROUTER_LONG is not set: the report is not opened in a browser")
	}
	file := filepath.Join(t.TempDir(), "report.html")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := drill.WriteHTML(out, []*drill.Result{sample(t)}); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var dom, said bytes.Buffer
	cmd := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--user-data-dir="+t.TempDir(), "--dump-dom", "file://"+file)
	cmd.Stdout, cmd.Stderr = &dom, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	if n := strings.Count(dom.String(), "<svg"); n != 5 || strings.Contains(said.String(), "CONSOLE") {
		t.Errorf("%d charts; it said:\n%s", n, said.String())
	}
}
