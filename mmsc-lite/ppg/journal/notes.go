package journal

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mms/smpp"
)

// notes remember what carriers have taken for the moment between their answer and the commit of it: a line in a file, written without a
// sync. That outlives the death of the process (not that of the machine), so that nothing is sent again which an SMSC has confirmed to us.
// There are two files by turns: one is emptied when all that it holds is committed.
type notes struct {
	mu      sync.Mutex
	files   [2]*os.File
	sizes   [2]int64
	open    [2]int // notes not yet committed
	current int
}

// note is a line.
type note struct {
	Instance string   `json:"instance"` // whose lease it was
	Row      int64    `json:"row"`
	Attempts int      `json:"attempts"`
	Confirm  bool     `json:"confirm"`
	Notify   bool     `json:"notify"`
	SMSC     string   `json:"smsc,omitempty"`
	IDs      []string `json:"ids,omitempty"`
	Until    int64    `json:"until,omitempty"`
}

// notesSize is how large a file grows before the other one's turn comes.
const notesSize = 256 << 10

func openNotes(dir string) (*notes, error) {
	n := &notes{}
	for i := range n.files {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("ppg.sent.%d", i)), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
		if err != nil {
			return nil, errors.Join(err, n.close())
		}
		n.files[i] = f
	}
	return n, nil
}

func (n *notes) close() error {
	var errs []error
	for _, f := range n.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// add writes a line and gives the function that says that it is committed.
func (n *notes) add(line note) (committed func(), err error) {
	b, err := json.Marshal(&line)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if other := 1 - n.current; n.sizes[n.current] > notesSize && n.open[other] == 0 {
		if err := n.files[other].Truncate(0); err != nil {
			return nil, err
		}
		n.current, n.sizes[other] = other, 0
	}
	i := n.current
	if _, err := n.files[i].Write(append(b, '\n')); err != nil {
		return nil, err
	}
	n.sizes[i] += int64(len(b) + 1)
	n.open[i]++
	return sync.OnceFunc(func() {
		n.mu.Lock()
		n.open[i]--
		n.mu.Unlock()
	}), nil
}

// Note remembers that a carrier has taken a delivery, until committed is called after Finish or Await. An error leaves nothing but the
// commit itself to rely on.
func (j *Journal) Note(d *Delivery, smsc string, ids []string, until time.Time) (committed func(), err error) {
	if j.notes == nil {
		return func() {}, nil
	}
	return j.notes.add(note{Instance: j.instance, Row: d.Row, Attempts: d.Attempts, Confirm: d.Push.Confirm, Notify: d.Push.NotifyTo != "", SMSC: smsc, IDs: ids, Until: millis(until)})
}

// replay commits what a process that died had noted, and empties the files. Lines of work that somebody has settled since have no effect.
func (j *Journal) replay(ctx context.Context) error {
	tx, err := j.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for _, f := range j.notes.files {
		if err := j.replayFile(tx, f); err != nil {
			_ = tx.Rollback() // the cause says more
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for _, f := range j.notes.files {
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) replayFile(tx *sql.Tx, f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return err
		}
		var n note
		// What can't be read was cut by the death that it is about. A machine that lost its power may leave zeros in place of what it had not
		// written, and they must not keep the next process from its work.
		if json.Unmarshal(bytes.Trim(line, "\x00"), &n) == nil {
			if err := n.settle(tx); err != nil {
				return fmt.Errorf("replay what was sent: %w", err)
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

func (n *note) settle(tx *sql.Tx) error {
	now := millis(time.Now())
	state, code, detail := Delivered, pap.OK, "taken by the bearer"
	var due, notify sql.NullInt64
	if n.Confirm {
		state, code, detail = Waiting, pap.Accepted, "taken by the SMSC"
		due = sql.NullInt64{Int64: n.Until, Valid: true}
	} else if n.Notify {
		notify = sql.NullInt64{Int64: now, Valid: true}
	}
	res, err := tx.Exec(`UPDATE ppg_deliveries SET state = $1, code = $2, detail = $3, event_at = $4, due_at = $5, lease = '', attempts = attempts + 1, notify_due = $6
		WHERE id = $7 AND lease = $8 AND state = $9 AND attempts = $10`, state, int(code), detail, now, due, notify, n.Row, n.Instance, Pending, n.Attempts)
	if err != nil {
		return err
	}
	if changed, err := res.RowsAffected(); err != nil || changed == 0 || !n.Confirm {
		return err
	}
	return insertSegments(tx, n.Row, n.SMSC, n.IDs)
}

// insertSegments notes the message ids of a delivery.
func insertSegments(tx *sql.Tx, delivery int64, smsc string, ids []string) error {
	for _, text := range ids {
		id := smpp.ParseID(text)
		if _, err := tx.Exec(`INSERT INTO ppg_segments (delivery, smsc, text, decimal, hex, delivered) VALUES ($1, $2, $3, $4, $5, 0)`, delivery, smsc, id.Text, id.Decimal, id.Hex); err != nil {
			return fmt.Errorf("note a message id: %w", err)
		}
	}
	return nil
}
