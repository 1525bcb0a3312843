//go:build unix

package journal

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes the lock of a file; mine is false when another process has it. It ends with the process, however that ends.
func lockFile(path string) (f *os.File, mine bool, err error) {
	f, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return f, false, nil
	}
	return f, err == nil, err
}
