// Command store is the bench of the embedded MMSC: durable submissions, how they bear what is stored already,
// retrievals, and memory under slow uploads. It runs the real program with a real disk and prints tables; it
// judges nothing.
//
// CPU seconds are those of the whole router, MM1 front door included. The yardstick is the disk itself: the same
// octets written to one file and synced (fdatasync) after each batch of sixteen messages.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
)

type bench struct {
	measure.Bench

	// Of table submissions.
	sizes, senders []int
	messages       int // a column; 0: as many as make a second or two
}

func main() {
	b := &bench{}
	b.Flags("under a minute")
	sizes := flag.String("sizes", "30000,300000", "sizes of the messages in table submissions")
	senders := flag.String("senders", "1,16,64", "senders in table submissions")
	flag.IntVar(&b.messages, "messages", 0, "messages a column in table submissions; 0: as many as make a second or two")
	flag.Parse()
	b.sizes, b.senders = numbers(*sizes), numbers(*senders)
	if err := b.Run(measure.Plan{Name: "submissions", Tables: b.submissions}, measure.Plan{Name: "growth", Tables: b.growth},
		measure.Plan{Name: "retrievals", Tables: b.retrievals}, measure.Plan{Name: "memory", Tables: b.memory}); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// numbers reads a list; what is none is left out.
func numbers(list string) (out []int) {
	for s := range strings.SplitSeq(list, ",") {
		if n, err := strconv.Atoi(s); err == nil && n > 0 {
			out = append(out, n)
		}
	}
	return out
}

func kilobytes(n int) string { return strconv.Itoa(n/1000) + " KB" }

// submissions is messages a second and CPU by size and senders, beside the bare disk.
func (b *bench) submissions() ([]*measure.Table, error) {
	var cols []string
	for _, size := range b.sizes {
		for _, n := range b.senders {
			cols = append(cols, fmt.Sprintf("%s, %d", kilobytes(size), n))
		}
	}
	rate := measure.NewTable("Durable submissions, by size and senders", "messages a second", "write + fdatasync, batches of 16", cols...)
	cpu := measure.NewTable("of these, CPU of the router", "CPU s per 1,000 messages", "", cols...)
	written := measure.NewTable("of these, written to the disk", "octets per octet accepted", "", cols...)
	for range b.Rounds {
		for _, size := range b.sizes {
			r, err := b.start(false)
			if err != nil {
				return nil, err
			}
			for _, s := range b.senders {
				if err := b.column(r, rate, cpu, written, fmt.Sprintf("%s, %d", kilobytes(size), s), size, s); err != nil {
					r.stop()
					return nil, err
				}
			}
			r.stop()
		}
	}
	return []*measure.Table{rate, cpu, written}, nil
}

// column fills a column of table submissions. The bare disk is measured before and after, since others may use it too; the mean counts.
func (b *bench) column(r *router, rate, cpu, written *measure.Table, col string, size, senders int) error {
	n := b.messages
	if n == 0 {
		n = max(map[bool]int{true: 1500, false: 6000}[b.Quick]*30_000/size, 300)
		if senders == 1 {
			n /= 4
		}
	}
	before, err := b.disk(size, n)
	if err != nil {
		return err
	}
	wrote := measure.Written(r.Pid())
	took, spent, err := r.submit(n, senders, size)
	if err != nil {
		return err
	}
	wrote = measure.Written(r.Pid()) - wrote
	after, err := b.disk(size, n)
	if err != nil {
		return err
	}
	rate.Add("write + fdatasync, batches of 16", col, (before+after)/2)
	rate.Add("mmsrouter", col, float64(n)/took.Seconds())
	cpu.Add("mmsrouter", col, spent.Seconds()*1000/float64(n))
	written.Add("mmsrouter", col, float64(wrote)/float64(n*size))
	return nil
}

// disk is what the disk alone takes: messages a second.
func (b *bench) disk(size, n int) (float64, error) {
	f, err := os.CreateTemp(b.Dir, "disk")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	buf := make([]byte, size)
	began := time.Now()
	for i := 1; i <= n; i++ {
		if _, err := f.Write(buf); err != nil {
			return 0, err
		}
		if i%16 == 0 || i == n {
			if err := fdatasync(f); err != nil {
				return 0, err
			}
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// growth is the same submissions on a store that holds ever more.
func (b *bench) growth() ([]*measure.Table, error) {
	steps := []int{0, 100_000, 1_000_000}
	n := 4000
	if b.Quick {
		steps, n = []int{0, 5_000}, 1000
	}
	var cols []string
	for _, s := range steps {
		cols = append(cols, strconv.Itoa(s)+" stored")
	}
	rate := measure.NewTable("Submissions of 30 KB by 16 senders on what is stored already", "messages a second", "", cols...)
	cpu := measure.NewTable("of these, CPU of the router", "CPU s per 1,000 messages", "", cols...)
	r, err := b.start(false)
	if err != nil {
		return nil, err
	}
	defer r.stop()
	stored := 0
	for i, s := range steps {
		if s > stored {
			if _, _, err := r.submit(s-stored, 64, 600); err != nil {
				return nil, err
			}
			stored = s
		}
		for range b.Rounds {
			took, spent, err := r.submit(n, 16, 30_000)
			if err != nil {
				return nil, err
			}
			stored += n
			rate.Add("mmsrouter", cols[i], float64(n)/took.Seconds())
			cpu.Add("mmsrouter", cols[i], spent.Seconds()*1000/float64(n))
		}
	}
	return []*measure.Table{rate, cpu}, nil
}

// retrievals is GETs of messages that wait, whose locations the notification hook has told.
func (b *bench) retrievals() ([]*measure.Table, error) {
	rate := measure.NewTable("Retrievals by 16 handsets", "messages a second", "", "30 KB", "300 KB")
	cpu := measure.NewTable("of these, CPU of the router", "CPU s per 1,000 messages", "", "30 KB", "300 KB")
	for range b.Rounds {
		for _, size := range []int{30_000, 300_000} {
			n := 600
			if b.Quick {
				n = 200
			}
			r, err := b.start(true)
			if err != nil {
				return nil, err
			}
			took, spent, err := r.retrieve(n, 16, size)
			r.stop()
			if err != nil {
				return nil, err
			}
			rate.Add("mmsrouter", kilobytes(size), float64(n)/took.Seconds())
			cpu.Add("mmsrouter", kilobytes(size), spent.Seconds()*1000/float64(n))
		}
	}
	return []*measure.Table{rate, cpu}, nil
}

// memory is the highest resident set while many slow uploads are under way at once.
func (b *bench) memory() ([]*measure.Table, error) {
	n, size, rate := 1000, 1_000_000, 250_000
	if b.Quick {
		n, size = 200, 300_000
	}
	title := fmt.Sprintf("%d uploads of %s at once, %s/s each", n, kilobytes(size), kilobytes(rate))
	t := measure.NewTable(title, "", "", "peak memory, MB", "before, MB", "failed")
	r, err := b.start(false)
	if err != nil {
		return nil, err
	}
	defer r.stop()
	t.Add("mmsrouter", "before, MB", float64(measure.Resident(r.Pid()))/1e6)
	failed := r.slow(n, size, rate)
	t.Add("mmsrouter", "peak memory, MB", float64(measure.Peak(r.Pid()))/1e6)
	t.Add("mmsrouter", "failed", float64(failed))
	return []*measure.Table{t}, nil
}
