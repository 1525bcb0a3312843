package mmsc_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// ledger is what the senders know.
type ledger struct {
	mu    sync.Mutex
	next  int
	open  map[string][]byte // transaction -> PDU that was sent and not answered
	acked map[string]string // Message-ID -> transaction
	sizes func(n int) int
}

func newLedger(sizes func(int) int) *ledger {
	return &ledger{open: map[string][]byte{}, acked: map[string]string{}, sizes: sizes}
}

// take gives an unanswered submission again, or a new one.
func (l *ledger) take() (transaction string, pdu []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for t, p := range l.open {
		if rand.IntN(2) == 0 {
			return t, p
		}
	}
	l.next++
	t := fmt.Sprintf("crash-%d", l.next)
	p := sendReq(t, bodyOf(t, l.sizes(l.next)), 0x97, bob)
	l.open[t] = p
	return t, p
}

// bodyOf makes a body that tells whose it is, octet by octet.
func bodyOf(transaction string, size int) []byte {
	sum := sha256.Sum256([]byte(transaction))
	return bytes.Repeat(sum[:], size/len(sum)+1)[:size]
}

func (l *ledger) answered(transaction string, head *mms.Head) error {
	if head.Response != mms.StatusOk || string(head.TransactionID) != transaction {
		return fmt.Errorf("%s answered %v for %q", transaction, head.Response, head.TransactionID)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, ok := l.acked[string(head.MessageID)]; ok && other != transaction {
		return fmt.Errorf("%s and %s got one Message-ID", other, transaction)
	}
	l.acked[string(head.MessageID)] = transaction
	delete(l.open, transaction)
	return nil
}

// process is a child that serves.
type process struct {
	cmd  *exec.Cmd
	addr string
	pid  int // of the child itself, when something is wrapped around it
}

func startChild(t *testing.T, dir, database string, wrap ...string) *process {
	t.Helper()
	args := append(wrap, os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childEnv+"_DATABASE="+database)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("the child said no address: %v\n%s", err, stderr.String())
	}
	p := &process{cmd: cmd}
	if _, err := fmt.Sscan(line, &p.addr, &p.pid); err != nil {
		t.Fatalf("the child said %q", line)
	}
	return p
}

// post sends one submission; an error means that there was no answer.
func post(ctx context.Context, client *http.Client, addr string, pdu []byte) (*mms.Head, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+addr+"/", bytes.NewReader(pdu))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-MSISDN", alice)
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	var head mms.Head
	if res.StatusCode != 200 || head.Peek(b, true) != mms.Complete {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	return &head, nil
}

