package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/proxy"
	"github.com/mmsrouter/mmsrouter/test/pdu"
)

// What a forwarded message of 30 KB may cost in calls on sockets when nobody is in a hurry: the request, the look at the kept connection, the
// write to the MMSC, its answer, the write to the client; and with a connection for each message: a look whether anybody waits, the accept, a read that may find
// nothing and the entry with the poller behind it, the end, and the close. They are guards: raise them only with a reason.
const (
	callsPerMessage    = 5
	callsPerConnection = callsPerMessage + 6
)

// tracedUpstream tells the process under strace where its MMSC is.
const tracedUpstream = "MMSROUTER_TEST_TRACED_UPSTREAM"

// TestTraced is the process that TestSystemCallsPerMessage looks at: a proxy until standard input ends.
func TestTraced(t *testing.T) {
	mmsc := os.Getenv(tracedUpstream)
	if mmsc == "" {
		t.Skip("only for TestSystemCallsPerMessage")
	}
	b := start(t, 0, func(_ *proxy.Config, o *proxy.Options) { oneMMSC(t, o, mmsc) })
	b.verdict("a", true)
	fmt.Println("listening", b.addr)
	_, _ = io.Copy(io.Discard, os.Stdin) // an error is an end as well
}

// TestSystemCallsPerMessage counts with strace what a message more costs a process that does nothing but forward.
func TestSystemCallsPerMessage(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	if raceEnabled {
		t.Skip("the race detector makes calls of its own")
	}
	for _, c := range []struct {
		name string
		kept bool
		want int
	}{{"a kept connection", true, callsPerMessage}, {"a connection for each message", false, callsPerConnection}} {
		t.Run(c.name, func(t *testing.T) {
			few, many := traced(t, strace, 100, c.kept), traced(t, strace, 500, c.kept)
			total := 0
			for _, name := range []string{"read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg", "accept4", "poll", "ppoll",
				"getsockname", "getsockopt", "setsockopt", "epoll_ctl", "shutdown", "close"} {
				n := many[name] - few[name]
				t.Logf("%-11s %6.2f", name, float64(n)/400)
				total += n
			}
			// a wait that ends for nothing now and then is the system's business
			if each := float64(total) / 400; each > float64(c.want)+0.5 {
				t.Errorf("%.2f calls a message, want %d", each, c.want)
			} else if each < 4 {
				t.Errorf("%.2f calls a message: that was not counted", each)
			}
		})
	}
}

// traced gives the calls of a process that forwards n messages.
func traced(t *testing.T, strace string, n int, kept bool) map[string]int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	body := pdu.SendReq("T0000000", 30_000)
	go answerAll(l, body)
	out := filepath.Join(t.TempDir(), "calls")
	cmd := exec.Command(strace, "-f", "-qq", "-c", "-U", "calls,name", "-o", out, os.Args[0], "-test.run", "^TestTraced$")
	cmd.Env = append(os.Environ(), tracedUpstream+"="+l.Addr().String())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip("strace does not start: ", err)
	}
	lines := bufio.NewScanner(said)
	addr := ""
	for addr == "" && lines.Scan() {
		addr, _ = strings.CutPrefix(lines.Text(), "listening ")
		if addr == lines.Text() {
			addr = ""
		}
	}
	if addr == "" {
		in.Close()
		t.Skip("strace may not trace here: ", cmd.Wait())
	}
	post := poster(t, addr, body, kept)
	for range n {
		post()
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, said) // what the test binary has to say
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 {
			if k, err := strconv.Atoi(f[0]); err == nil {
				calls[f[1]] = k
			}
		}
	}
	return calls
}

// answerAll is an MMSC that answers each message of that length with Ok, and allocates nothing for it.
func answerAll(l net.Listener, body []byte) {
	at := bytes.Index(body, []byte("T0000000")) + 1
	conf := pdu.SendConf("T0000000", pdu.Ok, "1@a")
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.wap.mms-message\r\nContent-Length: %d\r\n\r\n", len(conf))
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer nc.Close()
			answer := append([]byte(head), conf...)
			confAt := len(head) + bytes.Index(conf, []byte("T0000000")) + 1
			buf := make([]byte, len(body)+64<<10)
			for n := 0; ; n = 0 {
				for end := -1; end < 0 || n < end+4+len(body); {
					k, err := nc.Read(buf[n:])
					if err != nil {
						return
					}
					n += k
					end = bytes.Index(buf[:n], []byte("\r\n\r\n"))
				}
				copy(answer[confAt:], buf[n-len(body)+at:][:7])
				if _, err := nc.Write(answer); err != nil {
					return
				}
			}
		}()
	}
}

// poster gives a function that posts a message, each with a transaction of its own, over one connection, and allocates nothing; or each over a
// connection of its own.
func poster(t *testing.T, addr string, body []byte, kept bool) func() {
	t.Helper()
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	connection := "close"
	var nc net.Conn
	if kept {
		connection, nc = "keep-alive", dial()
		t.Cleanup(func() { nc.Close() })
	}
	request := append(fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: mms.example.net\r\nX-MSISDN: +46701111111\r\nConnection: %s\r\n"+
		"Content-Type: application/vnd.wap.mms-message\r\nContent-Length: %d\r\n\r\n", connection, len(body)), body...)
	place := len(request) - len(body) + bytes.Index(body, []byte("T0000000")) + 1
	got := make([]byte, 4096)
	seq := 0
	return func() {
		seq++
		id := strconv.AppendInt(request[place:place:place+7], int64(1_000_000+seq), 10)
		if !kept {
			nc = dial()
			defer nc.Close()
		}
		if _, err := nc.Write(request); err != nil {
			t.Fatal(err)
		}
		n := 0
		for !bytes.HasSuffix(got[:n], []byte("1@a\x00")) {
			k, err := nc.Read(got[n:])
			if err != nil {
				t.Fatalf("message %d: %v after %q", seq, err, got[:n])
			}
			n += k
		}
		if !bytes.Contains(got[:n], id) {
			t.Fatalf("the answer is not of transaction %s", id)
		}
	}
}
