package drill

import (
	"maps"
	"slices"
)

// Action is what a step does.
type Action string

// The actions. What one begins another ends: kill and restart, freeze and thaw, drain and undrain, withdraw and
// restore; heal ends all others.
const (
	Kill      Action = "kill"       // SIGKILL
	Restart   Action = "restart"    // starts what was killed or retired, at its address
	Freeze    Action = "freeze"     // SIGSTOP: connections are taken by the kernel, and nothing answers
	Thaw      Action = "thaw"       // SIGCONT
	Refuse    Action = "refuse"     // connections are refused
	Slow      Action = "slow"       // answers are kept back
	Cut       Action = "cut"        // uploads break after so many octets
	CutAnswer Action = "cut_answer" // the message is stored, its answer breaks after so many octets
	BlackHole Action = "blackhole"  // packets vanish: no connection is made, those there are fall silent
	Heal      Action = "heal"       // ends refuse, slow, cut, cut_answer, blackhole, unshare and partition
	Drain     Action = "drain"      // an MMSC gets no new messages
	Undrain   Action = "undrain"    //
	Withdraw  Action = "withdraw"   // a router leaves the DNS answers and goes on serving
	Restore   Action = "restore"    //
	Unshare   Action = "unshare"    // routers don't hear each other about the drill's messages
	Partition Action = "partition"  // a router and all others don't hear each other
	Retire    Action = "retire"     // a router ends itself by its drain
	Takeover  Action = "takeover"   // another router listens on a router's address, as keepalived would have it
	Upgrade   Action = "upgrade"    // a router is replaced by a new process
)

// Where an action may be done.
type place int

const (
	inLab  place = iota // only what the lab started can be treated like this
	onOwn               // on a running system too, to the drill's own messages and queries alone
	onReal              // on a running system to real traffic too: it can neither double nor lose
)

var actions = map[Action]struct {
	targets []string
	place   place
}{
	Kill:      {[]string{"mmsc", "router"}, inLab},
	Restart:   {[]string{"mmsc", "router"}, inLab},
	Freeze:    {[]string{"mmsc", "router"}, inLab},
	Thaw:      {[]string{"mmsc", "router"}, inLab},
	Refuse:    {[]string{"mmsc"}, onReal},
	Slow:      {[]string{"mmsc"}, onOwn},
	Cut:       {[]string{"mmsc"}, onOwn},
	CutAnswer: {[]string{"mmsc"}, onOwn},
	BlackHole: {[]string{"mmsc"}, onOwn},
	Heal:      {[]string{"mmsc", "router"}, onReal},
	Drain:     {[]string{"mmsc"}, onReal},
	Undrain:   {[]string{"mmsc"}, onReal},
	Withdraw:  {[]string{"router"}, onReal},
	Restore:   {[]string{"router"}, onReal},
	Unshare:   {[]string{"router"}, onOwn},
	Partition: {[]string{"router"}, inLab},
	Retire:    {[]string{"router"}, inLab},
	Takeover:  {[]string{"router"}, inLab},
	Upgrade:   {[]string{"router"}, inLab},
}

// Actions lists them all, sorted.
func Actions() []string {
	var all []string
	for a := range maps.Keys(actions) {
		all = append(all, string(a))
	}
	slices.Sort(all)
	return all
}

// LabOnly says whether a scenario does what only `drill lab` may.
func (s *Scenario) LabOnly() bool {
	return slices.ContainsFunc(s.Steps, func(st Step) bool { return actions[st.Do].place == inLab })
}

// RealTraffic says whether all that a scenario does may befall real traffic.
func (s *Scenario) RealTraffic() bool {
	return !slices.ContainsFunc(s.Steps, func(st Step) bool { return actions[st.Do].place != onReal })
}

// breaks says whether an action takes its target out of service, so that detection has something to find; ends
// whether it ends such a thing.
func (a Action) breaks() bool {
	return slices.Contains([]Action{Kill, Freeze, Refuse, BlackHole, Withdraw, Partition, Retire}, a)
}

func (a Action) ends() bool {
	return slices.Contains([]Action{Restart, Thaw, Heal, Restore}, a)
}
