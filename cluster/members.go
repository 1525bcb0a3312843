package cluster

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// State is how a member stands, as this node sees it.
type MemberState string

// The states.
const (
	Alive    MemberState = "alive"
	Suspect  MemberState = "suspect"  // went away without a farewell: dead, frozen, or behind a cut
	Draining MemberState = "draining" // lives, finishes what it has and takes nothing new
	Left     MemberState = "left"     // said farewell
)

// Living says whether a member can be asked: alive or draining.
func (s MemberState) Living() bool { return s == Alive || s == Draining }

// Member is a router of the cluster.
type Member struct {
	Name        string
	Address     string // its gossip address
	State       MemberState
	Version     string // of its program
	Since       time.Time
	RTT         time.Duration // of the last answered probe from here; 0: none yet
	ClockOffset time.Duration // its wall clock less ours, as the last comparison of states showed
	Self        bool
}

// members is the table of routers. Its lock is taken inside memberlist's (the delegates run under that one), so
// memberlist must never be called while it is held.
type members struct {
	self string
	most int
	now  func() time.Time
	bell bell

	mu     sync.Mutex
	all    map[string]*member
	living atomic.Pointer[[]string] // other members that live, sorted
}

type member struct {
	Member
	node memberlist.Node // our own copy: memberlist changes its own under its own lock
}

// The part of memberlist's node metadata that is ours: version, flags, the program's version.
const (
	metaDraining = 1
	metaLeaving  = 2
)

func encodeMeta(flags byte, version string) []byte {
	return appendString([]byte{wireVersion, flags}, clip(version, 64))
}

// decodeMeta reads what it can: a newer program's metadata has these two at its front too.
func decodeMeta(b []byte) (flags byte, version string) {
	r := reader{b: b}
	if r.byte() == 0 {
		return 0, ""
	}
	flags = r.byte()
	version = r.str(256)
	return flags, clip(version, 64)
}

func newMembers(self string, most int, now func() time.Time) *members {
	m := &members{self: self, most: most, now: now, all: map[string]*member{}}
	m.living.Store(&[]string{})
	return m
}

// seen takes over what memberlist knows of a living node.
func (m *members) seen(n *memberlist.Node) {
	flags, version := decodeMeta(n.Meta)
	state := Alive
	if flags&metaDraining != 0 {
		state = Draining
	}
	m.mu.Lock()
	e := m.all[n.Name]
	if e == nil {
		e = &member{}
		m.all[n.Name] = e
	}
	if e.State != state {
		e.Since = m.now()
	}
	e.node = copyNode(n)
	e.Name, e.State, e.Version, e.Self = n.Name, state, version, n.Name == m.self
	e.Address = n.Address()
	m.changed()
	m.mu.Unlock()
	m.bell.ring()
}

func copyNode(n *memberlist.Node) memberlist.Node {
	c := *n
	c.Addr, c.Meta = slices.Clone(n.Addr), slices.Clone(n.Meta)
	return c
}

// gone notes that memberlist holds a node for dead or has heard its farewell.
func (m *members) gone(n *memberlist.Node) {
	state := Suspect
	if flags, _ := decodeMeta(n.Meta); flags&metaLeaving != 0 {
		state = Left
	}
	m.mu.Lock()
	if e := m.all[n.Name]; e != nil && e.State != state {
		e.State, e.Since, e.RTT = state, m.now(), 0
		m.changed()
	}
	m.mu.Unlock()
	m.bell.ring()
}

// changed remakes the list of the living; the lock is held.
func (m *members) changed() {
	list := make([]string, 0, len(m.all))
	for name, e := range m.all {
		if name != m.self && e.State.Living() {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	m.living.Store(&list)
}

// admits says whether another node may come in.
func (m *members) admits(name string) Reason {
	if !nodeName(name) {
		return ReasonMember
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.all[name]; e != nil && e.State.Living() || name == m.self {
		return ""
	}
	if len(*m.living.Load())+1 >= m.most {
		return ReasonFull
	}
	return ""
}

// forget drops those that went away before the given time, and the longest gone if there are too many.
func (m *members) forget(before time.Time) {
	m.mu.Lock()
	dropped := false
	var away []*member
	for name, e := range m.all {
		switch {
		case e.State.Living():
		case e.Since.Before(before):
			delete(m.all, name)
			dropped = true
		default:
			away = append(away, e)
		}
	}
	if more := len(away) - m.most; more > 0 {
		slices.SortFunc(away, func(a, b *member) int { return a.Since.Compare(b.Since) })
		for _, e := range away[:more] {
			delete(m.all, e.Name)
			dropped = true
		}
	}
	m.mu.Unlock()
	if dropped {
		m.bell.ring()
	}
}

// node gives memberlist's words for a living member.
func (m *members) node(name string) (memberlist.Node, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.all[name]
	if e == nil || !e.State.Living() {
		return memberlist.Node{}, false
	}
	return e.node, true
}

func (m *members) measured(name string, rtt time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.all[name]; e != nil {
		e.RTT = rtt
	}
}

func (m *members) clock(name string, offset time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.all[name]; e != nil {
		e.ClockOffset = offset
	}
}

// list gives the members, this one first, then by name.
func (m *members) list() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]Member, 0, len(m.all))
	for _, e := range m.all {
		all = append(all, e.Member)
	}
	slices.SortFunc(all, func(a, b Member) int {
		if a.Self != b.Self {
			if a.Self {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return all
}

// addresses gives those of the living, and those of members that went away without a farewell: the ones to try.
func (m *members) addresses() (living map[netip.AddrPort]bool, lost []netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	living = map[netip.AddrPort]bool{}
	for _, e := range m.all {
		at, err := netip.ParseAddrPort(e.Address)
		if err != nil {
			continue // memberlist made it of an IP address: it can't fail
		}
		at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		switch {
		case e.State.Living():
			living[at] = true
		case e.State == Suspect:
			lost = append(lost, at)
		}
	}
	return living, lost
}
