package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

const yardstick = "nginx, buffers, replays"

type plan struct {
	name  string
	table func(peers []peer) *measure.Table
}

func (b *bench) plan(only string) (list []plan) {
	type load struct {
		label string
		size  int
		n     int
	}
	sizes := []load{{"30 KB", 30_000, 20_000}, {"100 KB", 100_000, 12_000}, {"300 KB", 300_000, 6000}, {"1 MB", 1_000_000, 2500}}
	one := load{"100 KB", 100_000, 10_000}
	slow := 300
	if b.quick {
		sizes = []load{{"30 KB", 30_000, 4000}, {"300 KB", 300_000, 1000}}
		one.n, b.rounds, slow = 2000, 2, 100
	}
	rounds := func(quick int) int {
		if b.quick {
			return quick
		}
		return b.rounds
	}
	cpu := func(title string, logs, oneshot bool, loads []load) func([]peer) *measure.Table {
		return func(peers []peer) *measure.Table {
			t := measure.NewTable(title, "CPU s per 10,000 messages", yardstick)
			n := b.rounds
			if oneshot {
				n = rounds(1)
			}
			for range n {
				for _, l := range loads {
					for _, p := range peers {
						err := b.run(p, conditions{size: l.size, logs: logs}, func(proc *measure.Process, c conditions) error {
							v, note, err := b.cost(proc, c, loadPlan{Addr: c.listen, Size: l.size, N: l.n, Conns: 32, OneShot: oneshot})
							if err != nil {
								return err
							}
							t.Add(p.name, l.label, v)
							if note != "" {
								t.Note(p.name, l.label, note)
							}
							return nil
						})
						if err != nil {
							t.Note(p.name, l.label, "no figure: "+firstLine(err))
						}
					}
				}
			}
			return t
		}
	}
	list = append(list,
		plan{"size", cpu("Forwarding, 32 keep-alive clients, logging off", false, false, sizes)},
		plan{"oneshot", cpu("A connection per message, 32 clients, logging off", false, true, []load{one})},
		plan{"memory", func(peers []peer) *measure.Table { return b.memory(b.fewer(peers), slow) }},
		plan{"stream", b.stream},
		plan{"kill", func(peers []peer) *measure.Table { return b.kill(b.fewer(peers)) }})
	if !b.quick || strings.Contains(only, "syscalls") {
		list = append(list, plan{"syscalls", b.syscalls})
	}
	if !b.quick || strings.Contains(only, "logs") {
		list = append(list, plan{"logs", cpu("Forwarding, 32 keep-alive clients, a log line per message", true, false, sizes)})
	}
	if only == "" {
		return list
	}
	var some []plan
	for _, p := range list {
		for _, w := range strings.Split(only, ",") {
			if w == p.name {
				some = append(some, p)
			}
		}
	}
	return some
}

// fewer leaves to a quick run the peers that promise what we promise.
func (b *bench) fewer(peers []peer) (some []peer) {
	for _, p := range peers {
		if !b.quick || p.name == "mmsrouter" || strings.HasSuffix(p.name, ", replays") && !strings.HasPrefix(p.name, "Go") {
			some = append(some, p)
		}
	}
	return some
}

func firstLine(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return s
}

// cost warms a peer up and gives the CPU seconds that 10,000 messages cost.
func (b *bench) cost(proc *measure.Process, c conditions, p loadPlan) (float64, string, error) {
	warm := p
	warm.N, warm.First = max(p.N/20, 64), 0
	if _, err := b.load(warm); err != nil {
		return 0, "", err
	}
	p.First = warm.N
	before := measure.Total(proc.Pid())
	r, err := b.load(p)
	if err != nil {
		return 0, "", err
	}
	spent := measure.Total(proc.Pid()) - before
	note := ""
	if r.Failed > 0 {
		note = fmt.Sprintf("(%d failed: %s)", r.Failed, r.Why)
	}
	if r.Failed == r.Messages {
		return 0, "", fmt.Errorf("all messages failed: %s", r.Why)
	}
	return spent.Seconds() * 10_000 / float64(r.Messages), note, nil
}

// memory: n uploads of 300 KB at the same time, each at 250 kB/s.
func (b *bench) memory(peers []peer, n int) *measure.Table {
	t := measure.NewTable(fmt.Sprintf("%d uploads of 300 KB at once, 250 kB/s each", n), "", yardstick)
	rounds := b.rounds
	if b.quick {
		rounds = 1
	}
	for range rounds {
		for _, p := range peers {
			err := b.run(p, conditions{size: 300_000}, func(proc *measure.Process, c conditions) error {
				idle := measure.Peak(proc.Pid())
				cpu := measure.Total(proc.Pid())
				r, err := b.load(loadPlan{Addr: c.listen, Size: 300_000, N: n, Conns: n, Rate: 250_000})
				if err != nil {
					return err
				}
				t.Add(p.name, "peak memory, MB", float64(measure.Peak(proc.Pid()))/1e6)
				t.Add(p.name, "before, MB", float64(idle)/1e6)
				t.Add(p.name, "failed", float64(r.Failed))
				t.Add(p.name, "CPU s", (measure.Total(proc.Pid()) - cpu).Seconds())
				return nil
			})
			if err != nil {
				t.Note(p.name, "peak memory, MB", "no figure: "+firstLine(err))
			}
		}
	}
	return t
}

