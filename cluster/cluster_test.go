package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/cluster"
)

func TestThreeRouters(t *testing.T) {
	a, b, c := three(t)
	changed, end := c.m.Watch()
	defer end()
	if err := a.m.Set("k", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	has := func(n *node, key, value string) func() bool {
		return func() bool { v, ok := n.m.Get(key); return ok && string(v) == value }
	}
	eventually(t, "b has it", has(b, "k", "v"))
	eventually(t, "c has it", has(c, "k", "v"))
	select {
	case <-changed:
	case <-time.After(time.Second):
		t.Error("c's watcher heard nothing")
	}
	// a change that no datagram holds
	large := strings.Repeat("x", 9000)
	if err := b.m.Set("large", []byte(large), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a has the large one", has(a, "large", large))
	eventually(t, "c has the large one", has(c, "large", large))
	if !c.m.Delete("k") {
		t.Error("c could not delete it")
	}
	eventually(t, "it is gone at a", func() bool { _, ok := a.m.Get("k"); return !ok })

	// a router that comes later gets all of it
	d := start(t, "d", quick(b))
	eventually(t, "d has the large one", has(d, "large", large))
	if _, ok := d.m.Get("k"); ok {
		t.Error("d has what was deleted")
	}

	// states of members
	b.SetDraining(true)
	eventually(t, "a sees b drain", func() bool { return a.state("b") == cluster.Draining })
	if got := a.Living(); len(got) != 3 {
		t.Errorf("living %v: one that drains lives", got)
	}
	b.SetDraining(false)
	eventually(t, "a sees b back", func() bool { return a.state("b") == cluster.Alive })
	b.stop()
	for _, n := range []*node{a, c, d} {
		eventually(t, n.Node()+" sees that b left", func() bool { return n.state("b") == cluster.Left })
	}
	if got := a.Members()[0]; got.Name != "a" || !got.Self || got.Version != "1.2.3" {
		t.Errorf("first member %+v, want a itself", got)
	}
}

func TestRequests(t *testing.T) {
	a, b, _ := three(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, size := range []int{0, 10, 1000, 2000, 100_000} {
		want := bytes.Repeat([]byte("x"), size)
		got, err := a.Request(ctx, "b", "echo", want)
		if err != nil || string(got) != "a:"+string(want) {
			t.Errorf("%d octets: %d came back, %v", size, len(got), err)
		}
	}
	var remote *cluster.RemoteError
	if _, err := a.Request(ctx, "b", "echo", []byte("no")); !errors.As(err, &remote) || remote.Text != "not today" {
		t.Errorf("a refusal came as %v", err)
	}
	if _, err := a.Request(ctx, "b", "nonsense", nil); !errors.Is(err, cluster.ErrNoHandler) {
		t.Errorf("an unknown kind: %v", err)
	}
	if _, err := a.Request(ctx, "nobody", "echo", nil); !errors.Is(err, cluster.ErrNoMember) {
		t.Errorf("an unknown router: %v", err)
	}
	if _, err := a.Request(ctx, "b", "echo", make([]byte, 2<<20)); !errors.Is(err, cluster.ErrTooLarge) {
		t.Errorf("two megabytes: %v", err)
	}
	if err := a.Send("b", "echo", []byte("x"), true); err != nil {
		t.Errorf("send: %v", err)
	}

	// one that does not answer costs the time that was given, no more
	b.Sever(func(string) bool { return true })
	short, end := context.WithTimeout(ctx, 20*time.Millisecond)
	defer end()
	began := time.Now()
	if _, err := a.Request(short, "b", "echo", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %s", took)
	}

	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			want := fmt.Sprint("a:", i)
			if got, err := a.Request(ctx, "c", "echo", []byte(fmt.Sprint(i))); err != nil || string(got) != want {
				t.Errorf("request %d: %q %v", i, got, err)
			}
		})
	}
	wg.Wait()
}

// TestCutAndHealed: each side goes on alone and changes things, then all agree again.
func TestCutAndHealed(t *testing.T) {
	a, b, c := three(t)
	other := c.Addr()
	cut := func(n *node, on bool) {
		if !on {
			n.Sever(nil)
			return
		}
		n.Sever(func(peer string) bool { return n == c || peer == other })
	}
	for _, n := range []*node{a, b, c} {
		cut(n, true)
	}
	eventually(t, "a holds c for suspect", func() bool { return a.state("c") == cluster.Suspect })
	eventually(t, "c is alone", func() bool { return len(c.Living()) == 0 })
	if err := a.m.Set("both", []byte("from a"), 0); err != nil {
		t.Fatal(err)
	}
	if err := c.m.Set("both", []byte("from c"), 0); err != nil {
		t.Fatal(err)
	}
	if err := c.m.Set("mine", []byte("c"), 0); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{a, b, c} {
		cut(n, false)
	}
	eventually(t, "all see all", func() bool { return len(a.Living()) == 2 && len(b.Living()) == 2 && len(c.Living()) == 2 })
	for _, n := range []*node{a, b, c} {
		eventually(t, n.Node()+" has c's", func() bool { v, _ := n.m.Get("mine"); return string(v) == "c" })
		eventually(t, n.Node()+" chose alike", func() bool { v, _ := n.m.Get("both"); return string(v) == "from c" })
	}
}

