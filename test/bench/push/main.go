// Command push is the bench of notifications: pushes through the push proxy gateway beside Kannel's, notifications of the
// embedded MMSC by direct SMPP, and thousands of phones in one process that fetch on their own. It runs the real
// program with a real disk against an SMSC of its own and counts what arrives there; it judges nothing.
//
// CPU seconds are those of the whole router, or of bearerbox and wapbox together. Kannel takes a push into its memory
// before it answers 1001, mmsrouter onto the disk; nobody logs. Lost and doubled are counted by number at the SMSC,
// where each short message is put together and read.
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
	if err := b.Run(measure.Plan{Name: "gateways", Tables: b.gateways}, measure.Plan{Name: "notifications", Tables: b.notifications},
		measure.Plan{Name: "phones", Tables: b.phones}); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
