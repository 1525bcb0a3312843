package mms_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOracle asks an independent reader whether the PDUs that this package
// builds are sound: all in one call, since it is slow to start.
func TestOracle(t *testing.T) {
	program := os.Getenv("MMSROUTER_ORACLE")
	if program == "" {
		t.Skip("MMSROUTER_ORACLE not set: no independent reader looks at what is built")
	}
	dir := t.TempDir()
	var files []string
	types := make(map[string]string)
	for _, s := range samples(t) {
		if !s.oracle {
			continue
		}
		name := strings.ReplaceAll(s.name, " ", "_") + ".mms"
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, s.pdu, 0o600); err != nil {
			t.Fatal(err)
		}
		files, types[name] = append(files, file), strings.Fields(s.name)[0]
	}
	out, err := exec.Command(program, files...).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for range files {
		var doc struct {
			Input, Verdict string
			Messages       []struct {
				Type     string
				Problems []struct{ Text string }
			}
		}
		if err := dec.Decode(&doc); err != nil {
			t.Fatalf("answer of the reader: %v; %v", err, exit)
		}
		if doc.Verdict != "ok" || len(doc.Messages) == 0 || doc.Messages[0].Type != types[doc.Input] {
			t.Errorf("%s: %s, %+v", doc.Input, doc.Verdict, doc.Messages)
		}
	}
}