// TestRestartUnderItsName: a router that died without a farewell comes back, elsewhere and without memory.
func TestRestartUnderItsName(t *testing.T) {
	a, b, c := three(t)
	if err := a.m.Set("k", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	b.HandOver() // ends without a farewell
	b.stop()
	eventually(t, "a misses b", func() bool { return a.state("b") == cluster.Suspect })
	eventually(t, "c misses b", func() bool { return c.state("b") == cluster.Suspect })
	b = start(t, "b", quick(a, c))
	eventually(t, "b has the state", func() bool { v, _ := b.m.Get("k"); return string(v) == "v" })
	eventually(t, "a sees b", func() bool { return a.state("b") == cluster.Alive })
}

// TestSocketsPassOn: a new process takes sockets and name over, and no other router misses it.
func TestSocketsPassOn(t *testing.T) {
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Addr().(*net.TCPAddr).Port})
	if err != nil {
		t.Skip("the port is taken for UDP: ", err)
	}
	tf, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer tf.Close()
	uf, err := udp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer uf.Close()
	with := func(tcp *net.TCPListener, udp *net.UDPConn) func(*cluster.Options) {
		return func(o *cluster.Options) { o.TCP, o.UDP = tcp, udp }
	}
	a := start(t, "a", quick(), with(tcp, udp))
	b := start(t, "b", quick(a))
	eventually(t, "they see each other", func() bool { return len(a.Living()) == 1 && len(b.Living()) == 1 })
	before := b.Members()
	if err := b.m.Set("k", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	a.HandOver()
	a.stop()
	ln, err := net.FileListener(tf)
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.FilePacketConn(uf)
	if err != nil {
		t.Fatal(err)
	}
	heir := start(t, "a", quick(b), with(ln.(*net.TCPListener), pc.(*net.UDPConn)))
	eventually(t, "the heir has the state", func() bool { v, _ := heir.m.Get("k"); return string(v) == "v" })
	eventually(t, "the heir answers", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := b.Request(ctx, "a", "echo", nil)
		return err == nil
	})
	if after := b.Members(); after[1].State != cluster.Alive || !after[1].Since.Equal(before[1].Since) || after[1].Address != before[1].Address {
		t.Errorf("b saw a go: %+v, then %+v", before[1], after[1])
	}
}

