package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/mms"
)

// What is remembered of held messages: the newest maxTrails, of each the last maxAttempts attempts.
const (
	maxTrails   = 10_000
	maxAttempts = 20
)

// trail is what this process did with a held message.
type trail struct {
	count    int  // attempts
	doubtful bool // one of them may have been committed
	last     []admin.Attempt
}

// trails remembers the attempts to forward held messages, for fate and for X-Mmsrouter-Attempt. It does not outlive the process.
type trails struct {
	mu    sync.Mutex
	known map[string]*trail
	order []string // of known, the oldest first
}

// before gives what came before a round: how many attempts, and whether one may have been committed. Of rounds that another process made
// nothing is known, so they may.
func (t *trails) before(m *message) (count int, doubtful bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.known[m.id]; k != nil && m.id != "" {
		return k.count, k.doubtful
	}
	if m.again {
		return 1, true
	}
	return 0, false
}

func (t *trails) add(id string, doubtful bool, a admin.Attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.known[id]
	if k == nil {
		if t.known == nil {
			t.known = map[string]*trail{}
		}
		if len(t.order) == maxTrails {
			delete(t.known, t.order[0])
			t.order = t.order[1:]
		}
		k = &trail{}
		t.known[id], t.order = k, append(t.order, id)
	}
	if k.count++; len(k.last) == maxAttempts {
		k.last = k.last[1:]
	}
	k.doubtful, k.last = doubtful, append(k.last, a)
}

// of gives the attempts for a message, the oldest first.
func (t *trails) of(id string) []admin.Attempt {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k := t.known[id]; k != nil {
		return append([]admin.Attempt(nil), k.last...)
	}
	return nil
}

// told puts an attempt into the admin room's words.
func (f *forwarded) told(mmsc string, took time.Duration) admin.Attempt {
	a := admin.Attempt{MMSC: mmsc, Phase: f.phase, Octets: f.octets, Milliseconds: float64(took.Microseconds()) / 1000}
	var h mms.Head
	switch {
	case f.end != answered:
		a.Result = f.err.Error()
	default:
		h.Peek(f.conf, true)
		a.Result = h.Response.String()
	}
	if f.status != 0 && !strings.Contains(a.Result, "HTTP ") {
		a.Result = fmt.Sprintf("HTTP %d, %s", f.status, a.Result)
	}
	return a
}

// origin reads who posted a held message, as far as its fields say, and where to.
func origin(request string) (client, target string) {
	var r struct {
		Target string      `json:"target"`
		Header http.Header `json:"header"`
	}
	if err := json.Unmarshal([]byte(request), &r); err != nil || r.Target == "" {
		return "", "" // it was never forwarded either
	}
	all := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	return strings.TrimSpace(all[len(all)-1]), "POST " + r.Target
}
