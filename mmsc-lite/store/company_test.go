package store

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestCompany looks at how long bookkeeping waits for a submission to go with.
func TestCompany(t *testing.T) {
	for _, c := range []struct {
		name string
		gap  time.Duration // between submissions
		want time.Duration // that bookkeeping waits when no more come
	}{
		{"a lone message", time.Minute, 0},
		{"messages far apart", 2 * lazyWait, 0},
		{"messages close together", lazyWait / 3, lazyWait},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Store{ops: make(chan *op, 1), lazy: make(chan *op, 1), closing: make(chan struct{})}
				var met company
				for range 3 {
					time.Sleep(c.gap)
					s.ops <- &op{}
					s.first(&met)
				}
				book := &op{}
				s.lazy <- book
				began := time.Now()
				if s.first(&met) != book || time.Since(began) != c.want {
					t.Errorf("went after %s, want %s", time.Since(began), c.want)
				}
			})
		})
	}
}
