//go:build !linux

package segment

import "os"

// writeAt writes pieces one behind the other, from an octet of the file on.
func writeAt(f *os.File, pieces [][]byte, at int64) error {
	for _, b := range pieces {
		n, err := f.WriteAt(b, at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
