//go:build !linux

package freebind

import "errors"

// Set fails: only Linux has the option.
func Set(int, string) error {
	return errors.New("freebind: only Linux can bind addresses that are not there")
}
