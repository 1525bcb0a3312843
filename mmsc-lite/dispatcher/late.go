package dispatcher

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// replyURL gives the one-use URL of a turn; empty when there are none.
func (d *Dispatcher) replyURL(id string) string {
	if d.cfg.Load().ReplyURL == "" {
		return ""
	}
	return strings.TrimSuffix(d.cfg.Load().ReplyURL, "/") + "/" + id + "." + d.seal(id)
}

// seal proves that a token is ours, so that nothing needs to be stored before a provider is asked.
func (d *Dispatcher) seal(id string) string {
	mac := hmac.New(sha256.New, []byte(d.key))
	mac.Write([]byte(id)) // a hash takes everything
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// Late takes late answers: a POST to a turn's reply URL, whose last segment is the token, in the service's format. 202: it
// is kept and its user gets it. 400: it can't be used, and may be sent again. 404: no such turn. 410: it has been answered
// already, or its time is over. 413, 503: as HTTP has them.
func (d *Dispatcher) Late() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "want POST", http.StatusMethodNotAllowed)
			return
		}
		token := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		id, seal, ok := strings.Cut(token, ".")
		if !ok || !hmac.Equal([]byte(seal), []byte(d.seal(id))) {
			http.Error(w, "no such turn", http.StatusNotFound)
			return
		}
		status, text := d.late(r.Context(), id, w, r)
		if status == http.StatusAccepted {
			w.WriteHeader(status)
			return
		}
		http.Error(w, text, status)
	})
}

// lateTime bounds the reading of a late answer.
const lateTime = time.Minute

func (d *Dispatcher) late(ctx context.Context, id string, w http.ResponseWriter, r *http.Request) (int, string) {
	var service string
	err := d.db.QueryRowContext(ctx, `SELECT service FROM svc_jobs WHERE id = $1`, id).Scan(&service)
	if errors.Is(err, sql.ErrNoRows) {
		return http.StatusNotFound, "no such turn"
	} else if err != nil {
		return d.unavailable(w, err)
	}
	e := d.cat.table().names[service]
	if e == nil {
		return http.StatusGone, "the service is gone"
	}
	// A server that knows no deadlines, a recorder of a test, reads from memory.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lateTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(e.Provider.MaxAnswer)))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return http.StatusRequestEntityTooLarge, "the answer is larger than the service's max_answer"
	} else if err != nil {
		return http.StatusBadRequest, "the answer can't be read"
	}
	a, err := decode(e.Provider.Format, r.Header, body)
	if err != nil {
		return http.StatusBadRequest, err.Error()
	}
	text, err := json.Marshal(a)
	if err != nil {
		return d.unavailable(w, err)
	}
	now := time.Now()
	// Whoever asks this provider at this moment loses the job by the new due time.
	res, err := d.db.ExecContext(ctx, `UPDATE svc_jobs SET state = 'due', answer = $1, due_at = $2, give_up_at = $3, attempts = 0
		WHERE id = $4 AND ended_at IS NULL AND answer IS NULL AND state IN ('due', 'waiting')`, text, millis(now), millis(now.Add(noticeLife)), id)
	if err != nil {
		return d.unavailable(w, err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return d.unavailable(w, err)
	} else if n == 0 {
		return http.StatusGone, "the turn has been answered already, or its time is over"
	}
	d.poke()
	return http.StatusAccepted, ""
}

func (d *Dispatcher) unavailable(w http.ResponseWriter, err error) (int, string) {
	d.log.Warn("late answer not kept", "err", err)
	w.Header().Set("Retry-After", "10")
	return http.StatusServiceUnavailable, "try again later"
}
