package mmsc_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A power loss keeps what was synced and any part of what was written since. This test records, below the store, what
// an MMSC under load asks of the kernel (strace), and for many moments of the record builds data folders as a power loss
// could have left them. Every message whose M-Send.conf had been written to its socket by then must be in each of them.

// action is one thing that the process asked of the kernel.
type action struct {
	kind  string // create, write, sync, truncate, answer
	file  string
	off   int64 // of a write; the new length of a truncate
	data  []byte
	acked []string // Message-IDs in an answer
	from  int      // of a sync: how many actions stood before it began
}

var (
	callLine   = regexp.MustCompile(`^(\d+) +(pwrite64|pwritev|fdatasync|fsync|ftruncate|write)\((\d+)<([^>]*)>(.*)$`)
	createLine = regexp.MustCompile(`^\d+ +openat\(AT_FDCWD[^,]*, "([^"]*)", [^,)]*O_EXCL`)
	resumeLine = regexp.MustCompile(`^(\d+) +<\.\.\. (pwrite64|pwritev|fdatasync|fsync|ftruncate|write) resumed>`)
	submitLine = regexp.MustCompile(`^\d+ +io_submit\((\w+), .*IOCB_CMD_FDSYNC, aio_fildes=\d+<([^>]*)>`)
	eventsLine = regexp.MustCompile(`^(\d+) +io_getevents\((\w+), (.*)$`)
	eventsRest = regexp.MustCompile(`^(\d+) +<\.\.\. io_getevents resumed>(.*)$`)
	pieceText  = regexp.MustCompile(`iov_base=("[^"]*")`)
	messageID  = regexp.MustCompile(`[A-Za-z0-9_-]{32}@mms\.example\.net`)
)

