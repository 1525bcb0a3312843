package segment

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// aio lets the kernel sync a file while the caller goes on (io_submit(2) with IOCB_CMD_FDSYNC). A goroutine that syncs would get a processor
// only when the caller has done its work, and would keep one from the others for a while. One goroutine uses it, for one sync at a time.
type aio struct {
	ctx   uintptr // aio_context_t; 0: closed
	what  iocb
	list  *iocb
	event ioEvent
}

// iocb and ioEvent are the kernel's (linux/aio_abi.h).
type iocb struct {
	data   uint64
	key    [2]uint32
	opcode uint16
	prio   int16
	fd     uint32
	buf    uint64
	octets uint64
	offset int64
	_      uint64
	flags  uint32
	resfd  uint32
}

type ioEvent struct {
	data, obj   uint64
	res, second int64
}

// commandFdsync is IOCB_CMD_FDSYNC.
const commandFdsync = 3

// newAIO gives nil where the kernel does not do it, or has no room for one more.
func newAIO() *aio {
	a := new(aio)
	if _, _, errno := syscall.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&a.ctx)), 0); errno != 0 {
		return nil
	}
	a.list = &a.what
	return a
}

// begin begins a sync, for which end has to be called before the file is closed; false: the kernel does not take it.
func (a *aio) begin(f *os.File) bool {
	a.what = iocb{opcode: commandFdsync, fd: uint32(f.Fd())}
	n, _, errno := syscall.Syscall(unix.SYS_IO_SUBMIT, a.ctx, 1, uintptr(unsafe.Pointer(&a.list)))
	return errno == 0 && n == 1
}

// end waits for the sync.
func (a *aio) end() error {
	for {
		n, _, errno := syscall.Syscall6(unix.SYS_IO_GETEVENTS, a.ctx, 1, 1, uintptr(unsafe.Pointer(&a.event)), 0, 0)
		switch {
		case errno == syscall.EINTR, errno == 0 && n == 0:
		case errno != 0:
			return os.NewSyscallError("io_getevents", errno)
		case a.event.res < 0:
			return os.NewSyscallError("fdatasync", syscall.Errno(-a.event.res))
		default:
			return nil
		}
	}
}

func (a *aio) close() {
	if a.ctx != 0 {
		syscall.Syscall(unix.SYS_IO_DESTROY, a.ctx, 0, 0) // it ends with the process at the latest
		a.ctx = 0
	}
}
