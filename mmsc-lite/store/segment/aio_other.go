//go:build !linux

package segment

import "os"

// aio is not there on this system.
type aio struct{}

func newAIO() *aio               { return nil }
func (*aio) begin(*os.File) bool { return false }
func (*aio) end() error          { return nil }
func (*aio) close()              {}
