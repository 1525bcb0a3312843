// Package carrier holds what the carriers of pushes have in common: how an
// attempt that failed says whether another one makes sense. It has no state.
package carrier

import (
	"errors"
	"fmt"
	"time"
)

// Failure is an attempt that a carrier did not bring to an end.
type Failure struct {
	Final bool          // another attempt would fail the same way
	After time.Duration // how long to wait before another one; zero: the caller's own schedule
	// Unknown says that it may have been taken all the same: trying again can make it arrive twice.
	Unknown bool
	Err     error
}

// Error gives the cause in words.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Refused is final.
func Refused(format string, args ...any) *Failure {
	return &Failure{Final: true, Err: fmt.Errorf(format, args...)}
}

// Later may work when it is tried again.
func Later(after time.Duration, format string, args ...any) *Failure {
	return &Failure{After: after, Err: fmt.Errorf(format, args...)}
}

// Unclear has had an outcome that nobody knows.
func Unclear(format string, args ...any) *Failure {
	return &Failure{Unknown: true, Err: fmt.Errorf(format, args...)}
}

// IsFinal says whether err is a failure for good.
func IsFinal(err error) bool {
	var f *Failure
	return errors.As(err, &f) && f.Final
}

// IsUnknown says whether what failed may have been taken.
func IsUnknown(err error) bool {
	var f *Failure
	return errors.As(err, &f) && f.Unknown
}

// After gives how long to wait before another attempt; zero if err does not say.
func After(err error) time.Duration {
	var f *Failure
	if errors.As(err, &f) {
		return f.After
	}
	return 0
}
