package app

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestDurationsInLogs(t *testing.T) {
	const took = 2368 * time.Millisecond
	tests := []struct {
		name string
		say  func(*slog.Logger)
		path []string
	}{
		{"an argument", func(l *slog.Logger) { l.Info("x", "took", took) }, []string{"took"}},
		{"an attribute", func(l *slog.Logger) { l.Info("x", slog.Duration("took", took)) }, []string{"took"}},
		{"of the logger", func(l *slog.Logger) { l.With("took", took).Info("x") }, []string{"took"}},
		{"in a group", func(l *slog.Logger) { l.WithGroup("drain").Info("x", slog.Group("of", "took", took)) }, []string{"drain", "of", "took"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			tc.say(newLog(&out, "json", new(slog.LevelVar)))
			var line any
			if err := json.Unmarshal(out.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			for _, key := range tc.path {
				m, ok := line.(map[string]any)
				if !ok {
					t.Fatalf("no %s in %s", key, out.Bytes())
				}
				line = m[key]
			}
			if line != "2.368s" {
				t.Errorf("%v in %s", line, out.Bytes())
			}
			out.Reset()
			tc.say(newLog(&out, "text", new(slog.LevelVar)))
			if !strings.Contains(out.String(), "took=2.368s") {
				t.Errorf("as text: %s", out.String())
			}
		})
	}
}
