// Command services is the bench of two-way services: turns of users with a provider that answers at once, beside plain messages from person to
// person through the same router, and what one slow provider among ten does to the other nine. It runs the real program with a real
// disk; provider, users and SMSC are this process. It judges nothing.
//
// A turn is complete when the SMSC has the notification of the reply; handsets do not fetch here. CPU seconds are those of the whole router,
// which for a turn takes a message in, asks the provider, makes a message of its answer, stores and notifies it.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

type bench struct{ measure.Bench }

func main() {
	b := &bench{}
	b.Flags("under half a minute")
	flag.Parse()
	if err := b.Run(measure.Plan{Name: "turns", Tables: b.turns}, measure.Plan{Name: "neighbours", Tables: b.neighbours}); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
