//go:build !unix

package segment

import "os"

// lock knows no locks here: one process at a time may use a folder.
func lock(*os.File) (bool, error) { return true, nil }
