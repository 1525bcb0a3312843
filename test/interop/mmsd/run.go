package mmsd

import (
	"context"
	"strings"
	"testing"
	"time"
)

// Need skips a test where mmsd-tng can't run.
func Need(t testing.TB) {
	t.Helper()
	if err := Missing(); err != nil {
		t.Skipf("mmsd-tng can't run: %v", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// Run runs mmsd-tng until a test ends, a minute at most; its logs are shown when the test fails.
func Run(t testing.TB, o Options) (*Handset, context.Context) {
	t.Helper()
	Need(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	h, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(h.Logs())
		}
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	return h, ctx
}

// RunSMSC runs an SMSC in front of it until a test ends, and gives its address.
func (h *Handset) RunSMSC(ctx context.Context, t testing.TB) string {
	t.Helper()
	s, err := h.SMSC(ctx)
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(running) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s.Addr().String()
}
