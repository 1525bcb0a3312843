package wire

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// read, peek, vector.read and vector.write are the system calls on a non-blocking socket, without a word to the
// scheduler. recvfrom skips what read does for files: position, access, notification.

func read(fd uintptr, p []byte) (int, syscall.Errno) {
	if len(p) == 0 {
		return 0, syscall.EINVAL // an empty read would look like the end
	}
	n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
	return int(n), e
}

func peek(fd uintptr, p *byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(p)), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
		if e != syscall.EINTR {
			return int(n), e
		}
	}
}

// vector is a short list of buffers, to gather from or to scatter into.
type vector struct {
	v    [24]unix.Iovec
	from int
	n    int
}

// load takes the first buffers that are not empty.
func (v *vector) load(bufs net.Buffers) {
	v.from, v.n = 0, 0
	for _, b := range bufs {
		if v.n == len(v.v) {
			return
		}
		if len(b) > 0 {
			v.v[v.n].Base = &b[0]
			v.v[v.n].SetLen(len(b))
			v.n++
		}
	}
}

// read fills the buffers from the first on.
func (v *vector) read(fd uintptr) (int, syscall.Errno) {
	if v.empty() {
		return 0, syscall.EINVAL // an empty read would look like the end
	}
	n, _, e := syscall.RawSyscall(syscall.SYS_READV, fd, uintptr(unsafe.Pointer(&v.v[v.from])), uintptr(v.n-v.from))
	return int(n), e
}

// write sends as much as goes. With more the kernel holds an unfilled segment back, for what follows at once.
func (v *vector) write(fd uintptr, more bool) (int, syscall.Errno) {
	if v.empty() {
		return 0, 0
	}
	if more {
		return v.sendmsg(fd, unix.MSG_NOSIGNAL|unix.MSG_MORE)
	}
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&v.v[v.from])), uintptr(v.n-v.from))
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

func (v *vector) sendmsg(fd, flags uintptr) (int, syscall.Errno) {
	m := unix.Msghdr{Iov: &v.v[v.from]}
	m.SetIovlen(v.n - v.from)
	n, _, e := syscall.RawSyscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&m)), flags)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

// advance cuts off what was written.
func (v *vector) advance(n int) {
	for v.from < v.n {
		i := &v.v[v.from]
		if uint64(n) < uint64(i.Len) {
			i.Base = (*byte)(unsafe.Add(unsafe.Pointer(i.Base), n))
			i.SetLen(int(i.Len) - n)
			return
		}
		n -= int(i.Len)
		v.from++
	}
}

// rest says that bufs has more than was loaded.
func (v *vector) rest(bufs net.Buffers) bool { return v.n == len(v.v) && len(bufs) > v.n }

func (v *vector) empty() bool { return v.from == v.n }

// clear lets go of the buffers.
func (v *vector) clear() {
	clear(v.v[:v.n])
	v.from, v.n = 0, 0
}
