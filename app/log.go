package app

import (
	"fmt"
	"io"
	"log/slog"
)

// LogConfig is the `log` section of the configuration.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug | info | warn | error
	Format string `yaml:"format"` // json | text
}

func (c LogConfig) level() (slog.Level, error) {
	switch c.Level {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log.level: %q: want debug, info, warn or error", c.Level)
}

func (c LogConfig) validate() []error {
	var errs []error
	if _, err := c.level(); err != nil {
		errs = append(errs, err)
	}
	if c.Format != "json" && c.Format != "text" {
		errs = append(errs, fmt.Errorf("log.format: %q: want json or text", c.Format))
	}
	return errs
}

// readable writes durations as configurations do, such as 2.368s: JSON would have a bare count of nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}

// newLog makes the logger that rooms get theirs from; v is its level, which a reload may move.
func newLog(w io.Writer, format string, v *slog.LevelVar) *slog.Logger {
	o := &slog.HandlerOptions{Level: v, ReplaceAttr: readable}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}
