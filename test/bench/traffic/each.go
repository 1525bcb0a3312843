// Package traffic is what the benches send to the router and what they take from it: messages that cost little to make, workers that
// send them, and an SMSC that takes notifications. It measures nothing, and shares the machine with what is measured: it does as
// little as it can.
package traffic

import (
	"errors"
	"sync"
	"sync/atomic"
)

// Each does n things by so many workers; a worker makes its own tool and goes on with the next thing. It returns the first error of each
// worker.
func Each(n, workers int, tool func() (do func(k int) error, end func(), err error)) error {
	var next atomic.Int64
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			do, end, err := tool()
			if err != nil {
				errs[w] = err
				return
			}
			defer end()
			for k := int(next.Add(1)) - 1; k < n && errs[w] == nil; k = int(next.Add(1)) - 1 {
				errs[w] = do(k)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Simply is a tool that needs nothing of its own.
func Simply(do func(k int) error) func() (func(int) error, func(), error) {
	return func() (func(int) error, func(), error) { return do, func() {}, nil }
}