// stream: does the MMSC get octets of the body while the client still holds the rest back?
func (b *bench) stream(peers []peer) *measure.Table {
	t := measure.NewTable("An upload of 300 KB that pauses after 100 KB", "", "")
	for _, p := range peers {
		m, err := fakemmsc.New(fakemmsc.Options{})
		if err != nil {
			t.Note(p.name, "the MMSC has octets while the client sends", firstLine(err))
			continue
		}
		err = b.run(p, conditions{size: 300_000, mmscs: []string{m.Addr()}}, func(proc *measure.Process, c conditions) error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			pause := make(chan struct{})
			done := make(chan handsets.Outcome, 1)
			body := pdu.SendReq("0000000001", 300_000)
			go func() {
				h := handsets.New(handsets.Options{Addr: c.listen, Timeout: 10 * time.Second})
				defer h.Close()
				a, err := h.PostHolding(ctx, body, 100_000, pause)
				o, _ := handsets.Judge("0000000001", a, err)
				done <- o
			}()
			wait, stop := context.WithTimeout(ctx, 500*time.Millisecond)
			defer stop()
			yes := m.Await(wait, func(k fakemmsc.Counts) bool { return k.Begun > 0 }) == nil
			close(pause)
			t.Note(p.name, "the MMSC has octets while the client sends", map[bool]string{true: "yes", false: "no"}[yes])
			t.Note(p.name, "outcome", string(<-done))
			return nil
		})
		if err != nil {
			t.Note(p.name, "outcome", "no figure: "+firstLine(err))
		}
		m.Close()
	}
	return t
}

// killStep is a moment of a kill run.
type killStep struct {
	at   time.Duration
	mmsc int  // which one; -1: the run ends
	kill bool // else it comes back
}

// kill: 64 clients, two MMSC processes; one of them is killed and comes back, in the full run then the other.
func (b *bench) kill(peers []peer) *measure.Table {
	steps := []killStep{{time.Second, 0, true}, {2 * time.Second, 0, false}, {7 * time.Second, 1, true}, {8 * time.Second, 1, false}, {10 * time.Second, -1, false}}
	rounds := b.rounds
	if b.quick {
		steps = []killStep{{400 * time.Millisecond, 0, true}, {1200 * time.Millisecond, 0, false}, {2 * time.Second, -1, false}}
		rounds = 1
	}
	t := measure.NewTable(fmt.Sprintf("Messages of 1, 30 and 300 KB from 64 clients; an MMSC (5 ms from storing to answering) is killed (SIGKILL) and returns, %d times a run", len(steps)/2), "", "")
	for range rounds {
		for _, p := range peers {
			if err := b.killOnce(t, p, steps); err != nil {
				t.Note(p.name, "failed", "no figure: "+firstLine(err))
			}
		}
	}
	return t
}

func (b *bench) killOnce(t *measure.Table, p peer, steps []killStep) error {
	dir, err := os.MkdirTemp(b.scratch, "ledger")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var procs []*fakemmsc.Process
	var addrs []string
	for _, name := range []string{"a", "b"} {
		m, err := fakemmsc.StartProcess(name, dir, func(args []string) *exec.Cmd {
			return exec.Command(b.self, append([]string{"fakemmsc", "-delay", "5ms"}, args...)...)
		})
		if err != nil {
			return err
		}
		defer m.Kill()
		procs, addrs = append(procs, m), append(addrs, m.Addr())
	}
	return b.run(p, conditions{size: 300_000, mmscs: addrs}, func(proc *measure.Process, c conditions) error {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			defer cancel()
			start := time.Now()
			for _, s := range steps {
				<-time.After(time.Until(start.Add(s.at)))
				switch {
				case s.mmsc < 0:
				case s.kill:
					procs[s.mmsc].Kill()
				default:
					if err := procs[s.mmsc].Start(); err != nil {
						done <- err
						return
					}
				}
			}
			done <- nil
		}()
		l := handsets.Run(ctx, handsets.Plan{Handset: handsets.Options{Addr: c.listen, Timeout: 60 * time.Second}, Handsets: 64,
			Think: 50 * time.Millisecond, Sizes: []int{1000, 30_000, 300_000}, Prefix: "k"})
		if err := <-done; err != nil {
			return err
		}
		var stores [][]fakemmsc.Record
		for _, m := range procs {
			r, err := m.Records()
			if err != nil {
				return err
			}
			stores = append(stores, r)
		}
		bal := l.Balance(stores...)
		t.Add(p.name, "messages", float64(bal.Sent))
		t.Add(p.name, "failed", float64(bal.Failed+bal.Refused+bal.Transient))
		t.Add(p.name, "lost", float64(len(bal.Lost)))
		t.Add(p.name, "corrupt", float64(len(bal.Corrupt)+len(bal.Strangers)))
		t.Add(p.name, "copies", float64(bal.Copies))
		if n, ok, err := measure.Metric(c.admin, "mmsrouter_proxy_ambiguous_retries_total"); err == nil && ok { // a peer has no metrics
			t.Add(p.name, "ambiguous retries counted", n)
		}
		return nil
	})
}
