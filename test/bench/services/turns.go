package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/test/bench/measure"
	"github.com/mmsrouter/mmsrouter/test/bench/traffic"
)

// lost is how long a notification is waited for.
const lost = time.Minute

// took is what n exchanges took, each from its submission to the notification; those that never came are missing.
type took []time.Duration

// part gives the latency that so many of a hundred do not exceed, in milliseconds.
func (t took) part(percent int) float64 {
	if len(t) == 0 {
		return 0
	}
	s := slices.Clone(t)
	slices.Sort(s)
	return float64(s[min(len(s)-1, len(s)*percent/100)]) / 1e6
}

// exchange does n exchanges by so many users at the same time, each beginning the next one when it has been notified. to says where the k-th
// message goes.
func (r *router) exchange(first, n, users int, to func(k int) string) (took, error) {
	var mu sync.Mutex
	var all took
	err := traffic.Each(n, users, traffic.Simply(func(k int) error {
		there := r.sink.expect(number(first + k))
		began := time.Now()
		if err := r.send(first+k, to(first+k)); err != nil {
			return err
		}
		limit := time.NewTimer(lost)
		defer limit.Stop()
		select {
		case at := <-there:
			mu.Lock()
			defer mu.Unlock()
			all = append(all, at.Sub(began))
		case <-limit.C:
		}
		return nil
	}))
	return all, err
}

// turns is users with a provider that answers at once, and beside them persons that write to each other.
func (b *bench) turns() ([]*measure.Table, error) {
	users, n := []int{1, 16, 64}, 3000
	if b.Quick {
		n = 600
	}
	cols := make([]string, len(users))
	for i, k := range users {
		cols[i] = fmt.Sprintf("%d users", k)
	}
	cols[0] = "1 user"
	const plain, turn = "message from person to person", "turn with a service"
	rate := measure.NewTable("A kilobyte in, the notification out by SMPP; each user goes on when notified; the provider answers a kilobyte at once", "a second", plain, cols...)
	cpu := measure.NewTable("of these, CPU of the router", "CPU s per 1,000", plain, cols...)
	slow := measure.NewTable("of these, 99 of 100 took at most", "ms", plain, cols...)
	rest := measure.NewTable("of these, counted at the SMSC; memory of the router after both", "", "", "lost", "unasked for", "peak memory, MB")
	tables := []*measure.Table{rate, cpu, slow, rest}
	for range b.Rounds {
		r, err := b.start()
		if err != nil {
			return tables, err
		}
		kinds := []struct {
			name string
			to   func(int) string
		}{{plain, func(k int) string { return "+" + number(k) }}, {turn, func(int) string { return code(0) }}}
		at, missing := 0, map[string]int{}
		for _, kind := range kinds { // warm-up: connections, caches, memory
			if _, err = r.exchange(at, n/10, 16, kind.to); err != nil {
				break
			}
			at += n / 10
		}
		for i := 0; i < len(users) && err == nil; i++ {
			for _, kind := range kinds {
				n := n
				if users[i] == 1 {
					n /= 10
				}
				before, began := measure.Total(r.Pid()), time.Now()
				var t took
				if t, err = r.exchange(at, n, users[i], kind.to); err != nil {
					break
				}
				rate.Add(kind.name, cols[i], float64(len(t))/time.Since(began).Seconds())
				cpu.Add(kind.name, cols[i], (measure.Total(r.Pid())-before).Seconds()*1000/float64(n))
				slow.Add(kind.name, cols[i], t.part(99))
				missing[kind.name] += n - len(t)
				at += n
			}
		}
		for _, kind := range kinds {
			rest.Add(kind.name, "lost", float64(missing[kind.name]))
		}
		rest.Add("both", "peak memory, MB", float64(measure.Peak(r.Pid()))/1e6)
		r.sink.mu.Lock()
		rest.Add("both", "unasked for", float64(r.sink.extra))
		r.sink.mu.Unlock()
		if err = errors.Join(err, r.stop()); err != nil {
			return tables, err
		}
	}
	return tables, nil
}

// neighbours is ten services, whose tenth has a provider that takes five seconds for each answer and more users than it can serve; the
// other nine have two users each.
func (b *bench) neighbours() ([]*measure.Table, error) {
	const users, pause = 2 * (services - 1), 5 * time.Second
	n, few, many := 1800, 200, 20_000
	if b.Quick {
		n, many = 360, 1000
	}
	cols := []string{"half took at most", "99 of 100", "all", "a second", "lost"}
	t := measure.NewTable(fmt.Sprintf("Turns of nine services, %d users; the tenth service was given so many messages just before, which its provider answers …", users), "ms; a second; number",
		fmt.Sprintf("%d, at once", few), cols...)
	for range b.Rounds {
		for _, c := range []struct {
			backlog int
			slow    time.Duration
			name    string
		}{{few, 0, fmt.Sprintf("%d, at once", few)}, {few, pause, fmt.Sprintf("%d, after 5 s each", few)}, {many, pause, fmt.Sprintf("%d, after 5 s each", many)}} {
			r, err := b.start()
			if err != nil {
				return []*measure.Table{t}, err
			}
			at := n / 10
			nine := func(k int) string { return code(k % (services - 1)) }
			if _, err = r.exchange(0, at, users, nine); err == nil { // warm-up
				r.providers.slow.Store(int64(c.slow))
				err = r.flood(at, c.backlog, code(services-1))
				at += c.backlog
			}
			began := time.Now()
			var all took
			if err == nil {
				all, err = r.exchange(at, n, users, nine)
			}
			for i, v := range []float64{all.part(50), all.part(99), all.part(100), float64(len(all)) / time.Since(began).Seconds(), float64(n - len(all))} {
				t.Add(c.name, cols[i], v)
			}
			if err = errors.Join(err, r.stop()); err != nil {
				return []*measure.Table{t}, err
			}
		}
	}
	return []*measure.Table{t}, nil
}

// flood sends n messages, each of a user of its own, and waits for no answer to them.
func (r *router) flood(first, n int, to string) error {
	return traffic.Each(n, 32, traffic.Simply(func(k int) error { return r.send(first+k, to) }))
}
