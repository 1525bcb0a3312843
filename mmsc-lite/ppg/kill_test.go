//go:build unix

package ppg_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/ppg"
	"github.com/mmsrouter/mmsrouter/test/smsc"
)

// A test process with these set is a gateway that is going to be killed.
const (
	childDir  = "MMSROUTER_PPG_CHILD_DIR"
	childSMSC = "MMSROUTER_PPG_CHILD_SMSC"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir, os.Getenv(childSMSC)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child runs a gateway until it is killed, and prints where it listens.
func child(dir, address string) error {
	cfg := ppg.DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	cfg.SMPP.SMSCs[0].Address = address
	cfg.SMPP.Reconnect, cfg.SMPP.ReconnectMax = 10*time.Millisecond, 50*time.Millisecond
	cfg.RetryFirst, cfg.RetryMax = 20*time.Millisecond, 100*time.Millisecond
	p, err := ppg.New(ppg.Options{Config: cfg, DataDir: dir})
	if err != nil {
		return err
	}
	fmt.Println(p.Addr())
	return p.Run(context.Background())
}

func spawn(t *testing.T, dir, address string) (g *gateway, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childSMSC+"="+address)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	kill = func() {
		once.Do(func() {
			cmd.Process.Kill() // it may have ended by itself: then the test has failed already
			cmd.Wait()
		})
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the gateway did not start: %v", err)
	}
	return &gateway{url: "http://" + strings.TrimSpace(line) + "/pap"}, kill
}

// The gateway is killed with 1,000 accepted pushes, again and again: each is sent, and what the SMSC's answer has reached us for is not sent again.
// Submissions whose answer the dead process had not read, at most a window at each kill, may arrive twice.
func TestKilled(t *testing.T) {
	const pushes = 1000
	rounds := 3
	if os.Getenv("MMSROUTER_LONG") != "" {
		rounds = 25
	}
	server := smsc.New(t)
	server.Judge = func(smsc.Submit) smsc.Answer {
		return smsc.Answer{After: time.Duration(rand.IntN(4)) * time.Millisecond}
	}
	dir := t.TempDir()
	g, kill := spawn(t, dir, server.Address()) // nobody accepts at the SMSC yet
	var wg sync.WaitGroup
	next := make(chan int, pushes)
	for i := range pushes {
		next <- i
	}
	close(next)
	for range 16 {
		wg.Go(func() {
			for i := range next {
				g.push(t, &pap.PushMessage{PushID: fmt.Sprintf("%d@pi", i), Addresses: []pap.Address{plmn(fmt.Sprintf("+4477009%05d", i))}}, pap.Accepted)
			}
		})
	}
	wg.Wait()
	kill()
	server.Start()
	seen := func() (n int) {
		for _, s := range server.Submits() {
			if s.Answered {
				n++
			}
		}
		return n
	}
	for round := range rounds {
		_, kill := spawn(t, dir, server.Address())
		enough := (round + 1) * pushes / (rounds + 1)
		server.Wait(t, "a part has been sent", func() bool { return seen() >= enough })
		kill()
	}
	g, _ = spawn(t, dir, server.Address())
	server.Wait(t, "every one has been sent", func() bool { return len(server.Messages()) == pushes })
	for i := range pushes {
		g.wait(t, server, fmt.Sprintf("%d@pi", i), "delivered/1000")
	}
	twice, worst := 0, 0
	for _, m := range server.Messages() {
		if len(m) > 1 {
			twice++
		}
		worst = max(worst, len(m))
	}
	window := ppg.DefaultConfig().SMPP.Window
	t.Logf("%d kills: %d of %d arrived twice (allowed: %d, the window of each kill), %d submissions", rounds, twice, pushes, rounds*window, len(server.Submits()))
	if twice > rounds*window {
		t.Errorf("%d arrived twice, the windows were %d", twice, rounds*window)
	}
}
