// Command push is the bench of notifications: pushes through the push proxy gateway beside Kannel's, notifications of the
// embedded MMSC by direct SMPP, and thousands of phones in one process that fetch on their own. It runs the real
// program with a real disk against an SMSC of its own and counts what arrives there; it judges nothing.
//
// CPU seconds are those of the whole router, or of bearerbox and wapbox together. Kannel takes a push into its memory
// before it answers 1001, mmsrouter onto the disk; nobody logs. Lost and doubled are counted by number at the SMSC,
// where each short message is put together and read.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
	tables := flag.String("tables", "gateways,notifications,phones", "which tables to print")
	flag.Parse()
	if err := b.run(*dir, *rounds, strings.Split(*tables, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(dir string, rounds int, names []string) (err error) {
	known := map[string]func(int) ([]*measure.Table, error){"gateways": b.gateways, "notifications": b.notifications, "phones": b.phones}
	for _, name := range names {
		if known[name] == nil {
			return fmt.Errorf("-tables: no table %q", name)
		}
	}
	if b.ours, err = filepath.Abs(b.ours); err != nil {
		return err
	}
	if _, err := os.Stat(b.ours); err != nil {
		return fmt.Errorf("no program to measure (make build): %w", err)
	}
	if b.dir, err = os.MkdirTemp(dir, "bench-push"); err != nil {
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
	for _, name := range names {
		tables, err := known[name](rounds)
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

// folder makes one for a program's run.
func (b *bench) folder() (string, error) {
	b.round++
	dir := filepath.Join(b.dir, fmt.Sprint(b.round))
	return dir, os.Mkdir(dir, 0o700)
}
