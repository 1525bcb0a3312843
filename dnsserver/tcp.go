package dnsserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"
)

// connTable knows the open TCP connections, to bound them and to end them.
type connTable struct {
	mu     sync.Mutex
	open   map[net.Conn]netip.Addr
	byAddr map[netip.Addr]int
	closed bool
	empty  chan struct{} // closed when there is none; nil: nobody waits
	warned [len(tcpLimits)]time.Time
}

// add admits a connection. limit is the index of the limit that forbids it, -1 if none does.
func (t *connTable) add(c net.Conn, src netip.Addr, p *policy) (limit int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open, t.byAddr = map[net.Conn]netip.Addr{}, map[netip.Addr]int{}
	}
	switch {
	case t.closed || len(t.open) >= p.maxConns:
		return 0
	case p.perClient > 0 && t.byAddr[src] >= p.perClient && !p.trusted(src):
		return 1
	}
	t.open[c] = src
	t.byAddr[src]++
	return -1
}

func (t *connTable) remove(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	src := t.open[c]
	delete(t.open, c)
	if t.byAddr[src]--; t.byAddr[src] == 0 {
		delete(t.byAddr, src)
	}
	if len(t.open) == 0 && t.empty != nil {
		close(t.empty)
		t.empty = nil
	}
}

// ended gives a channel that is closed when there is no connection.
func (t *connTable) ended() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.empty == nil {
		t.empty = make(chan struct{})
	}
	c := t.empty
	if len(t.open) == 0 {
		close(c)
		t.empty = nil
	}
	return c
}

// close makes every connection stop reading; what is being answered is still written.
func (t *connTable) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for c := range t.open {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // a connection that is closed already needs no deadline
	}
}

// warn says at most once a minute that a limit has fired, and which key raises it.
func (t *connTable) warn(limit int, log *slog.Logger) {
	t.mu.Lock()
	quiet := t.closed || time.Since(t.warned[limit]) < time.Minute
	if !quiet {
		t.warned[limit] = time.Now()
	}
	t.mu.Unlock()
	if !quiet {
		log.Warn("TCP connections refused", "key", "dns.tcp."+tcpLimits[limit])
	}
}

// serveTCP accepts until the listener is closed and returns when its connections have ended.
func (s *Server) serveTCP(ctx context.Context, l *net.TCPListener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	count := s.metrics.counters()
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) { // out of descriptors, or a client that left: wait a little, others may leave
				s.log.Warn("accept", "error", err)
				select {
				case <-time.After(50 * time.Millisecond):
					continue
				case <-ctx.Done():
					return nil
				}
			}
			return fmt.Errorf("dns: accept on %s: %w", l.Addr(), err)
		}
		src := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
		if limit := s.conns.add(c, src, s.policy.Load()); limit >= 0 {
			s.metrics.tcpRefused[limit].Add(1)
			s.conns.warn(limit, s.log)
			_ = c.Close() // nothing was read from it
			continue
		}
		s.metrics.tcpAccepted.Add(1)
		wg.Go(func() {
			s.metrics.tcpOpen.Add(1)
			defer s.metrics.tcpOpen.Add(-1)
			defer s.conns.remove(c)
			defer c.Close()
			s.serveConn(ctx, c, src, count)
		})
	}
}

// serveConn answers the queries of one connection in their order. While more are waiting to be read, answers are gathered and
// written together.
func (s *Server) serveConn(ctx context.Context, c net.Conn, src netip.Addr, count *counters) {
	h := &handler{s: s, count: count}
	p := s.policy.Load()
	r, buf := bufio.NewReaderSize(c, 1024), make([]byte, maxQuery)
	w := &tcpWriter{conn: c, idle: p.idle, limit: p.maxPipelined}
	for range p.maxQueries {
		// A client may leave the connection idle that long, and take that long to send one query.
		if ctx.Err() != nil || c.SetReadDeadline(time.Now().Add(p.idle)) != nil {
			break
		}
		if ctx.Err() != nil {
			break // close has set a deadline that we have just moved
		}
		pkt, err := readFrame(r, buf)
		if err != nil {
			break // end, time-out or nonsense: for the client to deal with
		}
		h.refresh()
		if !h.answerTCP(pkt, src, w) {
			break
		}
		if r.Buffered() < 2 && w.flush() != nil {
			return
		}
	}
	_ = w.flush() // the connection ends in any case
}

// maxQuery bounds a query over TCP. A larger one could only be something else, such as an update.
const maxQuery = 4096

var errTooLarge = errors.New("larger than any query")

// readFrame reads a message behind its length of two octets (RFC 1035, 4.2.2) into buf.
func readFrame(r *bufio.Reader, buf []byte) ([]byte, error) {
	if _, err := io.ReadFull(r, buf[:2]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(buf))
	if n > len(buf) {
		return nil, errTooLarge
	}
	_, err := io.ReadFull(r, buf[:n])
	return buf[:n], err
}

// answerTCP answers one query; false ends the connection.
func (h *handler) answerTCP(pkt []byte, src netip.Addr, w *tcpWriter) (ok bool) {
	defer func() {
		if p := recover(); p != nil { // as for UDP: only this client is cut off
			h.count.panics.Add(1)
			h.s.log.Error("failed on a query", "panic", fmt.Sprint(p), "packet", fmt.Sprintf("%x", pkt), "stack", string(debug.Stack()))
			ok = false
		}
	}()
	b, t := h.slow(pkt, src, true)
	if t != nil {
		if err := t.send(h, w.write); err != nil {
			h.s.log.Warn("zone transfer broken", "client", src, "error", err)
			return false
		}
		return true
	}
	return b != nil && w.write(b) == nil // who sends what is no query is not listened to any longer
}

// tcpWriter gathers answers up to a limit.
type tcpWriter struct {
	conn  net.Conn
	idle  time.Duration
	limit int
	buf   []byte
}

func (w *tcpWriter) write(b []byte) error {
	if len(w.buf)+2+len(b) > w.limit {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(len(b)))
	w.buf = append(w.buf, b...)
	return nil
}

func (w *tcpWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.idle)); err != nil {
		return err
	}
	_, err := w.conn.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}
