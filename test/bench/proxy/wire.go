package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// The sink and the load are processes of their own, pinned beside the proxy under measurement. They
// parse as little as they can: what they cost is not measured, but must not hold the proxy up.

const (
	tidWidth = 10 // digits of a transaction id; patched in place per message
	idHeader = "X-MSISDN: 4670"
	bigRead  = 256 << 10
)

// sinkMain serves two addresses as two MMSCs: reads whole requests, answers M-Send.conf Ok.
func sinkMain(args []string) error {
	fs := flag.NewFlagSet("sink", flag.ContinueOnError)
	a := fs.String("a", "", "address of the first MMSC")
	b := fs.String("b", "", "address of the second")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	for _, addr := range []string{*a, *b} {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return // closed with the process
				}
				go sinkConn(c)
			}
		}()
	}
	<-ctx.Done()
	return nil
}

func sinkConn(c net.Conn) {
	defer c.Close()
	buf := make([]byte, bigRead)
	out := make([]byte, 0, 512)
	have := 0
	for {
		// head
		var headEnd int
		for {
			if i := bytes.Index(buf[:have], []byte("\r\n\r\n")); i >= 0 {
				headEnd = i + 4
				break
			}
			if have == len(buf) {
				return
			}
			n, err := c.Read(buf[have:])
			if err != nil {
				return
			}
			have += n
		}
		head := buf[:headEnd]
		length := headValue(head, "content-length:")
		n, err := strconv.Atoi(string(length))
		chunked := false
		if err != nil {
			if len(length) == 0 && len(headValue(head, "transfer-encoding:")) > 0 {
				chunked = true
			} else if len(length) > 0 {
				return
			}
		}
		closing := bytes.EqualFold(headValue(head, "connection:"), []byte("close"))
		tid := make([]byte, 0, tidWidth)
		if chunked {
			// only the end matters: the last chunk is looked for at the end of what came
			rest := have - headEnd
			copy(buf, buf[headEnd:have])
			have = rest
			for !bytes.HasSuffix(buf[:have], []byte("0\r\n\r\n")) {
				tid = findTID(buf[:have], tid)
				if have > 8 {
					copy(buf, buf[have-8:have])
					have = 8
				}
				k, err := c.Read(buf[have:])
				if err != nil {
					return
				}
				have += k
			}
			tid = findTID(buf[:have], tid)
			have = 0
		} else {
			body := min(have-headEnd, n)
			tid = findTID(buf[headEnd:headEnd+body], tid)
			left := n - body
			rest := have - headEnd - body
			copy(buf, buf[headEnd+body:have])
			have = rest
			for left > 0 {
				k, err := c.Read(buf[:min(len(buf), left)])
				if err != nil {
					return
				}
				tid = findTID(buf[:k], tid)
				left -= k
			}
		}
		conf := pdu.SendConf(string(tid), pdu.Ok, "1@sink")
		out = fmt.Appendf(out[:0], "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", pdu.ContentType, len(conf))
		if _, err := c.Write(append(out, conf...)); err != nil || closing {
			return
		}
	}
}

// findTID takes the transaction id out of the first octets of a PDU (8C 80 98 digits 00) unless it is known.
func findTID(b, known []byte) []byte {
	if len(known) > 0 {
		return known
	}
	if i := bytes.Index(b, []byte{0x8C, 0x80, 0x98}); i >= 0 && len(b) >= i+3+tidWidth {
		return append(known, b[i+3:i+3+tidWidth]...)
	}
	return known
}

func headValue(head []byte, lower string) []byte {
	for len(head) > 0 {
		i := bytes.IndexByte(head, '\n')
		if i < 0 {
			return nil
		}
		l := head[:i]
		head = head[i+1:]
		if len(l) >= len(lower) && strings.EqualFold(string(l[:len(lower)]), lower) {
			return bytes.TrimSpace(l[len(lower):])
		}
	}
	return nil
}

// loadResult is what a load process prints as JSON.
type loadResult struct {
	Messages int
	Failed   int
	Why      string // of the first failure
	Seconds  float64
}

type loadPlan struct {
	Addr    string
	Size    int
	N       int
	Conns   int
	OneShot bool
	Rate    int // octets a second per connection; 0: as fast as it goes
	First   int // number of the first message: transaction ids don't repeat within a peer's life
}

