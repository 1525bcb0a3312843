package proxy

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// accessLog collects lines and writes them in batches. Up to a quarter of a second of lines is lost when the
// process is killed; a full disk drops lines (counted) and never holds up a message.
type accessLog struct {
	mu      sync.Mutex
	pending []byte
	spare   []byte
	wake    chan struct{}
	file    sync.Mutex // guards out; never held with mu
	out     io.WriteCloser
	path    string
	m       *metrics
	log     *slog.Logger
}

const (
	logBatch = 64 << 10 // lines are written once so many octets wait,
	logMost  = 4 << 20  // dropped when so many wait,
	logDelay = 250 * time.Millisecond
)

type stdoutCloser struct{ *os.File }

func (stdoutCloser) Close() error { return nil } // stdout is not ours to close

// openAccessLog opens the configured place; nil for off.
func openAccessLog(path string, m *metrics, log *slog.Logger) (*accessLog, error) {
	var out io.WriteCloser
	switch path {
	case "off", "":
		return nil, nil
	case "stdout":
		out = stdoutCloser{os.Stdout}
	default:
		f, err := openLogFile(path)
		if err != nil {
			return nil, err
		}
		out = f
	}
	return &accessLog{path: path, wake: make(chan struct{}, 1), out: out, m: m, log: log}, nil
}

func openLogFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return nil, fmt.Errorf("mm1.access_log.path: %w", err)
	}
	return f, nil
}

// reopen takes the file of that name up again, for log rotation; standard output stays.
func (l *accessLog) reopen() (swap func(), err error) {
	if l == nil || l.path == "stdout" {
		return func() {}, nil
	}
	f, err := openLogFile(l.path)
	if err != nil {
		return nil, err
	}
	return func() {
		l.file.Lock()
		old := l.out
		l.out = f
		l.file.Unlock()
		if err := old.Close(); err != nil {
			l.log.Warn("close access log", "err", err)
		}
	}, nil
}

// add queues one line.
func (l *accessLog) add(line []byte) {
	l.mu.Lock()
	if len(l.pending) > logMost {
		l.mu.Unlock()
		l.m.logDropped.Add(1)
		return
	}
	before := len(l.pending)
	l.pending = append(l.pending, line...)
	full := before < logBatch && len(l.pending) >= logBatch
	l.mu.Unlock()
	if full {
		select {
		case l.wake <- struct{}{}:
		default: // a write is due already
		}
	}
}

// run writes until ctx ends, then once more, and closes the file.
func (l *accessLog) run(ctx context.Context) {
	t := time.NewTicker(logDelay)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			l.flush()
			l.file.Lock()
			err := l.out.Close()
			l.file.Unlock()
			if err != nil {
				l.log.Warn("close access log", "err", err)
			}
			return
		case <-t.C:
		case <-l.wake:
		}
		l.flush()
	}
}

func (l *accessLog) flush() {
	l.mu.Lock()
	out := l.pending
	l.pending, l.spare = l.spare[:0], nil
	l.mu.Unlock()
	if len(out) > 0 {
		l.file.Lock()
		_, err := l.out.Write(out)
		l.file.Unlock()
		if err != nil {
			l.m.logDropped.Add(1)
			l.log.Warn("write access log", "err", err)
		}
	}
	if cap(out) > 4*logBatch {
		out = nil // a burst's buffer is not kept
	}
	l.mu.Lock()
	l.spare = out[:0]
	l.mu.Unlock()
}

// eachSecond lets one line a second through to the log and counts the others.
type eachSecond struct {
	mu     sync.Mutex
	last   time.Time
	unsaid int
}

func (e *eachSecond) pass(now time.Time) (unsaid int, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Sub(e.last) < time.Second {
		e.unsaid++
		return 0, false
	}
	unsaid, e.last, e.unsaid = e.unsaid, now, 0
	return unsaid, true
}
