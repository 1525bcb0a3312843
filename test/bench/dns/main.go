//go:build linux

// Command dns is the name server's bench: ours beside NSD and Knot, in one run, on the same zone, questions and load. It prints
// tables and judges nothing.
//
// What is the same for all: one A record, asked for over UDP with EDNS; minimal answers; no rate limit (ours has none for loopback
// anyway); the server pinned to one processor with one worker, the load to another. The load keeps a number of questions
// outstanding, so that the server finds some waiting: saturation, as far as one processor can make it; the tables say how busy the
// server was. CPU seconds are user and system of the server's processes.
// Rounds are interleaved: every peer has its turn in each round, so that a noisy moment hits all.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

type bench struct {
	ours, self, scratch, only string
	rounds, queries           int
	serverCPU, loadCPU        string
	shapes                    []shape
}

// shape is a kind of load.
type shape struct {
	name            string
	clients, window int
	lone            bool // the clients have addresses of their own and share sockets: see crowd
}

// Questions of the busy clients come in runs; of many, one by one. A client is a socket with a port of its own, or an address.
var shapes = []shape{
	{"32 busy clients", 32, 1024, false},
	{"512 clients, one question each", 512, 512, true},
	{"8 clients, one question each", 8, 8, false}, // no saturation: the server often finds but a few, or none
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
		case "load":
			return loadMain(args[1:])
		case "alone":
			return aloneMain(args[1:])
		case "plain":
			return plainMain(args[1:])
		}
	}
	b := &bench{shapes: shapes}
	quick := false
	fs := flag.NewFlagSet("dns", flag.ContinueOnError)
	fs.BoolVar(&quick, "quick", false, "one short round of the first two loads: under ten seconds")
	fs.IntVar(&b.rounds, "rounds", 3, "interleaved rounds")
	fs.IntVar(&b.queries, "n", 2000000, "queries in a round")
	fs.StringVar(&b.ours, "mmsrouter", "./mmsrouter", "the router's program (make build)")
	fs.StringVar(&b.only, "only", "", "only peers with one of these words in their name, by commas")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if quick {
		b.rounds, b.queries, b.shapes = 1, 60000, shapes[:2]
	}
	return b.all()
}

func (b *bench) all() (err error) {
	if b.ours, err = filepath.Abs(b.ours); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.scratch, err = os.MkdirTemp("", "dnsbench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.scratch)
	b.serverCPU, b.loadCPU = measure.Processors()
	fmt.Printf("%s; server on processor %q, load on %q\n", measure.Machine(), b.serverCPU, b.loadCPU)
	t := tables{
		cpu:  measure.NewTable(fmt.Sprintf("CPU seconds per million A queries with EDNS, %d rounds of %d", b.rounds, b.queries), "CPU s per million", "NSD"),
		user: measure.NewTable("of these, in user mode", "CPU s per million", ""),
		busy: measure.NewTable("how busy the server was", "% of its processor", ""),
		rate: measure.NewTable("answers", "thousand a second", ""),
		rest: measure.NewTable("memory and losses", "", "", "peak memory, MiB", "lost in all rounds"),
	}
	running := b.start()
	defer func() {
		for _, p := range running {
			p.proc.Stop()
		}
	}()
	lost := map[string]int{}
	for round := range b.rounds + 1 { // the first warms up and is not counted
		for _, sh := range b.shapes {
			for _, p := range running {
				n, err := b.round(p, sh, round > 0, t)
				if err != nil {
					t.cpu.Note(p.name, sh.name, "failed: "+err.Error())
				}
				lost[p.name] += n
			}
		}
	}
	for _, p := range running {
		t.rest.Add(p.name, "peak memory, MiB", float64(measure.Peak(p.proc.Pid()))/(1<<20))
		t.rest.Add(p.name, "lost in all rounds", float64(lost[p.name]))
	}
	for _, t := range []*measure.Table{t.cpu, t.user, t.busy, t.rate, t.rest} {
		t.Print(os.Stdout)
	}
	return nil
}

type tables struct{ cpu, user, busy, rate, rest *measure.Table }

// server is a peer that runs.
type server struct {
	name, addr string
	proc       *measure.Process
}

// start starts every peer that is there and answers.
func (b *bench) start() (running []server) {
	for i, p := range b.peers() {
		if !measure.Chosen(b.only, p.name) {
			continue
		}
		dir := filepath.Join(b.scratch, strconv.Itoa(i))
		addr, err := measure.FreeAddr()
		if err == nil {
			err = os.Mkdir(dir, 0o755)
		}
		var proc *measure.Process
		if err == nil {
			proc, err = p.start(b, dir, addr)
		}
		if err != nil {
			fmt.Printf("skip: %s: %v\n", p.name, err)
			continue
		}
		if err := waitAnswering(proc, addr); err != nil {
			fmt.Printf("skip: %s: %v\n", p.name, err)
			proc.Stop()
			continue
		}
		running = append(running, server{p.name, addr, proc})
	}
	return running
}

// round loads one server, notes what it cost and gives the number of questions that got no answer.
func (b *bench) round(p server, sh shape, counted bool, t tables) (lost int, err error) {
	n := b.queries
	if !counted {
		n /= 10
	}
	pid := p.proc.Pid()
	before := measure.Total(pid)
	user, _, err := measure.CPU(pid)
	if err != nil {
		return 0, err
	}
	r, err := b.load(p.addr, sh, n)
	if err != nil {
		return 0, err
	}
	spent := measure.Total(pid) - before
	userAfter, _, err := measure.CPU(pid)
	if err != nil || !counted {
		return 0, err
	}
	million := float64(r.Answers) / 1e6
	t.cpu.Add(p.name, sh.name, spent.Seconds()/million)
	t.user.Add(p.name, sh.name, (userAfter-user).Seconds()/million)
	t.busy.Add(p.name, sh.name, 100*spent.Seconds()/r.Seconds)
	t.rate.Add(p.name, sh.name, float64(r.Answers)/r.Seconds/1000)
	return r.Lost, nil
}

// load runs a load process to its end.
func (b *bench) load(addr string, sh shape, n int) (loadResult, error) {
	r, err := measure.Result[loadResult](b.loadCPU, b.self, "load", "-addr", addr, "-n", strconv.Itoa(n), "-window", strconv.Itoa(sh.window), "-sockets", strconv.Itoa(sh.clients), "-lone="+strconv.FormatBool(sh.lone))
	if err != nil {
		return r, fmt.Errorf("load: %w", err)
	}
	return r, nil
}
