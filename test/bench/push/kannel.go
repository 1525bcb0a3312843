package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/test/interop/kannel"
)

// notStarted says that a peer is left out, and why.
type notStarted struct{ err error }

func (n *notStarted) Error() string { return strings.ReplaceAll(n.err.Error(), "\n", "; ") }
func (n *notStarted) Unwrap() error { return n.err }

func kannelHere() error {
	if _, _, err := kannel.Programs(); err != nil {
		return &notStarted{err}
	}
	return nil
}

// wdpBlock is the loopback net on which wapbox's fixed ports are looked for.
const wdpBlock = 94

// startKannel runs bearerbox and wapbox, which log only what ends them and keep no store; a *notStarted
// where they can't be run here.
func (b *bench) startKannel(s *sink) (*ppg, error) {
	dir, err := b.Folder()
	if err != nil {
		return nil, err
	}
	wdp, err := kannel.FreeAddress(wdpBlock)
	if err != nil {
		return nil, &notStarted{err}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	g := &ppg{name: "Kannel", user: "bench", password: "secret"}
	lab, err := kannel.Start(ctx, kannel.Options{Dir: dir, Address: wdp, LogLevel: 4,
		Push: &kannel.Push{SMSC: s.Addr, User: g.user, Password: g.password}})
	if err != nil {
		return nil, &notStarted{err}
	}
	g.url, g.pids = lab.PAP, lab.PIDs()
	g.stop = func() {
		_ = lab.Stop()        // the next gateway is measured all the same
		_ = os.RemoveAll(dir) // the bench's folder goes too
	}
	return g, nil
}
