//go:build linux

// Command dns is the name server's bench: ours beside NSD and Knot, in one run, on the same zone, questions and load. It prints
// tables and judges nothing.
//
// What is the same for all: one A record, asked for over UDP with EDNS; minimal answers; no rate limit (ours has none for loopback
// anyway); the server pinned to one processor with one worker, the load to another. The load keeps a number of questions
// outstanding, so that the server always finds some waiting: saturation. CPU seconds are user and system of the server's processes.
// Rounds are interleaved: every peer has its turn in each round, so that a noisy moment hits all.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

type bench struct {
	ours, self, scratch, only string
	rounds, queries, window   int
	sockets                   int
	segments                  bool
	serverCPU, loadCPU        string
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
	b := &bench{}
	quick := false
	fs := flag.NewFlagSet("dns", flag.ContinueOnError)
	fs.BoolVar(&quick, "quick", false, "two short rounds: under 20 seconds")
	fs.IntVar(&b.rounds, "rounds", 3, "interleaved rounds")
	fs.IntVar(&b.queries, "n", 2000000, "queries in a round")
	fs.IntVar(&b.window, "window", 1024, "queries outstanding")
	fs.IntVar(&b.sockets, "sockets", 32, "sockets that the load asks from: clients")
	fs.BoolVar(&b.segments, "segments", false, "the load sends by UDP segmentation: cheaper for it, so that a faster server is still kept busy")
	fs.StringVar(&b.ours, "mmsrouter", "./mmsrouter", "the router's program (make build)")
	fs.StringVar(&b.only, "only", "", "only peers with one of these words in their name, by commas")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if quick {
		b.rounds, b.queries = 2, 300000
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
	if runtime.NumCPU() > 1 {
		if _, err := exec.LookPath("taskset"); err == nil {
			b.serverCPU, b.loadCPU = "0", "1"
		}
	}
	fmt.Printf("%s; server on processor %q, load on %q\n", measure.Machine(), b.serverCPU, b.loadCPU)
	cpu := measure.NewTable(fmt.Sprintf("CPU seconds per million A queries with EDNS, %d outstanding from %d sockets, %d rounds of %d", b.window, b.sockets, b.rounds, b.queries),
		"CPU s per million", "NSD", "all", "user", "system")
	other := measure.NewTable("the same rounds", "", "", "thousand answers a second", "lost", "peak memory, MiB")
	running := b.start()
	defer func() {
		for _, p := range running {
			p.proc.Stop()
		}
	}()
	for round := range b.rounds + 1 { // the first warms up and is not counted
		for _, p := range running {
			if err := b.round(p, round > 0, cpu, other); err != nil {
				cpu.Note(p.name, "all", "failed: "+err.Error())
			}
		}
	}
	cpu.Print(os.Stdout)
	other.Print(os.Stdout)
	return nil
}

// server is a peer that runs.
type server struct {
	name, addr string
	proc       *measure.Process
}

// start starts every peer that is there and answers.
func (b *bench) start() (running []server) {
	for i, p := range b.peers() {
		if !b.wanted(p.name) {
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

func (b *bench) wanted(name string) bool {
	if b.only == "" {
		return true
	}
	for w := range strings.SplitSeq(b.only, ",") {
		if strings.Contains(name, w) {
			return true
		}
	}
	return false
}

// round loads one server and notes what it cost.
func (b *bench) round(p server, counted bool, cpu, other *measure.Table) error {
	n := b.queries
	if !counted {
		n /= 10
	}
	before := measure.Total(p.proc.Pid())
	user, system, err := measure.CPU(p.proc.Pid())
	if err != nil {
		return err
	}
	r, err := b.load(p.addr, n)
	if err != nil {
		return err
	}
	spent := measure.Total(p.proc.Pid()) - before
	user2, system2, err := measure.CPU(p.proc.Pid())
	if err != nil {
		return err
	}
	if !counted {
		return nil
	}
	perMillion := func(d time.Duration) float64 { return d.Seconds() * 1e6 / float64(r.Answers) }
	cpu.Add(p.name, "all", perMillion(spent))
	cpu.Add(p.name, "user", perMillion(user2-user))
	cpu.Add(p.name, "system", perMillion(system2-system))
	other.Add(p.name, "thousand answers a second", float64(r.Answers)/r.Seconds/1000)
	other.Add(p.name, "lost", float64(r.Lost))
	other.Add(p.name, "peak memory, MiB", float64(measure.Peak(p.proc.Pid()))/(1<<20))
	return nil
}

// load runs a load process to its end.
func (b *bench) load(addr string, n int) (r loadResult, err error) {
	name, args := b.self, []string{"load", "-addr", addr, "-n", strconv.Itoa(n), "-window", strconv.Itoa(b.window),
		"-sockets", strconv.Itoa(b.sockets), fmt.Sprintf("-segments=%v", b.segments)}
	if b.loadCPU != "" {
		name, args = "taskset", append([]string{"-c", b.loadCPU, b.self}, args...)
	}
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("load: %w", err)
	}
	return r, json.Unmarshal(out, &r)
}
