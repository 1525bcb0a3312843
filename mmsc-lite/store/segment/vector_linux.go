package segment

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxPieces is how many pieces the kernel takes in one call (IOV_MAX).
const maxPieces = 1024

// writeAt writes pieces one behind the other, from an octet of the file on.
func writeAt(f *os.File, pieces [][]byte, at int64) error {
	rest := append([][]byte(nil), pieces...) // what is partly written is cut; the pieces are the caller's
	for len(rest) > 0 {
		if len(rest[0]) == 0 {
			rest = rest[1:]
			continue
		}
		n, err := unix.Pwritev(int(f.Fd()), rest[:min(len(rest), maxPieces)], at)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("pwritev", err)
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		for at += int64(n); n > 0; {
			cut := min(n, len(rest[0]))
			if n -= cut; cut == len(rest[0]) {
				rest = rest[1:]
			} else {
				rest[0] = rest[0][cut:]
			}
		}
	}
	return nil
}
