package segment

import (
	"os"

	"golang.org/x/sys/unix"
)

// spare is how much space the disk must have beyond blocks that are asked for ahead: on one that is nearly full they are others' to use.
const spare = 1 << 30

// allocate asks for blocks from one octet of a file to another, without changing its length, and says how far it has them; -1: the
// filesystem does not give any ahead.
func allocate(f *os.File, from, to int64) int64 {
	var disk unix.Statfs_t
	fd := int(f.Fd())
	if unix.Fstatfs(fd, &disk) != nil || int64(disk.Bavail) < (spare+to-from)/max(int64(disk.Bsize), 1) {
		return -1
	}
	if unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, from, to-from) != nil {
		return -1
	}
	return to
}
