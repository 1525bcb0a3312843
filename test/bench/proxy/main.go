// Command proxy is the proxy's bench: the router beside nginx, HAProxy and Go's own ReverseProxy, in one
// run, on the same sink and load. It prints tables and judges nothing.
//
// What is the same for all: two MMSCs, 32 clients, each message with its own subscriber and transaction id
// (the router's duplicate fence is on), the proxy pinned to one processor, load and sink to another. CPU
// seconds are user and system of the proxy's processes, from /proc. Rounds are interleaved: every peer has
// its turn in each round, so that a noisy moment hits all.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
)

type bench struct {
	ours, self, scratch, only string
	quick                     bool
	rounds                    int
	proxyCPU, otherCPU        string
	sinks                     []string
	skipped                   []string
}

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "sink":
			return sinkMain(args[1:])
		case "load":
			return loadMain(args[1:])
		case "goproxy":
			return goproxyMain(args[1:])
		case "fakemmsc":
			os.Exit(fakemmsc.Main(args[1:], os.Stdout, os.Stderr))
		}
	}
	b := &bench{}
	fs := flag.NewFlagSet("proxy", flag.ContinueOnError)
	fs.BoolVar(&b.quick, "quick", false, "two sizes, two short rounds: under a minute")
	fs.IntVar(&b.rounds, "rounds", 3, "interleaved rounds")
	fs.StringVar(&b.ours, "mmsrouter", "./mmsrouter", "the router's program (make build)")
	fs.StringVar(&b.only, "only", "", "only peers with one of these words in their name, by commas")
	tables := fs.String("tables", "", "only these tables, by commas: size, oneshot, logs, memory, stream, kill, syscalls")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return b.all(*tables)
}

func (b *bench) all(tables string) (err error) {
	if b.ours, err = filepath.Abs(b.ours); err != nil {
		return err
	}
	if _, err := os.Stat(b.ours); err != nil {
		b.skipped = append(b.skipped, "mmsrouter (no "+b.ours+": make build)")
		b.ours = ""
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.scratch, err = os.MkdirTemp("", "bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.scratch)
	b.proxyCPU, b.otherCPU = measure.Processors()
	for range 2 {
		a, err := measure.FreeAddr()
		if err != nil {
			return err
		}
		b.sinks = append(b.sinks, a)
	}
	sink, err := measure.Start(measure.Options{CPU: b.otherCPU}, b.self, "sink", "-a", b.sinks[0], "-b", b.sinks[1])
	if err != nil {
		return err
	}
	defer sink.Stop()
	for _, a := range b.sinks {
		if err := sink.WaitListening(a, 10*time.Second); err != nil {
			return err
		}
	}
	peers := b.peers()
	fmt.Printf("%s; proxy on processor %q, load and sink on %q\n", measure.Machine(), b.proxyCPU, b.otherCPU)
	for _, s := range b.skipped {
		fmt.Printf("skip: %s is not installed\n", s)
	}
	for _, t := range b.plan(tables) {
		t.table(peers).Print(os.Stdout)
	}
	return nil
}

// load runs a load process to its end.
func (b *bench) load(p loadPlan) (loadResult, error) {
	r, err := measure.Result[loadResult](b.otherCPU, b.self, "load", "-addr", p.Addr, "-size", strconv.Itoa(p.Size), "-n", strconv.Itoa(p.N), "-conns", strconv.Itoa(p.Conns),
		"-rate", strconv.Itoa(p.Rate), "-first", strconv.Itoa(p.First), fmt.Sprintf("-oneshot=%v", p.OneShot))
	if err != nil {
		return r, fmt.Errorf("load: %w", err)
	}
	return r, nil
}
