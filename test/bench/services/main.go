// Command services is the bench of two-way services: turns of users with a provider that answers at once, beside plain messages from person to
// person through the same router, and what one slow provider among ten does to the other nine. It runs the real program with a real
// disk; provider, users and SMSC are this process. It judges nothing.
//
// A turn is complete when the SMSC has the notification of the reply; handsets do not fetch here. CPU seconds are those of the whole router,
// which for a turn takes a message in, asks the provider, makes a message of its answer, stores and notifies it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

type bench struct {
	ours  string
	dir   string
	quick bool
	round int
}

func main() {
	b := &bench{}
	flag.BoolVar(&b.quick, "quick", false, "fewer and smaller runs: under half a minute")
	flag.StringVar(&b.ours, "mmsrouter", "./mmsrouter", "the router's program (make build)")
	dir := flag.String("dir", "", "folder of the data, on the disk to measure; empty: a temporary one")
	rounds := flag.Int("rounds", 3, "interleaved rounds")
	flag.Parse()
	if err := b.run(*dir, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(dir string, rounds int) (err error) {
	if b.ours, err = filepath.Abs(b.ours); err != nil {
		return err
	}
	if _, err := os.Stat(b.ours); err != nil {
		return fmt.Errorf("no program to measure (make build): %w", err)
	}
	if b.dir, err = os.MkdirTemp(dir, "bench-services"); err != nil {
		return err
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.quick {
		rounds = 1
	}
	fmt.Println(measure.Machine())
	for _, t := range []func(int) ([]*measure.Table, error){b.turns, b.neighbours} {
		tables, err := t(rounds)
		for _, t := range tables {
			fmt.Println()
			t.Print(os.Stdout)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
