package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/admin"
	"github.com/mmsrouter/mmsrouter/app/handover"
	"github.com/mmsrouter/mmsrouter/fence"
)

// The versions of what two processes say to each other in an upgrade. What every version keeps is the base: hello, sockets, released. The
// tables (duplicate fence, owners) have a version of their own; where the two share none, the new process begins without them.
const (
	handoverBase   = 1
	handoverTables = 1 // another digest of bodies makes another version, too: XXH3
)

// The names of calls and notes; those of the fence come beside them.
const (
	callHello      = "hello"      // who is there
	callRefused    = "refused"    // the new process can't begin: why
	callSockets    = "sockets"    // give me your sockets; they come as notes before the answer
	callTables     = "tables"     // give me your tables; they come as notes before the answer
	callLeft       = "left"       // how many clients are left?
	noteSocket     = "socket"     // some of them
	noteTable      = "table"      // a piece of them
	noteReleased   = "released"   // what only one process may do is yours now
	noteConnection = "connection" // a client's, between two requests
	noteDue        = "due"        // a message that came in late is in the store: notify its recipients
)

// handoverFile is how the socket is named among what a process inherits.
const handoverFile = "mmsrouter hand-over"

// hello is what both processes say of themselves.
type hello struct {
	Base       int    `json:"base"`
	Tables     []int  `json:"tables"`
	PID        int    `json:"pid"`
	Version    string `json:"version"`
	Node       string `json:"node,omitempty"`
	Generation uint64 `json:"generation,omitempty"` // of the old process's Board: zone serials must not go back
}

// released is what the old process says when it has let go.
type released struct {
	Overrides []byte   `json:"overrides,omitempty"` // what operators said
	Routers   []string `json:"routers,omitempty"`   // gossip addresses of the others
}

// Process starts the process that replaces this one and passes it a file; *tableflip.Upgrader is one.
type Process interface {
	HasParent() bool
	WaitForParent(ctx context.Context) error // until that has ended
	File(name string) (*os.File, error)
	AddFile(name string, f *os.File) error
	Upgrade() error
	Ready() error
	Stop()
}

// Elder is the process before this one, of which it takes over.
type Elder struct {
	link *handover.Link
	said hello
	done chan struct{} // the link's reader has ended
	seen bool          // its end has been noticed; Run's own

	mu      sync.Mutex // guards the following
	sockets map[socketName][]*os.File
	shared  *fence.Shared      // ours; nil: there is none yet
	tables  func(piece []byte) // takes pieces; nil: nobody
	adopt   func(nc net.Conn, from netip.Addr) error
	look    func() // for what is due
	last    released
	free    chan struct{} // closed when it has let go, or gone
	once    sync.Once
}

// elderTime bounds each question to the elder at the start.
const elderTime = 30 * time.Second

// ErrElderGone is Inherit's when the elder ended before it had given its sockets: this process can bind them itself.
var ErrElderGone = errors.New("the process before ended while it was being replaced")

// Inherit takes the elder's sockets over, if this process was started by one; nil: it was not.
func Inherit(p Process, version string) (*Elder, error) {
	if p == nil || !p.HasParent() {
		return nil, nil
	}
	f, err := p.File(handoverFile)
	if err != nil {
		return nil, fmt.Errorf("upgrade: the socket of the process before: %w", err)
	}
	if f == nil {
		return nil, errors.New("upgrade: the process before has given no socket")
	}
	e := &Elder{sockets: map[socketName][]*os.File{}, done: make(chan struct{}), free: make(chan struct{})}
	if e.link, err = handover.Open(f); err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	e.link.Take(noteSocket, e.onSocket)
	e.link.Take(noteTable, e.onTable)
	e.link.Take(noteReleased, e.onReleased)
	e.link.Take(noteConnection, e.onConnection)
	e.link.Take(noteDue, e.onDue)
	hearTwin(e.link, func() *fence.Shared {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.shared
	})
	go func() {
		defer close(e.done)
		_ = e.link.Run(context.Background()) // however it ends: the elder has gone
		e.release()
	}()
	if err := e.greet(version); err != nil {
		e.Close()
		if errors.Is(err, handover.ErrGone) {
			err = ErrElderGone
		}
		return nil, err
	}
	return e, nil
}