// readTrace turns strace's lines into actions in their order. A write counts from its beginning; a sync counts from its end, and for what
// was written before its beginning: that is the least kind way to read the record.
func readTrace(t *testing.T, name, dir string) (all []action) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pending := map[string]action{}    // a sync under way, by thread
	background := map[string]action{} // one that the kernel does beside the process, by the context it was handed in with
	waits := map[string]string{}      // the context whose events a thread waits for
	event := func(ctx, outcome string) {
		if a, ok := background[ctx]; ok && strings.Contains(outcome, "res=0") {
			all = append(all, a)
			delete(background, ctx)
		}
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := resumeLine.FindStringSubmatch(line); m != nil {
			if a, ok := pending[m[1]]; ok {
				all = append(all, a)
				delete(pending, m[1])
			}
			continue
		}
		if m := createLine.FindStringSubmatch(line); m != nil {
			if rel, inside := strings.CutPrefix(plain(m[1]), dir+"/contents/"); inside {
				all = append(all, action{kind: "create", file: "contents/" + rel})
			}
			continue
		}
		if m := submitLine.FindStringSubmatch(line); m != nil {
			if rel, inside := strings.CutPrefix(plain(m[2]), dir+"/"); inside {
				background[m[1]] = action{kind: "sync", file: rel, from: len(all)}
			}
			continue
		}
		if m := eventsLine.FindStringSubmatch(line); m != nil {
			waits[m[1]] = m[2]
			event(m[2], m[3])
			continue
		}
		if m := eventsRest.FindStringSubmatch(line); m != nil {
			event(waits[m[1]], m[2])
			continue
		}
		m := callLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		call, path, rest := m[2], plain(m[4]), strings.TrimPrefix(m[5], ", ")
		rel, inside := strings.CutPrefix(path, dir+"/")
		switch {
		case call == "write" && (strings.HasPrefix(path, "socket:") || strings.HasPrefix(path, "TCP")):
			a := action{kind: "answer"}
			for _, id := range messageID.FindAll(unhex(rest), -1) {
				a.acked = append(a.acked, string(id))
			}
			all = append(all, a)
		case !inside || !strings.HasPrefix(rel, "mmsc.db") && !strings.HasPrefix(rel, "contents") || strings.HasSuffix(rel, "-shm"):
		case call == "pwrite64":
			off, err := strconv.ParseInt(numberAfterData(rest, 1), 10, 64)
			if err != nil {
				t.Fatalf("a line that can't be read: %.200s", line)
			}
			all = append(all, action{kind: "write", file: rel, off: off, data: unhex(rest)})
		case call == "pwritev":
			var data []byte
			for _, v := range pieceText.FindAllStringSubmatch(rest, -1) {
				data = append(data, unhex(v[1])...)
			}
			off, err := strconv.ParseInt(numberAfterData(rest, 2), 10, 64) // the length of the last piece, the number of pieces
			if err != nil {
				t.Fatalf("a line that can't be read: %.200s", line)
			}
			all = append(all, action{kind: "write", file: rel, off: off, data: data})
		case call == "ftruncate":
			n, err := strconv.ParseInt(strings.FieldsFunc(rest, func(r rune) bool { return r < '0' || r > '9' })[0], 10, 64)
			if err != nil {
				t.Fatalf("a line that can't be read: %.200s", line)
			}
			all = append(all, action{kind: "truncate", file: rel, off: n})
		case strings.Contains(line, "<unfinished"):
			pending[m[1]] = action{kind: "sync", file: rel, from: len(all)}
		default:
			all = append(all, action{kind: "sync", file: rel, from: len(all)})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// plain takes the \x escapes out of a path.
func plain(s string) string {
	if b, err := hex.DecodeString(strings.ReplaceAll(s, `\x`, "")); err == nil && strings.HasPrefix(s, `\x`) {
		return string(b)
	}
	return s
}

// unhex reads the quoted \x.. text at the start of rest.
func unhex(rest string) []byte {
	text, _, ok := strings.Cut(strings.TrimPrefix(rest, `"`), `"`)
	if !ok {
		return nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if err != nil {
		return nil
	}
	return b
}

// numberAfterData gives the number behind the quoted data, and behind so many others.
func numberAfterData(rest string, behind int) string {
	i := strings.LastIndexByte(rest, '"')
	args := strings.FieldsFunc(rest[i+1:], func(r rune) bool { return r < '0' || r > '9' })
	if len(args) <= behind {
		return ""
	}
	return args[behind]
}

// disk is a set of files as they are after a power loss.
type disk map[string][]byte

func (d disk) apply(a action, keep int) {
	switch a.kind {
	case "write":
		data := a.data[:min(keep, len(a.data))]
		f := d[a.file]
		if need := int(a.off) + len(data); need > len(f) {
			f = append(f, make([]byte, need-len(f))...)
		}
		copy(f[a.off:], data)
		d[a.file] = f
	case "truncate":
		f := d[a.file]
		if int(a.off) < len(f) {
			f = f[:a.off]
		} else {
			f = append(f, make([]byte, int(a.off)-len(f))...)
		}
		d[a.file] = f
	}
}

// after builds the files that a power loss behind the actions could leave: what was synced, and of the rest what chance lets
// through: whole, in part (a sector at a time), or not at all.
func after(start disk, done []action, luck func() float64) disk {
	d := disk{}
	for name, b := range start {
		d[name] = bytes.Clone(b)
	}
	synced := map[string]int{} // where the last sync of a file began
	for _, a := range done {
		if a.kind == "sync" {
			synced[a.file] = max(synced[a.file], a.from)
		}
	}
	gone := map[string]bool{} // made, but its folder has not been synced since
	for i, a := range done {
		switch last, ok := synced[a.file]; {
		case a.kind == "create":
			gone[a.file] = synced["contents"] < i && luck() < 0.5
			d[a.file] = nil
		case a.kind != "write" && a.kind != "truncate":
		case ok && i < last:
			d.apply(a, len(a.data))
		default:
			switch l := luck(); {
			case l < 0.4:
			case l < 0.5:
				d.apply(a, rand.IntN(len(a.data)/512+1)*512)
			default:
				d.apply(a, len(a.data))
			}
		}
	}
	maps.DeleteFunc(d, func(name string, _ []byte) bool { return gone[name] })
	return d
}

func (d disk) write(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "contents"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range d {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPowerLoss(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed: no record of what was written and synced")
	}
	dir := t.TempDir()
	newLab(t, func(o *mmscOptions) { o.DataDir = dir }).stop() // the schema is there before the record begins
	start := disk{}
	if start["mmsc.db"], err = os.ReadFile(filepath.Join(dir, "mmsc.db")); err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	p := startChild(t, dir, "", "env", "GODEBUG=asyncpreemptoff=1", strace, "--seccomp-bpf", "-f", "-y", "-xx", "-s", "1000000", "-o", trace, "-e", "trace=openat,pwrite64,pwritev,fdatasync,fsync,ftruncate,write,io_submit,io_getevents")
	l := newLedger(func(n int) int { return []int{100, 9000, 70_000}[n%3] })
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rounds(2, 6))*time.Second)
	defer cancel()
	l.load(t, ctx, p.addr, 4)
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil { // strace itself lets nobody interrupt it
		t.Fatal(err)
	}
	p.cmd.Wait() // strace ends with the status of the child
	all := readTrace(t, trace, dir)
	answers, syncs, contents := 0, 0, 0
	for _, a := range all {
		answers += len(a.acked)
		if a.kind == "sync" {
			syncs++
		}
		if a.kind == "write" && strings.HasPrefix(a.file, "contents/") {
			contents++
		}
	}
	t.Logf("%d actions, %d syncs, %d writes of contents, %d answers", len(all), syncs, contents, answers)
	if answers < 3 {
		t.Skipf("only %d answers were recorded here: strace may not be allowed to trace", answers)
	}
	if contents == 0 {
		t.Fatal("no write of a content was recorded: the record is not whole")
	}
	// The check must be able to fail: without what was synced nothing is there.
	if faults := l.at(t, all, start, len(all), func(disk) disk { return start }); len(faults) == 0 {
		t.Fatal("messages were found on a disk that was never written: the check is blind")
	}
	for range rounds(15, 150) {
		cut := 1 + rand.IntN(len(all))
		if rand.IntN(2) == 0 { // right behind an answer, with as little as a disk may keep
			for cut < len(all) && len(all[cut-1].acked) == 0 {
				cut++
			}
		}
		luck := rand.Float64
		if rand.IntN(2) == 0 {
			luck = func() float64 { return 0 }
		}
		if faults := l.at(t, all, start, cut, func(disk) disk { return after(start, all[:cut], luck) }); len(faults) > 0 {
			t.Fatalf("power loss behind action %d of %d: %d faults, first %s", cut, len(all), len(faults), faults[0])
		}
	}
}

// at checks the messages that were acknowledged before the cut on the disk that build gives.
func (l *ledger) at(t *testing.T, all []action, start disk, cut int, build func(disk) disk) []string {
	t.Helper()
	known := &ledger{acked: map[string]string{}, sizes: l.sizes}
	for _, a := range all[:cut] {
		for _, id := range a.acked {
			if transaction, ok := l.acked[id]; ok { // else its sender had gone before the answer came
				known.acked[id] = transaction
			}
		}
	}
	return known.lost(t, build(start).write(t), "")
}
