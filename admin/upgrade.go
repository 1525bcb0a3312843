package admin

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Upgraded says which process serves now.
type Upgraded struct {
	PID     int     `json:"pid"`
	Version string  `json:"version"`
	Took    float64 `json:"took_seconds"` // until it served
	Old     int     `json:"old_pid"`      // of the process that finishes what it has
	Clients int     `json:"old_clients"`  // that this one still serves
}

// ErrBusy is wrapped by errors of Options.Upgrade that go by themselves: the same request may work a little later.
var ErrBusy = errors.New("not now")

// upgradeTime is how long an answer may take: the new process opens stores and waits for first verdicts.
const upgradeTime = 90 * time.Minute

// upgrade answers when the new process serves, or this one goes on.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	if s.o.Upgrade == nil {
		writeError(w, http.StatusNotImplemented, "this node can't be upgraded in place")
		return
	}
	c := http.NewResponseController(w)
	if err := errors.Join(c.SetWriteDeadline(time.Now().Add(upgradeTime)), c.SetReadDeadline(time.Time{})); err != nil {
		s.o.Log.Warn("wait for an upgrade", "err", err)
	}
	up, err := s.o.Upgrade()
	s.o.Log.Info("this node was asked to upgrade", "from", r.RemoteAddr, "err", err)
	switch {
	case errors.Is(err, ErrBusy):
		writeError(w, http.StatusConflict, err.Error())
	case err != nil:
		writeError(w, http.StatusUnprocessableEntity, err.Error())
	default:
		writeJSON(w, http.StatusOK, up)
	}
}

// Upgrade puts the program that now stands at the router's path in the place of the process that runs. It returns when that one serves; on
// an error the old one goes on. It waits as long as ctx lets it.
func (c *Client) Upgrade(ctx context.Context) (Upgraded, error) {
	patient := *c
	h := *c.HTTP
	h.Timeout = 0 // upgrade.timeout bounds it, at the router
	patient.HTTP = &h
	var up Upgraded
	return up, patient.post(ctx, "/api/v1/upgrade", struct{}{}, &up)
}

// Busy tells whether err says that the same request may work a little later.
func Busy(err error) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Status == http.StatusConflict
}
