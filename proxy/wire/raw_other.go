//go:build !linux

package wire

import (
	"errors"
	"net"
	"syscall"
)

func errnoOf(err error) syscall.Errno {
	var e syscall.Errno
	if err != nil && !errors.As(err, &e) {
		e = syscall.EIO
	}
	return e
}

func read(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Read(int(fd), p)
	return n, errnoOf(err)
}

func peek(fd uintptr, p *byte) (int, syscall.Errno) {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n, errnoOf(err)
}

// vector writes one buffer after the other where there is no gathering write without the runtime.
type vector struct{ bufs [][]byte }

func (v *vector) load(bufs net.Buffers) {
	v.bufs = v.bufs[:0]
	for _, b := range bufs {
		if len(b) > 0 {
			v.bufs = append(v.bufs, b)
		}
	}
}

// read fills the first buffer alone.
func (v *vector) read(fd uintptr) (int, syscall.Errno) {
	if v.empty() {
		return 0, syscall.EINVAL // an empty read would look like the end
	}
	return read(fd, v.bufs[0])
}

func (v *vector) write(fd uintptr, _ bool) (int, syscall.Errno) {
	if v.empty() {
		return 0, 0
	}
	n, err := syscall.Write(int(fd), v.bufs[0])
	return max(n, 0), errnoOf(err)
}

func (v *vector) advance(n int) {
	if n < len(v.bufs[0]) {
		v.bufs[0] = v.bufs[0][n:]
		return
	}
	v.bufs = v.bufs[1:]
}

// rest says that bufs has more than was loaded.
func (v *vector) rest(net.Buffers) bool { return false }

func (v *vector) empty() bool { return len(v.bufs) == 0 }

func (v *vector) clear() { v.bufs = nil }
