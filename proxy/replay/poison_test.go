//go:build poison

package replay_test

import (
	"bytes"
	"testing"

	"github.com/mmsrouter/mmsrouter/proxy/replay"
)

// TestPoison holds that this build shows whoever still reads what was given back.
func TestPoison(t *testing.T) {
	s := store(t, 0, 1<<30)
	poisoned := bytes.Repeat([]byte{0xA5}, 100)
	var b replay.Body
	b.Init(s, 1<<30, false)
	write(t, &b, make([]byte, 3*replay.Large))
	kept, _ := b.Slices(nil, 10)
	tail, _ := b.Slices(nil, b.Size()-100)
	b.Free()
	for _, p := range append(kept, tail...) {
		if !bytes.Equal(p[:100], poisoned) {
			t.Fatalf("a freed body's slice still holds %x…", p[:8])
		}
	}
	p := s.GetSmall()
	s.Put(p[:1])
	if !bytes.Equal(p[len(p)-100:], poisoned) {
		t.Fatal("a buffer that was given back is not overwritten to its end")
	}
}
