package measure

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Router is a run of our program on addresses and a data folder of its own.
type Router struct {
	*Process
	Dir  string // all that it has: configuration, data
	File string // its configuration

	MM1, DNS, PPG, Admin string // where it listens, if the configuration says so
}

// RouterOptions says what to run.
type RouterOptions struct {
	Program string
	Dir     string // there already; Remove takes it away
	CPU     string // as in Options

	MM1, DNS, PPG, Admin string // where it listens; "": a free address

	// Config gives the configuration but for node and admin.
	Config func(r *Router) string
	// Door gives the address that is waited for; nil: MM1's.
	Door func(r *Router) string
}

// StartRouter runs the program and waits until it listens. It logs warnings only where the configuration says nothing of the log.
func StartRouter(o RouterOptions) (*Router, error) {
	r := &Router{Dir: o.Dir, File: filepath.Join(o.Dir, "mmsrouter.yaml"), MM1: o.MM1, DNS: o.DNS, PPG: o.PPG, Admin: o.Admin}
	for _, at := range []*string{&r.MM1, &r.DNS, &r.PPG, &r.Admin} {
		if *at != "" {
			continue
		}
		var err error
		if *at, err = FreeAddr(); err != nil {
			return nil, err
		}
	}
	text := o.Config(r) + fmt.Sprintf("\nnode: {name: bench, data: %q}\nadmin: {listen: %q, token: \"\"}\n", filepath.Join(o.Dir, "data"), r.Admin)
	if !strings.HasPrefix(text, "log:") && !strings.Contains(text, "\nlog:") {
		text += "log: {level: warn}\n"
	}
	if err := os.WriteFile(r.File, []byte(text), 0o600); err != nil {
		return nil, err
	}
	var err error
	if r.Process, err = Start(Options{CPU: o.CPU, Dir: o.Dir}, o.Program, "serve", "-c", r.File); err != nil {
		return nil, err
	}
	door := r.MM1
	if o.Door != nil {
		door = o.Door(r)
	}
	if err := r.WaitListening(door, 20*time.Second); err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

// MM1Alone is a configuration's part: submissions as the name mms.example.net or by address, no zone, no access log.
func (r *Router) MM1Alone() string {
	return fmt.Sprintf("dns: {zones: []}\nmm1: {listen: [%q], url: \"http://%s/\", hosts: [%q, mms.example.net], access_log: {path: \"off\"}}\n", r.MM1, r.MM1, r.MM1)
}

// Remove ends the program and takes its folder away.
func (r *Router) Remove() {
	r.Stop()
	_ = os.RemoveAll(r.Dir) // the bench's own folder goes too
}

// Metric gives the sum of a metric's samples whose labels hold all these texts; found says whether there is any.
func Metric(admin, name string, labels ...string) (sum float64, found bool, err error) {
	c := http.Client{Timeout: 2 * time.Second}
	a, err := c.Get("http://" + admin + "/metrics")
	if err != nil {
		return 0, false, err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, 16<<20))
	if err != nil {
		return 0, false, err
	}
lines:
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(l)
		at := strings.LastIndexByte(l, ' ')
		if at < 0 || l[:at] != name && !strings.HasPrefix(l, name+"{") {
			continue
		}
		for _, want := range labels {
			if !strings.Contains(l[:at], want) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(l[at+1:], 64)
		if err != nil {
			return 0, false, fmt.Errorf("metric %s: %w", l, err)
		}
		sum, found = sum+v, true
	}
	return sum, found, nil
}
