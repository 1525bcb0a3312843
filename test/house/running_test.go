package house_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/app"
)

// builtIn is the folder of the binary, for TestMain to remove; "" while no test has asked for it.
var builtIn string

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "mmsrouter-house-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	bin := filepath.Join(dir, "mmsrouter")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/mmsrouter")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &buildError{err, string(out)}
	}
	return bin, nil
})

type buildError struct {
	error
	out string
}

func (b *buildError) Error() string { return b.error.Error() + "\n" + b.out }

func TestMain(m *testing.M) {
	code := m.Run()
	if builtIn != "" {
		_ = os.RemoveAll(builtIn) // a folder that is left in the temp folder harms nobody
	}
	os.Exit(code)
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	fence    = regexp.MustCompile("(?s)```(?:sh|console)\n(.*?)```")
	longFlag = regexp.MustCompile(`^--([a-z][a-z0-9-]*)`)
)

// commandsIn gives the lines of a document's shell blocks that a reader would type, continuation lines joined.
func commandsIn(text string) []string {
	var out []string
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		typed := strings.Contains(block[1], "\n$ ") || strings.HasPrefix(block[1], "$ ")
		for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) {
			line = strings.TrimSpace(line)
			if rest, ok := strings.CutPrefix(line, "$ "); ok {
				out = append(out, rest)
			} else if !typed && line != "" && line[0] != '#' {
				out = append(out, line)
			}
		}
	}
	return out
}

func TestCommandsInTheDocumentsExist(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	makefile := read(t, "Makefile")
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, doc := range append(docs, filepath.Join(root, "README.md")) {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commandsIn(string(b)) {
			words := strings.Fields(line)
			for len(words) > 0 && (strings.Contains(words[0], "=") || words[0] == "sudo") {
				words = words[1:]
			}
			if len(words) < 2 {
				continue
			}
			switch filepath.Base(words[0]) {
			case "make":
				seen++
				if target := words[1]; !strings.Contains(makefile, "\n"+target+":") {
					t.Errorf("%s: make has no target %s", filepath.Base(doc), target)
				}
			case "mmsrouter":
				seen++
				usage(t, bin, filepath.Base(doc), words[1:])
			}
		}
	}
	if seen < 5 {
		t.Errorf("only %d commands were found: the documents have lost theirs", seen)
	}
}

// usage asks the program itself whether it knows a subcommand and its flags.
func usage(t *testing.T, bin, doc string, words []string) {
	t.Helper()
	args := []string{}
	for _, w := range words {
		if strings.HasPrefix(w, "-") {
			break
		}
		args = append(args, w)
	}
	out, err := exec.Command(bin, append(args, "--help")...).CombinedOutput()
	if err != nil {
		t.Errorf("%s: mmsrouter %s: %v\n%s", doc, strings.Join(words, " "), err, out)
		return
	}
	for _, w := range words {
		if w == "|" || w == ">" || w == "&" {
			return
		}
		if f := longFlag.FindStringSubmatch(w); f != nil && !strings.Contains(string(out), "--"+f[1]) {
			t.Errorf("%s: mmsrouter %s: there is no flag --%s", doc, strings.Join(words, " "), f[1])
		}
	}
}

func TestReadmeNamesTheGoVersion(t *testing.T) {
	m := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if m == nil || !strings.Contains(read(t, "README.md"), "Go "+m[1]) {
		t.Errorf("README.md does not name the Go version of go.mod, %v", m)
	}
}

func TestServiceUnit(t *testing.T) {
	unit := read(t, "configs/mmsrouter.service")
	for _, want := range []string{"Type=notify", "CAP_NET_BIND_SERVICE", "NoNewPrivileges=yes", "ExecReload="} {
		if !strings.Contains(unit, want) {
			t.Errorf("the unit has no %s", want)
		}
	}
	m := regexp.MustCompile(`(?m)^TimeoutStopSec=(.*)$`).FindStringSubmatch(unit)
	if m == nil {
		t.Fatal("the unit has no TimeoutStopSec")
	}
	if stop, err := time.ParseDuration(m[1]); err != nil || stop <= app.DefaultConfig().Drain.Max {
		t.Errorf("TimeoutStopSec=%s is not above drain.max (%s): %v", m[1], app.DefaultConfig().Drain.Max, err)
	}
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not here: the unit is not verified")
	}
	file := filepath.Join(t.TempDir(), "mmsrouter.service")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(unit, "/usr/bin/mmsrouter", "/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(verify, "verify", file).CombinedOutput(); err != nil || strings.Contains(string(out), "mmsrouter.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
