package router

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Snapshot is the state of everything a request's fate depends on, at one moment. It is immutable:
// readers keep the pointer for as long as they like.
type Snapshot struct {
	Generation uint64 // grows by one with each change; the DNS serial follows it
	MMSCs      []MMSC // in the order of the configuration; the embedded one last
	Zones      []Zone
	Table      *Table
	byName     map[string]int
}

// Index finds an MMSC by name; -1 if there is none.
func (s *Snapshot) Index(name string) int {
	if i, ok := s.byName[name]; ok {
		return i
	}
	return -1
}

// Zone finds a zone by its lower-case name without the final dot; nil if there is none.
func (s *Snapshot) Zone(name string) *Zone {
	for i := range s.Zones {
		if s.Zones[i].Name == name {
			return &s.Zones[i]
		}
	}
	return nil
}

// Board holds the current Snapshot. DNS, proxy, mmsc and admin read it; healthcheck and app write it.
type Board struct {
	now atomic.Pointer[Snapshot]
	mu  sync.Mutex // serialises writers
}

// NewBoard makes an empty Board whose first generation is base+1. A base that grows from one start
// of the process to the next (seconds since 1970) keeps the DNS serial growing too.
func NewBoard(base uint64) *Board {
	b := &Board{}
	b.now.Store(&Snapshot{Generation: base + 1, Table: emptyTable, byName: map[string]int{}})
	return b
}

// Load gives the current Snapshot.
func (b *Board) Load() *Snapshot { return b.now.Load() }

// change applies f to a copy of the snapshot and publishes it if f says that something changed.
func (b *Board) change(f func(s *Snapshot) bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.now.Load()
	s := *old
	s.MMSCs = append([]MMSC(nil), old.MMSCs...)
	if !f(&s) {
		return false
	}
	s.Generation = old.Generation + 1
	b.now.Store(&s)
	return true
}

// Configure replaces targets, zones and rules. A target that keeps its name and URL keeps its verdict; one
// that keeps its name keeps its drain.
func (b *Board) Configure(targets []Target, zones []Zone, table *Table) error {
	byName := make(map[string]int, len(targets))
	for i, t := range targets {
		if t.Name == "" {
			return fmt.Errorf("mmscs: entry %d has no name", i+1)
		}
		if _, dup := byName[t.Name]; dup {
			return fmt.Errorf("mmscs: two entries are named %q", t.Name)
		}
		byName[t.Name] = i
	}
	if table == nil {
		table = emptyTable
	}
	b.change(func(s *Snapshot) bool {
		rows := make([]MMSC, len(targets))
		for i, t := range targets {
			rows[i].Target = t
			if j, ok := s.byName[t.Name]; ok {
				rows[i].Drain = s.MMSCs[j].Drain
				if s.MMSCs[j].URL == t.URL {
					rows[i].Verdict = s.MMSCs[j].Verdict
				}
			}
		}
		own := make([]Zone, len(zones))
		for i, z := range zones {
			own[i] = Zone{Name: z.Name, Addresses: append([]Address(nil), z.Addresses...)}
		}
		s.MMSCs, s.Zones, s.Table, s.byName = rows, own, table, byName
		return true
	})
	return nil
}

// SetVerdict writes a verdict; false if nothing changed or no target has that name (it may have been
// removed by a reload while its probe was under way).
func (b *Board) SetVerdict(name string, v Verdict) bool {
	return b.change(func(s *Snapshot) bool {
		i, ok := s.byName[name]
		if !ok || s.MMSCs[i].Verdict == v {
			return false
		}
		s.MMSCs[i].Verdict = v
		return true
	})
}

// SetDrain begins (d not nil) or ends (nil) a drain. An unknown name is an error.
func (b *Board) SetDrain(name string, d *Drain) error {
	known := false
	b.change(func(s *Snapshot) bool {
		i, ok := s.byName[name]
		if known = ok; !ok {
			return false
		}
		if (d == nil) == (s.MMSCs[i].Drain == nil) {
			return false // already as asked: the first drain's author and time stay
		}
		s.MMSCs[i].Drain = d
		return true
	})
	if !known {
		return fmt.Errorf("no MMSC is named %q", name)
	}
	return nil
}

// SetAddresses replaces the addresses of one zone (the cluster does this as routers come and go); false if
// nothing changed or there is no such zone.
func (b *Board) SetAddresses(zone string, addrs []Address) bool {
	return b.change(func(s *Snapshot) bool {
		for i := range s.Zones {
			if s.Zones[i].Name != zone {
				continue
			}
			if equalAddresses(s.Zones[i].Addresses, addrs) {
				return false
			}
			zones := append([]Zone(nil), s.Zones...)
			zones[i].Addresses = append([]Address(nil), addrs...)
			s.Zones = zones
			return true
		}
		return false
	})
}

func equalAddresses(a, b []Address) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