func TestHostile(t *testing.T) {
	a := start(t, "a", quick())
	if err := a.m.Set("k", []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	untouched := func(t *testing.T) {
		t.Helper()
		if len(a.Living()) != 0 {
			t.Errorf("%v came in", a.Living())
		}
		if v, _ := a.m.Get("k"); string(v) != "v" || len(a.m.All()) != 1 {
			t.Errorf("the state has changed: %v", a.m.All())
		}
	}
	t.Run("another key", func(t *testing.T) {
		c := quick(a)
		c.Key = "ffffffffffffffffffffffffffffffff"
		evil := start(t, "evil", c)
		defer evil.stop()
		if err := evil.m.Set("k", []byte("evil"), 0); err != nil {
			t.Fatal(err)
		}
		eventually(t, "counted", func() bool { return a.refused(t, "key") >= 2 })
		if n := a.log.count("reason=key"); n != 1 {
			t.Errorf("logged %d times, want once a minute", n)
		}
		untouched(t)
	})
	t.Run("no key", func(t *testing.T) {
		before := a.refused(t, "key")
		c := quick(a)
		c.Key = ""
		evil := start(t, "evil", c)
		defer evil.stop()
		eventually(t, "counted", func() bool { return a.refused(t, "key") > before })
		untouched(t)
	})
	t.Run("another cluster", func(t *testing.T) {
		c := quick(a)
		c.Name = "elsewhere"
		evil := start(t, "evil", c)
		defer evil.stop()
		eventually(t, "counted", func() bool { return a.refused(t, "label") >= 2 })
		if n := a.log.count("reason=label"); n != 1 {
			t.Errorf("logged %d times, want once a minute", n)
		}
		untouched(t)
	})
	t.Run("noise", func(t *testing.T) {
		before := a.refused(t, "label") + a.refused(t, "corrupt") + a.refused(t, "key")
		u, err := net.Dial("udp", a.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		for _, p := range []string{"x", "\xf4", "\xf4\x00", "\xf4\xff", "\xf4\x09mmsrouter", "\xf4\x09mmsrouter\x01garbage", strings.Repeat("z", 60000)} {
			if _, err := u.Write([]byte(p)); err != nil {
				t.Fatal(err)
			}
			s, err := net.Dial("tcp", a.Addr())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = s.Write([]byte(p)) // it may be closed already
			_ = s.Close()
		}
		eventually(t, "counted", func() bool {
			return a.refused(t, "label")+a.refused(t, "corrupt")+a.refused(t, "key") >= before+6
		})
		untouched(t)
	})
	t.Run("its own name", func(t *testing.T) {
		twin := start(t, "a", quick(a))
		defer twin.stop()
		eventually(t, "counted", func() bool { return a.refused(t, "conflict") > 0 })
		untouched(t)
	})
	t.Run("a clock an hour off", func(t *testing.T) {
		late := start(t, "late", quick(a), func(o *cluster.Options) {
			o.Now = func() time.Time { return time.Now().Add(time.Hour) }
		})
		defer late.stop()
		eventually(t, "counted", func() bool { return a.refused(t, "clock") > 0 })
		if n := a.log.count("reason=clock"); n != 1 {
			t.Errorf("logged %d times, want once a minute", n)
		}
		if err := late.m.Set("x", []byte("y"), time.Minute); err != nil {
			t.Fatal(err)
		}
		eventually(t, "its entries work all the same", func() bool { _, ok := a.m.Get("x"); return ok })
		for _, m := range a.Members() {
			if m.Name == "late" && (m.ClockOffset < 59*time.Minute || m.ClockOffset > 61*time.Minute) {
				t.Errorf("offset shown as %s", m.ClockOffset)
			}
		}
	})
	t.Run("forged entries under the right key", func(t *testing.T) {
		evil := start(t, "evil", quick(a))
		defer evil.stop()
		eventually(t, "it is in", func() bool { return len(a.Living()) > 0 && len(evil.Living()) > 0 })
		evil.m.Bind(func(cluster.Delta) {})
		for _, p := range []cluster.Delta{{Key: "k", Payload: entry("k", 1<<60, "evil", false, 0, "evil")}, {Key: "v", Payload: []byte{77, 1}}, {Key: "c", Payload: []byte{1, 99}}} {
			cluster.Pass(evil.Cluster, "test", p)
		}
		eventually(t, "counted", func() bool {
			return a.refused(t, "ahead") > 0 && a.refused(t, "version") > 0 && a.refused(t, "corrupt") > 0
		})
		if v, _ := a.m.Get("k"); string(v) != "v" {
			t.Errorf("the state has changed: %q", v)
		}
	})
}

func TestMostMembers(t *testing.T) {
	c := quick()
	c.MaxMembers = 2
	a := start(t, "a", c)
	b := start(t, "b", quick(a))
	eventually(t, "two see each other", func() bool { return len(a.Living()) == 1 && len(b.Living()) == 1 })
	d := start(t, "d", quick(a))
	eventually(t, "counted", func() bool { return a.refused(t, "full") > 0 })
	if got := a.Living(); len(got) != 1 {
		t.Errorf("a knows %v", got)
	}
	d.stop()
}

func TestKeyChange(t *testing.T) {
	a := start(t, "a", quick())
	c := quick(a)
	c.Key, c.OldKeys = "ffffffffffffffffffffffffffffffff", []string{testKey}
	b := start(t, "b", c) // sends with the new one: a does not know it yet
	eventually(t, "a refuses it", func() bool { return a.refused(t, "key") > 0 })
	b.stop()
	both := quick(a)
	both.OldKeys = []string{"ffffffffffffffffffffffffffffffff"}
	start(t, "d", both)
	eventually(t, "one that knows both works with the old one", func() bool { return len(a.Living()) == 1 })
}

func TestNoGoroutineStays(t *testing.T) {
	a, b, c := three(t)
	for _, n := range []*node{c, b, a} {
		n.stop()
	}
	if err := a.Run(context.Background()); err == nil {
		t.Error("it ran a second time")
	}
	if _, err := a.Request(context.Background(), "b", "echo", nil); !errors.Is(err, cluster.ErrNotRunning) {
		t.Errorf("a request after the end: %v", err)
	}
	eventually(t, "memberlist's goroutines end", func() bool { return !strings.Contains(stacks(), "memberlist") })
}
