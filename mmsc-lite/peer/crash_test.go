package peer_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/peer"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// TestKilled: the process is killed again and again while phones fetch and answer. What was served is kept, what was confirmed is
// queued or was passed back.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	b, dir := newSender(t), pgtest.TempDir(t)
	var mu sync.Mutex
	served, confirmed := map[string]bool{}, map[string]bool{}
	for round := range 3 {
		address, kill := run(t, dir, b.port)
		var phones sync.WaitGroup
		for p := range 8 {
			phones.Go(func() {
				for n := 0; ; n++ {
					id := fmt.Sprint(round, "-", p, "-", n)
					location := "http://" + address + "/relay?location=" + url.QueryEscape(b.at("/m/"+id))
					if resp, err := http.Get(location); err != nil || !whole(resp) {
						return // killed
					}
					mu.Lock()
					served[id] = true
					mu.Unlock()
					resp, err := http.Post(location, mediaType, bytes.NewReader(mms.NotifyResp{TransactionID: id, Status: mms.Retrieved}.Append(nil)))
					if err != nil || !whole(resp) {
						return
					}
					mu.Lock()
					confirmed[id] = true
					mu.Unlock()
				}
			})
		}
		for enough := false; !enough; { // some of each, then in the midst of it
			<-b.news
			mu.Lock()
			enough = len(confirmed) > 20*(round+1)
			mu.Unlock()
		}
		kill()
		phones.Wait()
	}
	st := open(t, dir, "")
	for id := range served {
		m, err := st.Find(t.Context(), peer.KeyOf(b.at("/m/"+id), ""))
		if err != nil {
			t.Fatalf("message %s was served and is not kept: %v", id, err)
		}
		var got bytes.Buffer
		if err := st.Write(t.Context(), m, &got); err != nil || !bytes.Equal(got.Bytes(), message("to /m/"+id)) {
			t.Errorf("message %s: %v, %d octets", id, err, got.Len())
		}
	}
	known := map[string]bool{}
	b.mu.Lock()
	for _, p := range b.told {
		known[string(p.TransactionID())] = true
	}
	b.mu.Unlock()
	// What the killed ones had leased is due when the leases have run out; here nobody waits for that.
	if err := releaseAll(dir); err != nil {
		t.Fatal(err)
	}
	for {
		due, _, err := st.Due(t.Context(), time.Now().Add(time.Hour), 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(due) == 0 {
			break
		}
		for _, i := range due {
			known[i.Location[strings.LastIndexByte(i.Location, '/')+1:]] = true
		}
	}
	for id := range confirmed {
		if !known[id] {
			t.Errorf("answer %s was confirmed and is lost", id)
		}
	}
	t.Logf("%d messages served, %d answers confirmed, %d of them passed back before the end", len(served), len(confirmed), len(b.told))
}

func whole(resp *http.Response) bool {
	defer resp.Body.Close()
	_, err := io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == 200
}

// run starts a child and gives its address, and a function that kills it.
func run(t *testing.T, dir, port string) (address string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childPort+"="+port)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		err := cmd.Process.Kill()
		var exit *exec.ExitError
		if err2 := cmd.Wait(); err != nil || !errors.As(err2, &exit) {
			t.Errorf("kill: %v %v", err, err2)
		}
	})
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child says nothing: %v\n%s", err, log.String())
	}
	address = strings.TrimSpace(line)
	for end := time.Now().Add(20 * time.Second); ; { // until Run is under way
		resp, err := http.Post("http://"+address+"/relay?location="+url.QueryEscape("http://mms.b.example:"+port+"/m/x"), mediaType,
			bytes.NewReader(mms.NotifyResp{TransactionID: "x", Status: mms.Rejected}.Append(nil)))
		if err == nil && whole(resp) {
			return address, kill
		}
		if time.Now().After(end) {
			t.Fatalf("the child does not serve: %v\n%s", err, log.String())
		}
	}
}

// releaseAll ends all leases in a folder's database.
func releaseAll(dir string) error {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "peer.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	_, err = db.Exec(`UPDATE peer_indications SET due_at = 0 WHERE due_at IS NOT NULL`)
	return errors.Join(err, db.Close())
}
