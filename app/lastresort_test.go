package app_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/router"
)

// lastResort starts an appliance from the head with when_all_down set.
func lastResort(t *testing.T, what string, m ...*fakeMMSC) *appliance {
	t.Helper()
	text := strings.Replace(head, "mm1: {", "mm1: {when_all_down: "+what+", ", 1)
	rest := "mmsc: {enabled: true, hold: {retry_first: 100ms, retry_max: 100ms}}\n" +
		"detection: {probe: {type: http, interval: 20ms, timeout: 10s, rise: 1, fall: 1}}\n" + mmscs("", m...)
	return startText(t, text+rest)
}

// down makes the MMSC answer 503 to everything, or stops that.
func (m *fakeMMSC) down(is bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = is
}

func TestHoldForwardsWhenAnMMSCIsBack(t *testing.T) {
	one := newMMSC(t)
	one.down(true)
	a := lastResort(t, "hold", one)
	for i := 1; i <= 5; i++ {
		if s, err := a.post(t, fmt.Sprint("H", i)); err != nil || mms.ResponseClass(s) != mms.Ok {
			t.Fatalf("held submission %d: %v %v\n%s", i, s, err, a.log)
		}
	}
	if n := one.count(); n != 0 {
		t.Fatalf("%d messages were taken by an MMSC that is down", n)
	}
	one.down(false)
	waitFor(t, func() error {
		if n := one.count(); n < 5 {
			return fmt.Errorf("%d of 5 have arrived", n)
		}
		return nil
	})
	waitFor(t, func() error {
		f, err := a.api.Fate(t.Context(), "H3")
		if err != nil {
			return err
		}
		for _, one := range f {
			if one.Result == "held: forwarded" && len(one.Attempts) == 1 && one.Attempts[0].MMSC == "mmsc-a" && one.Attempts[0].Phase == "answered" && one.Attempts[0].Octets == one.Octets && one.Octets > 0 && one.Client == "127.0.0.1" && one.Attempts[0].Result == "HTTP 200, Ok" && one.Target == "POST /" &&
				strings.Contains(one.Answer, "message m@a") &&
				one.MessageID != "" && one.MessageID != "m@a" {
				return nil
			}
		}
		return fmt.Errorf("fate does not show both ids: %+v", f)
	})
	if n := one.count(); n != 5 {
		t.Errorf("%d messages arrived, want 5", n)
	}
}

func TestLocalTakesOver(t *testing.T) {
	one := newMMSC(t)
	one.down(true)
	a := lastResort(t, "local", one)
	if s, err := a.post(t, "L1"); err != nil || mms.ResponseClass(s) != mms.Ok {
		t.Fatalf("%v %v\n%s", s, err, a.log)
	}
	waitFor(t, func() error {
		f, err := a.api.Fate(t.Context(), "L1")
		if err == nil && (len(f) == 0 || f[0].Attempts[len(f[0].Attempts)-1].MMSC != router.LocalName) {
			err = fmt.Errorf("%+v", f)
		}
		return err
	})
	list, err := a.api.Messages(t.Context(), admin.MessageFilter{})
	if err != nil || len(list) != 1 {
		t.Errorf("%+v %v", list, err)
	}
}
