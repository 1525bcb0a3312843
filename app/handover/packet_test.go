package handover

import (
	"bytes"
	"testing"
)

func FuzzPacket(f *testing.F) {
	f.Add([]byte{kindNote, 0, 0, 0, 0, 0, 0, 0, 1, 3, 'a', 'b', 'c', 'x'})
	f.Add([]byte{kindCall, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parse(b)
		if err != nil {
			return
		}
		again, err := p.append(nil)
		if len(b) <= MaxPacket && (err != nil || !bytes.Equal(again, b)) {
			t.Errorf("%x became %x (%v)", b, again, err)
		}
	})
}