// greet says who is there and asks for the sockets.
func (e *Elder) greet(version string) error {
	ctx, cancel := context.WithTimeout(context.Background(), elderTime)
	defer cancel()
	b, err := json.Marshal(hello{Base: handoverBase, Tables: []int{handoverTables}, PID: os.Getpid(), Version: version})
	if err != nil {
		return err
	}
	if b, err = e.link.Call(ctx, callHello, b); err == nil {
		err = json.Unmarshal(b, &e.said)
	}
	if err == nil && e.said.Base != handoverBase {
		err = fmt.Errorf("it speaks version %d, this one %d", e.said.Base, handoverBase)
	}
	if err == nil {
		_, err = e.link.Call(ctx, callSockets, nil)
	}
	if err != nil {
		return fmt.Errorf("upgrade: ask the process before: %w", err)
	}
	return nil
}

// Refuse tells the elder why this process can't begin; it goes on then. Without an elder it does nothing.
func (e *Elder) Refuse(why error) {
	if e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, _ = e.link.Call(ctx, callRefused, []byte(why.Error())) // it sees the end of this process all the same
}

// Close ends the link and gives back what nobody took; harmless without an elder.
func (e *Elder) Close() {
	if e == nil {
		return
	}
	_ = e.link.Close() // there is nothing to lose on it
	<-e.done
	e.closeRest()
}

// sharesTables says whether the two processes understand each other's tables.
func (e *Elder) sharesTables() bool {
	for _, v := range e.said.Tables {
		if v == handoverTables {
			return true
		}
	}
	return false
}

func (e *Elder) onTable(b []byte, files []*os.File) {
	closeFiles(files)
	e.mu.Lock()
	take := e.tables
	e.mu.Unlock()
	if take != nil {
		take(b)
	}
}

func (e *Elder) onReleased(b []byte, files []*os.File) {
	closeFiles(files)
	var r released
	if json.Unmarshal(b, &r) == nil { // an unreadable one still says that it has let go
		e.mu.Lock()
		e.last = r
		e.mu.Unlock()
	}
	e.release()
}

// onConnection takes a client's connection over.
func (e *Elder) onConnection(b []byte, files []*os.File) {
	defer closeFiles(files)
	from, err := netip.ParseAddr(string(b))
	e.mu.Lock()
	adopt := e.adopt
	e.mu.Unlock()
	if err != nil || adopt == nil {
		return
	}
	for _, f := range files {
		if nc, err := net.FileConn(f); err == nil { // else the client has gone meanwhile
			_ = adopt(nc, from) // it has closed what it can't serve
		}
	}
}

func (e *Elder) onDue(_ []byte, files []*os.File) {
	closeFiles(files)
	e.mu.Lock()
	look := e.look
	e.mu.Unlock()
	if look != nil {
		look()
	}
}

// twin speaks to the other process's duplicate fence; both sides have one.
type twin struct{ link *handover.Link }

// Ask implements fence.Twin.
func (t twin) Ask(ctx context.Context, kind string, b []byte) ([]byte, error) {
	return t.link.Call(ctx, kind, b)
}

// Tell implements fence.Twin.
func (t twin) Tell(kind string, b []byte) error { return t.link.Send(kind, b) }

// leftTime bounds what a look at the elder may cost a status.
const leftTime = 200 * time.Millisecond

// before tells of the elder while it lives.
func (e *Elder) before() *admin.Before {
	if !e.lives() {
		return nil
	}
	b := &admin.Before{PID: e.said.PID, Version: e.said.Version, Clients: -1}
	ctx, cancel := context.WithTimeout(context.Background(), leftTime)
	defer cancel()
	if left, err := e.link.Call(ctx, callLeft, nil); err == nil {
		if err := json.Unmarshal(left, &b.Clients); err != nil {
			b.Clients = -1
		}
	}
	return b
}

// release closes what freed gives.
func (e *Elder) release() { e.once.Do(func() { close(e.free) }) }

// freed is closed when the elder has let go of what only one process may do; nil: there is none.
func (e *Elder) freed() <-chan struct{} {
	if e == nil {
		return nil
	}
	return e.free
}

// gone is closed when the elder has ended; nil: there is none, or that has been seen.
func (e *Elder) gone() <-chan struct{} {
	if e == nil || e.seen {
		return nil
	}
	return e.link.Gone()
}

// forget makes gone be quiet.
func (e *Elder) forget() { e.seen = true }
