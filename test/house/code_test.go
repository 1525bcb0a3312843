package house_test

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var metricName = regexp.MustCompile(`^mmsrouter_([a-z]+)_[a-z][a-z0-9_]*$`)

// named tells whether a metric bears the name of a room, or of a folder in one, that stands on the path.
func named(metric, path string) bool {
	m := metricName.FindStringSubmatch(metric)
	if m == nil {
		return contracted[metric]
	}
	for _, folder := range strings.Split(path, "/") {
		if w, ok := map[string]string{"dnsserver": "dns", "mmsc-lite": "mmsc"}[folder]; ok {
			folder = w
		}
		if folder == m[1] {
			return true
		}
	}
	return contracted[metric]
}

// contracted metrics whose names the design fixes outside the form.
var contracted = map[string]bool{"mmsrouter_mmsc_up": true}

func TestCodeKeepsTheRules(t *testing.T) {
	sources(t, func(path string, content []byte) {
		if !strings.HasSuffix(path, ".go") {
			return
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, content, parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		if tidy, err := format.Source(content); err != nil || !bytes.Equal(tidy, content) {
			t.Errorf("%s is not as gofmt writes it", path)
		}
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "test/") {
			return
		}
		at := func(n ast.Node) string { return set.Position(n.Pos()).String() }
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s: an init function; what it does belongs into New", at(n))
				}
			case *ast.SelectorExpr:
				forbidden(t, path, at(n), n)
			case *ast.CompositeLit:
				metric(t, path, at(n), n)
			case *ast.CallExpr, *ast.BinaryExpr:
				if decidesByText(n) {
					t.Errorf("%s: decides by an error's text, not by its type", at(n))
				}
			}
			return true
		})
	})
}

func forbidden(t *testing.T, path, at string, n *ast.SelectorExpr) {
	pkg, ok := n.X.(*ast.Ident)
	if !ok || pkg.Obj != nil {
		return
	}
	switch pkg.Name + "." + n.Sel.Name {
	case "os.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln":
		if path != "cmd/mmsrouter/main.go" {
			t.Errorf("%s: only main ends the process", at)
		}
	case "time.Sleep":
		t.Errorf("%s: a wait takes a context or a timer", at)
	case "prometheus.DefaultRegisterer", "prometheus.MustRegister", "promauto.NewCounter":
		t.Errorf("%s: metrics take a Registerer", at)
	case "slog.Default", "slog.SetDefault", "slog.Info", "slog.Warn", "slog.Error", "slog.Debug":
		t.Errorf("%s: the logger is passed in", at)
	}
}

// decidesByText says whether an expression compares an error's text, or looks into it.
func decidesByText(n ast.Node) bool {
	var looked []ast.Expr
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if n.Op == token.EQL || n.Op == token.NEQ {
			looked = []ast.Expr{n.X, n.Y}
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.SelectorExpr); ok {
			switch f.Sel.Name {
			case "Contains", "ContainsAny", "HasPrefix", "HasSuffix", "EqualFold", "Index", "CutPrefix", "CutSuffix", "MatchString":
				looked = n.Args
			}
		}
	}
	return slices.ContainsFunc(looked, func(e ast.Expr) bool {
		call, ok := e.(*ast.CallExpr)
		if !ok || len(call.Args) > 0 {
			return false
		}
		f, ok := call.Fun.(*ast.SelectorExpr)
		return ok && f.Sel.Name == "Error"
	})
}

func TestDecidesByText(t *testing.T) {
	for text, want := range map[string]bool{
		`strings.Contains(err.Error(), "timed out")`: true,
		`"EOF" == x.err.Error()`:                     true,
		`text.MatchString(err.Error())`:              true,
		`strings.Contains(name, "x")`:                false,
		`errors.Is(err, io.EOF)`:                     false,
		`err != nil`:                                 false,
		`strings.TrimPrefix(err.Error(), "dns: ")`:   false,
	} {
		e, err := parser.ParseExpr(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := decidesByText(e); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// metric checks the names in prometheus.…Opts literals.
func metric(t *testing.T, path, at string, n *ast.CompositeLit) {
	sel, ok := n.Type.(*ast.SelectorExpr)
	if !ok || !strings.HasSuffix(sel.Sel.Name, "Opts") {
		return
	}
	if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "prometheus" {
		return
	}
	for _, e := range n.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		key, ok := kv.Key.(*ast.Ident)
		if !ok {
			continue
		}
		lit, ok := kv.Value.(*ast.BasicLit)
		if !ok || key.Name != "Name" {
			continue
		}
		name, err := strconv.Unquote(lit.Value)
		if err != nil || !named(name, path) {
			t.Errorf("%s: metric %s: want mmsrouter_<room>_<thing>_<unit>, the room being a folder that the file lies in", at, lit.Value)
		}
	}
}
