package cluster

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"
)

// complaints counts what came in and has no effect, and logs it once per reason, source and minute.
type complaints struct {
	log   *slog.Logger
	count func(Reason, int)
	now   func() time.Time

	mu   sync.Mutex
	last map[complaint]*heard
}

type complaint struct {
	reason Reason
	source string
}

type heard struct {
	at   time.Time
	more int // not logged since
}

// Sources are bounded too: whoever forges addresses must not fill the memory.
const mostComplaints = 1024

func (c *complaints) tell(reason Reason, n int, source, text string) {
	c.count(reason, n)
	if more, ok := c.allow(reason, source); ok {
		c.log.Warn("refused what came in from the cluster's network", "reason", string(reason), "source", source, "what", text, "more_since", more)
	}
}

// allow says whether this reason and source may be logged now, and how often it was not since the last time.
func (c *complaints) allow(reason Reason, source string) (more int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	key := complaint{reason, source}
	h := c.last[key]
	if h != nil && now.Sub(h.at) < time.Minute {
		h.more++
		return 0, false
	}
	if h == nil {
		if len(c.last) >= mostComplaints {
			for k, v := range c.last {
				if now.Sub(v.at) >= time.Minute {
					delete(c.last, k)
				}
			}
		}
		if len(c.last) >= mostComplaints {
			return 0, false
		}
		h = &heard{}
		c.last[key] = h
	}
	more, h.at, h.more = h.more, now, 0
	return more, true
}

// memberlistLog takes memberlist's log lines: "[LEVEL] memberlist: text from=address". What tells of bad
// input becomes a complaint; the rest goes on as it is. Nothing is decided by these texts.
type memberlistLog struct {
	log *slog.Logger
	c   *complaints
}

// What memberlist's lines begin with, and what that means.
var lineReasons = []struct {
	begins string
	reason Reason
}{
	{"Decrypt packet failed", ReasonKey},
	{"failed to receive: no installed keys could decrypt", ReasonKey},
	{"failed to receive: encryption is configured but remote state is not encrypted", ReasonKey},
	{"failed to receive: remote state is encrypted and encryption is not configured", ReasonKey},
	{"failed to receive: remote node state is larger", ReasonSize},
	{"failed to receive: more octets", ReasonSize},
	{"failed to receive and remove the stream label", ReasonCorrupt},
	{"failed to receive", ReasonCorrupt},
	{"discarding packet with unacceptable label", ReasonLabel},
	{"discarding stream with unacceptable label", ReasonLabel},
	{"cannot decode label", ReasonCorrupt},
	{"label header cannot be empty", ReasonCorrupt},
	{"Got invalid checksum", ReasonCorrupt},
	{"Failed to decompress payload", ReasonCorrupt},
	{"Failed to decode", ReasonCorrupt},
	{"Failed to read remote state", ReasonCorrupt},
	{"Failed to receive user message", ReasonCorrupt},
	{"Failed push/pull merge", ReasonVersion},
	{"msg type (", ReasonCorrupt},
	{"Received invalid msgType", ReasonCorrupt},
	{"missing message type byte", ReasonCorrupt},
	{"Compound request had", ReasonCorrupt},
	{"handler queue full", ReasonBusy},
	{"Too many pending push/pull", ReasonBusy},
	{"Ignoring an alive message", ReasonVersion},
}

// What our delegate has told already.
var toldLines = []string{"Conflicting address for", "ignoring alive message"}

func (m memberlistLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level := slog.LevelDebug
	switch {
	case strings.HasPrefix(text, "[WARN]"), strings.HasPrefix(text, "[INFO]"):
		level = slog.LevelInfo
	case strings.HasPrefix(text, "[ERR"):
		level = slog.LevelWarn
	}
	if i := strings.Index(text, "memberlist: "); i >= 0 {
		text = text[i+len("memberlist: "):]
	}
	source := "unknown"
	if i := strings.LastIndex(text, "from="); i >= 0 {
		source = strings.TrimSpace(text[i+len("from="):])
		text = strings.TrimSpace(text[:i])
		if host, _, err := net.SplitHostPort(source); err == nil {
			source = host
		}
	}
	if level > slog.LevelDebug {
		for _, l := range lineReasons {
			if strings.HasPrefix(text, l.begins) {
				m.c.tell(l.reason, 1, source, clip(text, 200))
				return len(line), nil
			}
		}
		for _, t := range toldLines {
			if strings.HasPrefix(text, t) {
				return len(line), nil
			}
		}
		if _, ok := m.c.allow("", text[:min(len(text), 24)]); !ok {
			return len(line), nil
		}
	}
	m.log.Log(context.Background(), level, clip(text, 200), "source", source)
	return len(line), nil
}

// clip keeps what a peer sent from filling the log.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
