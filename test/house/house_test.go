package house_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/mmsrouter/mmsrouter"

// root is the top of the repository.
const root = "../.."

// pack is what `go list` says of a package.
type pack struct {
	ImportPath string
	Name       string
	Dir        string
	Doc        string
	Imports    []string
	GoFiles    []string
}

var list = sync.OnceValues(func() ([]pack, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Dir,Doc,Imports,GoFiles", "./...")
	cmd.Dir = root
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New(err.Error() + ": " + errOut.String())
	}
	var all []pack
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p pack
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

func packages(t *testing.T) []pack {
	t.Helper()
	all, err := list()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("go list gives only %d packages", len(all))
	}
	return all
}

// floors of the design; a room is a first folder.
var floors = map[string]int{
	"mms": 1, "configs": 1,
	"router": 2, "fence": 2, "cluster": 2,
	"dnsserver": 3, "healthcheck": 3, "proxy": 3, "mmsc-lite": 3, "handset": 3, "drill": 3, "admin": 3,
	"app": 4,
	"cmd": 5,
}

func roomOf(importPath string) (string, bool) {
	rest, ok := strings.CutPrefix(importPath, module+"/")
	if !ok {
		return "", false
	}
	room, _, _ := strings.Cut(rest, "/")
	return room, true
}

func TestImportsOnlyGoDown(t *testing.T) {
	for _, p := range packages(t) {
		room, ok := roomOf(p.ImportPath)
		if !ok || room == "test" {
			continue // tests stand above everything
		}
		floor, known := floors[room]
		if !known {
			t.Errorf("%s: %q is no room of the house; give it a floor in floors", p.ImportPath, room)
			continue
		}
		for _, imp := range p.Imports {
			below, ours := roomOf(imp)
			if !ours || below == room {
				continue
			}
			if below == "test" || floors[below] >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports only go down, and rooms of one floor never import each other",
					p.ImportPath, floor, imp, floors[below])
			}
		}
	}
}

func TestPackagesSayWhatTheyOwn(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// sources walks every file of the repository that is ours.
func sources(t *testing.T, each func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed while we looked: other tests clean up
			}
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch rel {
			case ".git", "data", "bin", "bench-results":
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || rel == "mmsrouter" || rel == "go.sum" || strings.Contains(rel, "testdata"+string(filepath.Separator)) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // see above
			}
			return err
		}
		if bytes.IndexByte(b[:min(len(b), 8000)], 0) < 0 {
			each(filepath.ToSlash(rel), b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A fresh machine has nothing but the repository: only the check's own script may look beside it.
func TestNothingLooksOutside(t *testing.T) {
	words := []string{".." + "/shared", "/work" + "/shared", "/work" + "/main", "/tmp" + "/plan"}
	sources(t, func(path string, content []byte) {
		if path == ".ci/run" {
			return
		}
		for _, w := range words {
			if bytes.Contains(content, []byte(w)) {
				t.Errorf("%s names %s", path, w)
			}
		}
	})
}