// load sends with some senders until each has seen the other side go away, or until ctx ends.
func (l *ledger) load(t *testing.T, ctx context.Context, addr string, senders int) {
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				transaction, pdu := l.take()
				head, err := post(ctx, client, addr, pdu)
				if err != nil {
					return
				}
				if err := l.answered(transaction, head); err != nil && mms.ResponseClass(head.Response) != mms.Transient {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// check opens the store and looks for every acknowledged message, whole, and for none that is there twice.
func (l *ledger) check(t *testing.T, dir, database string) {
	t.Helper()
	lost := l.lost(t, dir, database)
	for _, what := range lost {
		t.Error(what)
	}
	driver, dsn := "sqlite", filepath.Join(dir, "mmsc.db")
	if database != "" {
		driver, dsn = "pgx", database
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var twice, halves int
	if err := db.QueryRow(`SELECT COUNT(*) FROM (SELECT transaction_id FROM messages GROUP BY transaction_id HAVING COUNT(*) > 1) x`).Scan(&twice); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow(`SELECT COUNT(*) FROM messages m WHERE NOT EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = m.id)
		OR (SELECT COALESCE(SUM(LENGTH(k.data)), 0) FROM chunks k WHERE k.content_id = m.content_id)
			<> (SELECT CASE segment WHEN 0 THEN size ELSE 0 END FROM contents c WHERE c.id = m.content_id)`).Scan(&halves); err != nil {
		t.Fatal(err)
	}
	if twice != 0 || halves != 0 {
		t.Errorf("%d transactions stored twice, %d messages half written", twice, halves)
	}
}

// lost gives what is wrong with acknowledged messages.
func (l *ledger) lost(t *testing.T, dir, database string) (faults []string) {
	t.Helper()
	cfg := mmsc.DefaultConfig()
	cfg.Database = database
	m, err := mmsc.New(mmsc.Options{Config: cfg, DataDir: dir, NodeName: "check", URL: "http://mms.example.net"})
	if err != nil {
		return []string{"the store does not open: " + err.Error()}
	}
	defer m.Close()
	for id, transaction := range l.acked {
		if fault := whole(t.Context(), m, id, transaction, l.sizes); fault != "" {
			faults = append(faults, fault)
		}
	}
	return faults
}

func whole(ctx context.Context, m *mmsc.MMSC, id, transaction string, sizes func(int) int) string {
	msg, _, err := m.Show(ctx, id)
	if err != nil {
		return fmt.Sprintf("%s (%s): %v", id, transaction, err)
	}
	got, err := m.Retrieve(ctx, msg.Recipients[0].Ref, mmsc.Identity{})
	if err != nil {
		return fmt.Sprintf("%s: %v", id, err)
	}
	var n int
	fmt.Sscanf(transaction, "crash-%d", &n)
	var b bytes.Buffer
	if err := got.Write(ctx, &b); err != nil {
		return fmt.Sprintf("%s: %v", id, err)
	}
	if !bytes.Equal(b.Bytes()[len(got.Head):], bodyOf(transaction, sizes(n))) {
		return fmt.Sprintf("%s: its body differs", id)
	}
	return ""
}

func rounds(short, long int) int {
	if os.Getenv("MMSROUTER_LONG") != "" {
		return long
	}
	return short
}

// TestKilled kills an MMSC at random moments under load, again and again on one data folder.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := newLedger(func(n int) int { return []int{200, 30_000, 130_000}[n%3] })
	for range rounds(6, 200) {
		p := startChild(t, dir, "")
		ctx, cancel := context.WithCancel(t.Context())
		kill := time.AfterFunc(time.Duration(100+rand.IntN(400))*time.Millisecond, func() { p.cmd.Process.Kill() })
		l.load(t, ctx, p.addr, 8)
		cancel()
		kill.Stop()
		p.cmd.Process.Kill() // when the senders gave up before
		p.cmd.Wait()         // killed: its status says nothing new
	}
	t.Logf("%d acknowledged, %d without an answer", len(l.acked), len(l.open))
	if len(l.acked) == 0 {
		t.Fatal("nothing was acknowledged: the test shows nothing")
	}
	l.check(t, dir, "")
}

// TestPostgresKilled kills the database server under load, again and again.
func TestPostgresKilled(t *testing.T) {
	t.Parallel()
	cluster := pgtest.Own(t)
	database, err := cluster.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l := newLedger(func(n int) int { return []int{200, 30_000, 130_000}[n%3] })
	p := startChild(t, dir, database)
	defer func() { p.cmd.Process.Kill(); p.cmd.Wait() }() // killed: its status says nothing new
	for range rounds(2, 50) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { l.load(t, ctx, p.addr, 8); close(done) }()
		select {
		case <-time.After(time.Duration(100+rand.IntN(300)) * time.Millisecond):
		case <-done:
		}
		if err := cluster.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cluster.Up(); err != nil {
			t.Fatal(err)
		}
		before := l.count()
		for end := time.Now().Add(20 * time.Second); l.count() == before; { // recovery by itself
			if time.Now().After(end) {
				t.Fatal("no message was accepted after the server came back")
			}
			transaction, pdu := l.take()
			if head, err := post(ctx, http.DefaultClient, p.addr, pdu); err == nil && head.Response == mms.StatusOk {
				if err := l.answered(transaction, head); err != nil {
					t.Error(err)
				}
			}
		}
		cancel()
		<-done
	}
	t.Logf("%d acknowledged, %d without an answer", len(l.acked), len(l.open))
	l.check(t, dir, database)
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}
