package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"
)

// router is a router in a process of its own.
type router struct {
	process
	l              *Lab
	file           string   // its configuration
	mm1, dns, door string   // door: admin
	also           []string // addresses that it has taken over
	console        Console
	notify         *net.UnixConn // what it tells its service manager
	ready          chan struct{} // receives when it says READY=1
}

func (l *Lab) makeRouter(n int) error {
	name := fmt.Sprintf("router-%d", n)
	dir, err := l.folder(name)
	if err != nil {
		return err
	}
	r := &router{process: process{name: name, log: filepath.Join(dir, "log")}, l: l, file: filepath.Join(dir, "mmsrouter.yaml"),
		mm1: l.at(10+n, "mm1"), dns: l.at(10+n, "dns"), door: l.at(10+n, "admin"), ready: make(chan struct{}, 1)}
	r.console = l.o.Console(r.door)
	l.routers = append(l.routers, r)
	if r.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@mmsrouter-" + l.mark + "-" + name, Net: "unixgram"}); err != nil {
		return err
	}
	go r.hear()
	return r.configure()
}

// hear takes in what the router tells its service manager, until the socket is closed.
func (r *router) hear() {
	b := make([]byte, 4096)
	for {
		n, err := r.notify.Read(b)
		if err != nil {
			return
		}
		for word := range strings.SplitSeq(string(b[:n]), "\n") {
			if pid, ok := strings.CutPrefix(word, "MAINPID="); ok {
				if n, err := strconv.Atoi(pid); err == nil && n > 1 {
					r.setPID(n)
				}
			}
			if word == "READY=1" {
				select {
				case r.ready <- struct{}{}:
				default: // nobody waits
				}
			}
		}
	}
}

func (r *router) end() {
	r.process.end()
	if r.notify != nil {
		_ = r.notify.Close() // nobody speaks any more
	}
}

// configure writes the configuration: the lab's own, with the scenario's laid over it.
func (r *router) configure() error {
	l, s := r.l, &r.l.o.Scenario.Lab
	dir := filepath.Dir(r.file)
	var targets []any
	for _, m := range l.mmscs {
		targets = append(targets, map[string]any{"name": m.name, "url": "http://" + m.listen + "/"})
	}
	host, port, err := net.SplitHostPort(r.mm1)
	if err != nil {
		return err
	}
	all := map[string]any{
		"node": map[string]any{"name": r.name, "data": dir},
		"dns": map[string]any{"listen": []string{r.dns}, "short_ttl": "1s",
			"zones": []any{map[string]any{"name": Zone, "ttl": s.TTL.String(), "addresses": []string{host}}}},
		"mm1": map[string]any{"listen": append([]string{r.mm1}, r.also...), "url": "http://" + net.JoinHostPort(Zone, port) + "/",
			"access_log": map[string]any{"path": filepath.Join(dir, "access.log")}},
		"mmscs":     targets,
		"detection": map[string]any{"probe": map[string]any{"type": "http", "path": "/", "interval": "500ms", "timeout": "500ms"}, "slow_start": "0s"},
		"admin":     map[string]any{"listen": r.door},
		"drain":     map[string]any{"max": "20s"},
		"log":       map[string]any{"level": "info", "format": "text"},
		"drill":     map[string]any{"numbers": numbers[:], "lab": true},
	}
	if s.Routers > 1 {
		var join []string
		for n := 1; n <= s.Routers; n++ {
			if at := l.at(10+n, "gossip"); !strings.HasPrefix(at, host+":") {
				join = append(join, at)
			}
		}
		all["cluster"] = map[string]any{"listen": net.JoinHostPort(host, strconv.Itoa(l.ports["gossip"])), "join": join,
			"probe_interval": "300ms", "probe_timeout": "250ms", "suspicion": 3, "sync_interval": "1s", "leave_timeout": "1s"}
	}
	for _, text := range []string{s.Config, l.o.Config} {
		var over map[string]any
		if err := yaml.Unmarshal([]byte(text), &over); err != nil {
			return fmt.Errorf("configuration to lay over: %w", err)
		}
		all = lay(all, over)
	}
	text, err := yaml.Marshal(all)
	if err != nil {
		return err
	}
	return os.WriteFile(r.file, text, 0o600)
}