func loadMain(args []string) error {
	var p loadPlan
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	fs.StringVar(&p.Addr, "addr", "", "where to send")
	fs.IntVar(&p.Size, "size", 30_000, "octets of a message")
	fs.IntVar(&p.N, "n", 1000, "messages")
	fs.IntVar(&p.Conns, "conns", 32, "clients")
	fs.BoolVar(&p.OneShot, "oneshot", false, "a connection per message")
	fs.IntVar(&p.Rate, "rate", 0, "octets a second of each client")
	fs.IntVar(&p.First, "first", 0, "number of the first message")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var next, failed atomic.Int64
	var why atomic.Pointer[string]
	start := time.Now()
	var wg sync.WaitGroup
	for range p.Conns {
		wg.Go(func() {
			c := &client{plan: p}
			defer c.close()
			c.build()
			for {
				n := int(next.Add(1)) - 1
				if n >= p.N {
					return
				}
				if err := c.send(p.First + n); err != nil {
					c.close()
					failed.Add(1)
					s := err.Error()
					why.CompareAndSwap(nil, &s)
				}
			}
		})
	}
	wg.Wait()
	r := loadResult{Messages: p.N, Failed: int(failed.Load()), Seconds: time.Since(start).Seconds()}
	if w := why.Load(); w != nil {
		r.Why = *w
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// client holds one request, head and body in one buffer, whose digits are patched per message.
type client struct {
	plan   loadPlan
	c      net.Conn
	msg    []byte
	tidAt  int
	identA int
	bodyAt int
	in     []byte
}

func (c *client) build() {
	body := pdu.SendReq(strings.Repeat("0", tidWidth), c.plan.Size)
	conn := ""
	if c.plan.OneShot {
		conn = "Connection: close\r\n"
	}
	head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: mms.example.net\r\nUser-Agent: bench\r\n%s%s\r\n%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		idHeader, strings.Repeat("0", tidWidth), conn, pdu.ContentType, len(body))
	c.identA = strings.Index(head, idHeader) + len(idHeader)
	c.tidAt = len(head) + 3
	c.bodyAt = len(head)
	c.msg = append([]byte(head), body...)
	c.in = make([]byte, 4096)
}

func digits(b []byte, n int) {
	for i := tidWidth - 1; i >= 0; i-- {
		b[i] = '0' + byte(n%10)
		n /= 10
	}
}

func (c *client) close() {
	if c.c != nil {
		c.c.Close() // nothing is under way
		c.c = nil
	}
}

func (c *client) send(n int) error {
	if c.c == nil {
		nc, err := net.DialTimeout("tcp", c.plan.Addr, 5*time.Second)
		if err != nil {
			return err
		}
		c.c = nc
	}
	digits(c.msg[c.tidAt:], n)
	digits(c.msg[c.identA:], n)
	c.c.SetDeadline(time.Now().Add(60 * time.Second))
	if err := c.write(); err != nil {
		return err
	}
	have := 0
	for {
		k, err := c.c.Read(c.in[have:])
		have += k
		i := bytes.Index(c.in[:have], []byte("\r\n\r\n"))
		if i >= 0 {
			size, cerr := strconv.Atoi(string(headValue(c.in[:i+2], "content-length:")))
			if cerr != nil {
				return fmt.Errorf("answer %q", c.in[:min(have, 80)])
			}
			if have >= i+4+size {
				if !bytes.HasPrefix(c.in, []byte("HTTP/1.1 200")) || !bytes.Contains(c.in[i+4:have], c.msg[c.tidAt:c.tidAt+tidWidth]) ||
					!bytes.Contains(c.in[i+4:have], []byte{0x92, pdu.Ok}) {
					return fmt.Errorf("answer %q", c.in[:min(have, 80)])
				}
				if c.plan.OneShot || bytes.EqualFold(headValue(c.in[:i+2], "connection:"), []byte("close")) {
					c.close()
				}
				return nil
			}
		}
		if err != nil {
			return err
		}
		if have == len(c.in) {
			return fmt.Errorf("answer too long: %q", c.in[:80])
		}
	}
}

func (c *client) write() error {
	if c.plan.Rate == 0 {
		_, err := c.c.Write(c.msg)
		return err
	}
	const each = 50 * time.Millisecond
	step := max(c.plan.Rate*int(each/time.Millisecond)/1000, 1)
	tick := time.NewTicker(each)
	defer tick.Stop()
	for at := 0; at < len(c.msg); at += step {
		if at > 0 {
			<-tick.C
		}
		if _, err := c.c.Write(c.msg[at:min(at+step, len(c.msg))]); err != nil {
			return err
		}
	}
	return nil
}
