package app

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/drill/lease"
	"github.com/mmsrouter/mmsrouter/proxy"
)

// drillName is who drains on a drill's behalf.
const drillName = "drill"

// makeDrill makes what lends this router to drills. It asks the rest of App only when a drill has a lease.
func (a *App) makeDrill(c *Config) (err error) {
	o := lease.Options{Config: c.Drill, Node: c.Node.Name, Metrics: a.reg, Log: a.room("drill"), Drain: a.drillDrain, Targets: func() map[string]bool {
		all := map[string]bool{}
		s := a.board.Load()
		for i := range s.MMSCs {
			m := &s.MMSCs[i]
			all[m.Name] = m.Up && m.Drain == nil && !m.Spare
		}
		return all
	}}
	if a.cluster != nil {
		o.Sever = a.cluster.Sever
	}
	a.leases, err = lease.New(o)
	return err
}

// drillDrain begins or lifts (lifetime 0) a drain on a drill's behalf. It never takes an operator's word away.
func (a *App) drillDrain(router bool, name string, lifetime time.Duration) error {
	held, is := a.view.Drained(kindOf(router), name)
	why := admin.Reason{By: drillName, Reason: "a failover drill"}
	switch {
	case lifetime == 0 && (!is || held.By != drillName):
		return nil // it has ended by itself, or somebody else has drained it since
	case lifetime == 0:
		_, err := operators{a}.Undrain(router, name, why)
		return err
	case is && held.By != drillName:
		return fmt.Errorf("%s is drained already, by %s", name, held.By)
	}
	return operators{a}.Drain(router, name, why, lifetime)
}

// drilling says in words which drill holds a lease; "": none.
func (a *App) drilling() string {
	h := a.leases.Held()
	if h == nil {
		return ""
	}
	scope := "its own messages"
	if h.RealTraffic {
		scope = "real traffic"
	}
	return fmt.Sprintf("%s of %s, on %s, until %s: %v", h.Scenario, h.By, scope, h.Until.UTC().Format(time.RFC3339), h.Faults)
}

// drillLeaveOut says which addresses the answer to a marked query leaves out: those of this router.
func (a *App) drillLeaveOut(mark string, addr netip.Addr) bool {
	zones, err := a.cfg.Load().DNS.BoardZones()
	if err != nil {
		return false // Validate has read them
	}
	for _, z := range zones {
		for _, own := range z.Addresses {
			if own.IP == addr {
				return a.leases.LeaveOut(mark)
			}
		}
	}
	return false
}

// drillFaults gives the proxy what drills break, in the proxy's words.
type drillFaults struct{ leases *lease.Leases }

// Active implements proxy.Faults.
func (d drillFaults) Active() bool { return d.leases.Active() }

// Befall implements proxy.Faults.
func (d drillFaults) Befall(at *proxy.Attempted) proxy.Befall {
	return d.leases.Befall(at.MMSC, &lease.Message{PDU: at.PDU, Transaction: at.Transaction, Sender: at.Sender, Recipients: at.Recipients, All: at.All})
}
