package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
)

// pieceSize is how much is read at a time.
const pieceSize = 128 << 10

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// Read writes a content to w. Its last piece is written after all octets have been compared with their sum, so what is
// damaged never arrives whole: ErrDamaged. ErrGone: the segment is not there; the content may have been moved. Errors of w come back as they are.
func (l *Log) Read(p Place, w io.Writer) error {
	f, err := os.Open(l.path(p.Segment))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("segment %d: %w", p.Segment, ErrGone)
	}
	if err != nil {
		return err
	}
	defer f.Close() // it was only read
	window := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(window)
	sum := uint32(0)
	for done := int64(0); done < p.Size; {
		b := window[:min(pieceSize, p.Size-done)]
		if _, err := f.ReadAt(b, p.Start+done); err != nil {
			if errors.Is(err, io.EOF) {
				err = ErrDamaged
			}
			return fmt.Errorf("segment %d, octet %d: %w", p.Segment, p.Start, err)
		}
		sum = crc32.Update(sum, castagnoli, b)
		if done += int64(len(b)); done == p.Size && sum != p.Sum {
			return fmt.Errorf("segment %d, octet %d: %w", p.Segment, p.Start, ErrDamaged)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}
