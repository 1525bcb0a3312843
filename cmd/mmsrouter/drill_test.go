package main

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestDrillList(t *testing.T) {
	code, out, errOut := cli("drill", "list")
	if code != exitFine {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	all, err := shippedDrills()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 8 {
		t.Fatalf("only %d drills", len(all))
	}
	for _, s := range all {
		if !regexp.MustCompile(`(?m)^` + s.Name + ` +` + s.Length.String() + ` +` + where(&s) + ` +` + regexp.QuoteMeta(s.Title) + `$`).MatchString(out) {
			t.Errorf("%s is not listed:\n%s", s.Name, out)
		}
		if s.About == "" {
			t.Errorf("%s says nothing about itself", s.Name)
		}
	}
}

func TestDrillUsage(t *testing.T) {
	used := t.TempDir()
	if err := os.Mkdir(filepath.Join(used, "refuse"), 0o700); err != nil {
		t.Fatal(err)
	}
	bad := write(t, "bad.yaml", "title: X\nlength: 5s\nsteps:\n  - {at: 1s, do: kil, target: mmsc-1}\n")
	tests := []struct {
		name string
		args []string
		says string
	}{
		{"unknown drill", []string{"drill", "lab", "nosuch"}, `no drill "nosuch"`},
		{"missing file", []string{"drill", "lab", "./nosuch.yaml"}, "nosuch.yaml"},
		{"faulty line", []string{"drill", "lab", bad}, `bad.yaml:4: steps[0].do: "kil"`},
		{"a folder that is used", []string{"drill", "lab", "--dir", used, "refuse"}, "is there already"},
		{"run without a drill", []string{"drill", "run"}, "requires at least 1 arg"},
		{"faulty configuration", []string{"drill", "lab", "--config", "- a", "refuse"}, "--config"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errOut := cli(tt.args...)
			if code != exitUsage || !strings.Contains(out+errOut, tt.says) {
				t.Errorf("exit %d, %s%s; want %d and %q", code, out, errOut, exitUsage, tt.says)
			}
		})
	}
}

// inLab runs drills in a lab whose processes are this test binary.
func inLab(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("a lab needs Linux: this drill is not run")
	}
	t.Setenv(asProgram, "1")
	dir := t.TempDir()
	html := filepath.Join(dir, "report.html")
	code, out, errOut := cli(append([]string{"drill", "lab", "--dir", filepath.Join(dir, "lab"), "--html", html, "--markdown", filepath.Join(dir, "report.md")}, args...)...)
	out += errOut
	if b, err := os.ReadFile(html); err != nil || !strings.Contains(string(b), "</html>") {
		t.Errorf("the report: %v; the drill said:\n%s", err, out)
	}
	return code, out
}

// Two of the shipped drills; the long run has them all.
func TestDrillLab(t *testing.T) {
	names := []string{"kill-mmsc", "cut-upload"}
	patient := []string{"--config", "detection: {probe: {timeout: 10s}}"} // tests share their machine: a slow MMSC is no dead one
	if os.Getenv("MMSROUTER_LONG") != "" {
		all, err := shippedDrills()
		if err != nil {
			t.Fatal(err)
		}
		names, patient = nil, nil
		for _, s := range all {
			names = append(names, s.Name)
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			if code, out := inLab(t, append(patient, name)...); code != exitFine {
				t.Errorf("exit %d:\n%s", code, out)
			}
		})
	}
}

// Two labs on one machine never meet.
func TestTwoLabsAtOnce(t *testing.T) {
	if os.Getenv("MMSROUTER_LONG") == "" || runtime.GOOS != "linux" {
		t.Skip("MMSROUTER_LONG is not set, or this is not Linux: two labs are not run at once")
	}
	t.Setenv(asProgram, "1")
	var wg sync.WaitGroup
	for _, name := range []string{"drain", "withdraw-router"} {
		wg.Go(func() {
			if code, out, errOut := cli("drill", "lab", name); code != exitFine {
				t.Errorf("%s: exit %d:\n%s%s", name, code, out, errOut)
			}
		})
	}
	wg.Wait()
}

// A drill that passes whatever is set tells nothing: settings that break a promise make the matching drill fail.
func TestDrillsCanTell(t *testing.T) {
	tests := []struct{ drill, config, says string }{
		{"lost-answer", "mm1: {ambiguous: {m-send-req: fail}}", `BROKEN +failed`},
	}
	if os.Getenv("MMSROUTER_LONG") != "" {
		tests = append(tests, []struct{ drill, config, says string }{
			{"kill-mmsc", "detection: {probe: {interval: 20s}, passive: {enabled: false}}", `BROKEN +detection`},
			{"blackhole", "mm1: {timeouts: {connect: 12s}}\ndetection: {probe: {interval: 20s}, passive: {enabled: false}}", `BROKEN +(detection|slowest message)`},
		}...)
	}
	for _, tt := range tests {
		t.Run(tt.drill, func(t *testing.T) {
			if code, out := inLab(t, "--config", tt.config, tt.drill); code != exitFailed || !regexp.MustCompile(tt.says).MatchString(out) {
				t.Errorf("exit %d; want %d and %s:\n%s", code, exitFailed, tt.says, out)
			}
		})
	}
}
