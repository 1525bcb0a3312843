package segment

import (
	"os"
	"syscall"
)

// fdatasync syncs the octets and what is needed to find them.
func fdatasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