// lay lays one mapping over another; lists are replaced.
func lay(under, over map[string]any) map[string]any {
	out := maps.Clone(under)
	for k, v := range over {
		above, ok := v.(map[string]any)
		below, also := out[k].(map[string]any)
		if ok && also {
			v = lay(below, above)
		}
		out[k] = v
	}
	return out
}

// startTime is how long a router may take until it is ready.
const startTime = 30 * time.Second

func (l *Lab) startRouters(ctx context.Context) error {
	for _, r := range l.routers {
		if err := r.start(ctx); err != nil {
			return err
		}
	}
	if len(l.routers) < 2 {
		return nil
	}
	// all of them know each other before a drill begins
	limit := time.Now().Add(startTime)
	for _, r := range l.routers {
		if err := r.until(ctx, limit, "know the others", func() bool {
			look, err := r.console.Look(ctx)
			return err == nil && look.Members == len(l.routers)
		}); err != nil {
			return err
		}
	}
	return nil
}

// start runs it and returns when it is ready.
func (r *router) start(ctx context.Context) error {
	if r.alive() { // it may be on its way out
		if err := r.gone(startTime); err != nil {
			return err
		}
	}
	select {
	case <-r.ready: // of the life before
	default:
	}
	cmd := r.l.o.Program("serve", "-c", r.file)
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+r.notify.LocalAddr().String())
	if err := r.run(cmd, nil); err != nil {
		return err
	}
	limit := time.NewTimer(startTime)
	defer limit.Stop()
	select {
	case <-r.ready:
		return nil
	case <-r.ended:
		return fmt.Errorf("%s ended at once; its log: %s", r.name, r.tail())
	case <-limit.C:
		return fmt.Errorf("%s is not ready after %s; its log: %s", r.name, startTime, r.tail())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// until waits for a condition.
func (r *router) until(ctx context.Context, limit time.Time, what string, ok func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-tick.C:
			if now.After(limit) {
				return fmt.Errorf("%s does not %s within %s", r.name, what, startTime)
			}
		}
	}
	return nil
}

// takeOver lets `to` listen on the address of a router that has gone, as keepalived would move it.
func (l *Lab) takeOver(ctx context.Context, from, to *router) error {
	if err := from.gone(startTime); err != nil { // it may be on its way out
		return fmt.Errorf("its address is its own: %w", err)
	}
	l.holds[from.mm1] = to.name
	to.also = append(to.also, from.mm1)
	return to.reload(ctx)
}

// giveBack undoes a takeover before a router returns.
func (l *Lab) giveBack(ctx context.Context, r *router) error {
	holder := l.router(l.holds[r.mm1])
	if holder == nil {
		return nil
	}
	delete(l.holds, r.mm1)
	holder.also = slices.DeleteFunc(holder.also, func(a string) bool { return a == r.mm1 })
	if !holder.alive() {
		return holder.configure()
	}
	return holder.reload(ctx)
}

// reload writes the configuration anew and waits until the router listens where it says.
func (r *router) reload(ctx context.Context) error {
	if err := r.configure(); err != nil {
		return err
	}
	if err := r.signal(syscall.SIGHUP); err != nil {
		return err
	}
	want := append([]string{r.mm1}, r.also...)
	slices.Sort(want)
	return r.until(ctx, time.Now().Add(startTime), "listen on "+strings.Join(want, ", "), func() bool {
		got, err := r.console.Listening(ctx)
		at := slices.Sorted(slices.Values(got["mm1.listen"]))
		return err == nil && slices.Equal(at, want)
	})
}

// upgrade has the program replace the router's process.
func (r *router) upgrade(ctx context.Context) error {
	before := r.currentPID()
	cmd := r.l.o.Program("upgrade", "-c", r.file)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("upgrade %s: %w: %s", r.name, err, strings.TrimSpace(string(out)))
	}
	if err := r.until(ctx, time.Now().Add(startTime), "name its new process", func() bool { return r.currentPID() != before }); err != nil {
		return errors.Join(err, errors.New(strings.TrimSpace(string(out))))
	}
	return nil
}
