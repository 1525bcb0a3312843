package router

import (
	"math"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// anyOrder fills d.Order: tier by tier, in each tier the balanced choice first, then the balanced choice
// among those that are left, so that a dead MMSC's load is spread as the live load is. Weight 0 gets
// nothing new.
func anyOrder(d *Decision, s *Snapshot, r *Request, l Load, b Balance, allowed func(int) bool) {
	tier := math.MinInt
	for {
		next := math.MaxInt
		for i := range s.MMSCs {
			if t := s.MMSCs[i].Tier; t > tier && t < next && allowed(i) {
				next = t
			}
		}
		if next == math.MaxInt {
			return
		}
		tier = next
		group := d.scratch[:0]
		for i := range s.MMSCs {
			m := &s.MMSCs[i]
			if m.Tier != tier || !allowed(i) {
				continue
			}
			if m.Qualifies() && m.Weight > 0 {
				group = append(group, i)
				continue
			}
			switch {
			case !d.Explain:
			case m.Drain != nil:
				d.say("%s: draining, gets nothing new", m.Name)
			case !m.Up:
				d.say("%s: down: %s", m.Name, m.Why)
			default:
				d.say("%s: weight 0, gets nothing new", m.Name)
			}
		}
		d.scratch = group
		if len(group) == 0 {
			continue
		}
		arrange(s, group, r, l, b)
		if d.Explain {
			d.say("tier %d: %s first by %s", tier, s.MMSCs[group[0]].Name, b)
		}
		d.Order = append(d.Order, group...)
	}
}

// arrange puts the group into the order in which it is tried.
func arrange(s *Snapshot, group []int, r *Request, l Load, b Balance) {
	cycle := l.Turn // each place in the order walks round on its own, n times slower than the one before it
	for place := range len(group) - 1 {
		left := group[place:]
		k := pick(s, left, r, l, b, cycle, place)
		chosen := left[k]
		copy(left[1:k+1], left[:k]) // the others keep their order
		left[0] = chosen
		cycle /= uint64(len(left))
	}
}

// searchOrder fills Order with the MMSCs that are up (a draining one still holds its messages) and
// Missing with those that are not. The subscriber's hash decides who is asked first, so that one
// mailbox stays at one MMSC.
func searchOrder(d *Decision, s *Snapshot, r *Request, allowed func(int) bool) {
	for i := range s.MMSCs {
		m := &s.MMSCs[i]
		if !allowed(i) && !m.Local {
			continue
		}
		if m.Up {
			d.Order = append(d.Order, i)
			continue
		}
		if m.Spare {
			continue // an embedded spare that does not run holds nothing for anybody
		}
		d.Missing = append(d.Missing, i)
		if d.Explain {
			d.say("%s might hold it but is down: %s", m.Name, m.Why)
		}
	}
	if r.Subscriber == "" || len(d.Order) < 2 {
		return
	}
	best, at := -1.0, 0
	for k, i := range d.Order {
		if v := score(r.Subscriber, s.MMSCs[i].Name, 1); v > best {
			best, at = v, k
		}
	}
	d.Order[0], d.Order[at] = d.Order[at], d.Order[0]
}

// weight is the share of an MMSC in hundredths, with slow start.
func weight(m *MMSC, b Balance) uint64 {
	w, ramp := uint64(m.Weight), uint64(m.Ramp)
	if b == RoundRobin {
		w = 1
	}
	if ramp == 0 || ramp > 100 {
		ramp = 100
	}
	return w * ramp
}

// pick chooses the position in group, of at least two, of the MMSC that comes at this place of the order.
func pick(s *Snapshot, group []int, r *Request, l Load, b Balance, cycle uint64, place int) int {
	switch {
	case b == BySender && (r.Subscriber != "" || r.Sender != ""):
		key := r.Subscriber
		if key == "" {
			key = r.Sender
		}
		best, at := -1.0, 0
		for k, i := range group {
			// slow start does not move senders to and fro: the plain weight counts
			if v := score(key, s.MMSCs[i].Name, s.MMSCs[i].Weight); v > best {
				best, at = v, k
			}
		}
		return at
	case b == LeastOutstanding && l.Outstanding != nil:
		best, at := math.Inf(1), 0
		for n := range group {
			k := int((cycle + uint64(n)) % uint64(len(group))) // ties go round
			i := group[k]
			if v := float64(l.Outstanding(i)+1) / float64(weight(&s.MMSCs[i], b)); v < best {
				best, at = v, k
			}
		}
		return at
	}
	return inTurn(s, group, l.Turn, b, cycle, place)
}

// inTurn walks the group by turn; unequal weights are met by a golden-ratio sequence, which keeps every
// stretch of turns close to the exact shares without any state. The places behind the first walk by √2,
// whose sequence is independent of the first's: else the second choice would follow from the first.
func inTurn(s *Snapshot, group []int, turn uint64, b Balance, cycle uint64, place int) int {
	var total uint64
	first, equal := weight(&s.MMSCs[group[0]], b), true
	for _, i := range group {
		w := weight(&s.MMSCs[i], b)
		total += w
		equal = equal && w == first
	}
	if equal {
		return int(cycle % uint64(len(group)))
	}
	const golden, root2 = 0x9E3779B97F4A7C15, 0x6A09E667F3BCC908 // 2^64 / φ, 2^64 (√2 - 1)
	step := uint64(golden)
	if place > 0 {
		step = root2 | 1
	}
	at, _ := bits.Mul64(turn*step, total)
	for k, i := range group {
		w := weight(&s.MMSCs[i], b)
		if at < w {
			return k
		}
		at -= w
	}
	return len(group) - 1
}

// score is the weighted rendezvous hash: the highest wins, and only a lost MMSC's keys move.
func score(key, name string, weight int) float64 {
	var h xxhash.Digest
	h.Reset()
	_, _ = h.WriteString(name) // a hash never fails to take octets
	_, _ = h.WriteString("\x00")
	_, _ = h.WriteString(key)
	u := (float64(h.Sum64()>>11) + 0.5) / (1 << 53)
	return float64(weight) / -math.Log(u)
}
