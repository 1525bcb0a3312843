package app

import (
	"encoding/json"
	"net"
	"os"
)

// socketName says what a descriptor is.
type socketName struct {
	Key string `json:"key"` // of the configuration
	At  string `json:"at"`  // the address as it stands there
	Net string `json:"net"` // tcp | udp
}

func (e *Elder) onSocket(b []byte, files []*os.File) {
	var names []socketName
	if err := json.Unmarshal(b, &names); err != nil || len(names) != len(files) {
		for _, f := range files {
			_ = f.Close() // what it is, nobody knows
		}
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, n := range names {
		e.sockets[n] = append(e.sockets[n], files[i])
	}
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // its duplicate is used, or nobody wants it
	}
}

// take gives the sockets of that name, for the caller to close.
func (e *Elder) take(name socketName) []*os.File {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	files := e.sockets[name]
	delete(e.sockets, name)
	return files
}

// listener gives the elder's listener for an address of a key; nil: it had none.
func (e *Elder) listener(key, at string) net.Listener {
	files := e.take(socketName{key, at, "tcp"})
	defer closeFiles(files)
	for _, f := range files {
		if l, err := net.FileListener(f); err == nil { // else it is bound again, or that says why not
			return l
		}
	}
	return nil
}

// packets gives the elder's UDP sockets for an address of a key.
func (e *Elder) packets(key, at string) []*net.UDPConn {
	files := e.take(socketName{key, at, "udp"})
	defer closeFiles(files)
	var all []*net.UDPConn
	for _, f := range files {
		c, err := net.FilePacketConn(f)
		if err != nil {
			continue
		}
		if u, ok := c.(*net.UDPConn); ok {
			all = append(all, u)
		}
	}
	return all
}

// pair gives the elder's TCP listener and UDP sockets; both or none.
func (e *Elder) pair(key, at string) (*net.TCPListener, []*net.UDPConn) {
	l, udp := e.listener(key, at), e.packets(key, at)
	tcp, ok := l.(*net.TCPListener)
	if ok && len(udp) > 0 {
		return tcp, udp
	}
	if l != nil {
		_ = l.Close() // alone it is of no use
	}
	for _, u := range udp {
		_ = u.Close() // likewise
	}
	return nil, nil
}

// closeRest closes the sockets that this configuration does not want.
func (e *Elder) closeRest() (unused []string) {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, files := range e.sockets {
		unused = append(unused, name.Key+" "+name.At+" "+name.Net)
		for _, f := range files {
			_ = f.Close() // the elder's own goes with it
		}
		delete(e.sockets, name)
	}
	return unused
}

// handedSockets gives the DNS room the elder's; nil: there is none.
func (e *Elder) handedSockets(key string) func(at string) (*net.TCPListener, []*net.UDPConn) {
	if e == nil {
		return nil
	}
	return func(at string) (*net.TCPListener, []*net.UDPConn) { return e.pair(key, at) }
}

// handedListeners gives the proxy the elder's; nil: there is none.
func (e *Elder) handedListeners(key string) func(at string) net.Listener {
	if e == nil {
		return nil
	}
	return func(at string) net.Listener { return e.listener(key, at) }
}
