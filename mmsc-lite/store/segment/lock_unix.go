//go:build unix

package segment

import (
	"errors"
	"os"
	"syscall"
)

// lock takes the lock of a file; mine is false when another has it. It ends with the file, and with the process.
func lock(f *os.File) (mine bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
