package mmsc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
)

// CDRConfig says where call detail records go: one per recipient at its final state.
type CDRConfig struct {
	Dir    string        `yaml:"dir"`    // empty: folder cdr in node.data
	Format []string      `yaml:"format"` // json (a line each), csv; empty: no files
	Rotate time.Duration `yaml:"rotate"` // a new file after so long
}

func (c *CDRConfig) validate() error {
	for _, f := range c.Format {
		if err := oneOf("mmsc.cdr.format", f, "json", "csv"); err != nil {
			return err
		}
	}
	if c.Rotate < time.Minute {
		return fmt.Errorf("mmsc.cdr.rotate: %s; at least 1m", c.Rotate)
	}
	return nil
}

// exporter writes CDRs into files, each exactly once: a batch is claimed in the database, written and synced, then
// confirmed. After a crash in between the batch is claimed but not confirmed, and those of it that stand in the files
// already are not written again.
type exporter struct {
	cfg   CDRConfig
	dir   string
	store *store.Store
	log   *slog.Logger
	lock  *os.File
	files map[string]*cdrFile // by format
}

type cdrFile struct {
	*os.File
	opened time.Time
	size   int64
}

// cdrBatch is how many CDRs share a sync. It bounds what is looked for in the files after a crash.
const cdrBatch = 256

// newExporter makes the folder. Of two processes on one folder (an upgrade under way) the one that holds its lock exports.
func newExporter(cfg CDRConfig, dir string, s *store.Store, log *slog.Logger) (*exporter, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("mmsc.cdr.dir: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("mmsc.cdr.dir: %w", err)
	}
	return &exporter{cfg: cfg, dir: dir, store: s, log: log, lock: lock, files: make(map[string]*cdrFile)}, nil
}

// run exports until ctx ends.
func (x *exporter) run(ctx context.Context) {
	defer x.close()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	locked, recovered, failing := false, false, false
	for {
		if !locked {
			locked = syscall.Flock(int(x.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
		}
		if locked {
			err := x.export(ctx, !recovered)
			recovered = recovered || err == nil
			var down *store.Unavailable
			if err != nil && ctx.Err() == nil && !errors.As(err, &down) && !failing {
				x.log.Error("CDRs can't be written; they wait in the database", "dir", x.dir, "err", err)
			}
			failing = err != nil
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-x.store.Wake.CDR:
		}
	}
}

// export writes what waits. After a start it looks first at what had been claimed before.
func (x *exporter) export(ctx context.Context, afterStart bool) error {
	for {
		records, err := x.store.ClaimRecords(ctx, cdrBatch, !afterStart)
		if err != nil {
			return err
		}
		if len(records) > 0 {
			for _, format := range x.cfg.Format {
				if err := x.write(format, records); err != nil {
					return err
				}
			}
			if err := x.store.RecordsWritten(ctx, records); err != nil {
				return err
			}
		}
		if afterStart {
			afterStart = false
			continue
		}
		if len(records) < cdrBatch {
			return nil
		}
	}
}

// write appends the records that do not stand in the newest files yet, and syncs. What a failed write left is cut off.
func (x *exporter) write(format string, records []store.Record) error {
	f, there, err := x.file(format)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, r := range records {
		if there[r.Recipient] {
			continue
		}
		if err := appendRecord(&b, format, r); err != nil {
			return err
		}
	}
	if _, err = f.Write(b.Bytes()); err == nil {
		err = f.Sync()
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("write %s: %w", f.Name(), err), f.Truncate(f.size), f.Close())
		delete(x.files, format) // opened again, and looked through, before the next attempt
		return err
	}
	f.size += int64(b.Len())
	return nil
}

var csvHeader = []string{"node", "message_id", "recipient_id", "origin", "sender", "recipient", "kind", "class", "size", "transaction_id",
	"submitted", "fetched", "final", "state", "detail", "notifications", "service", "price"}

const recipientColumn = 2

var lineEnds = strings.NewReplacer("\r", " ", "\n", " ")

func appendRecord(b *bytes.Buffer, format string, r store.Record) error {
	if format == "json" {
		b.WriteString(r.JSON)
		b.WriteByte('\n')
		return nil
	}
	var c store.CDR
	if err := json.Unmarshal([]byte(r.JSON), &c); err != nil {
		return fmt.Errorf("CDR %d: %w", r.ID, err)
	}
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format(time.RFC3339Nano)
	}
	w := csv.NewWriter(b)
	row := []string{c.Node, c.MessageID, strconv.FormatInt(c.RecipientID, 10), c.Origin, c.Sender, c.Recipient, c.Kind, c.Class,
		strconv.FormatInt(c.Size, 10), c.Transaction, stamp(c.Submitted), stamp(c.Fetched), stamp(c.Final), c.State, c.Detail, strconv.Itoa(c.Notifications),
		c.Service, c.Price}
	for i := range row {
		row[i] = lineEnds.Replace(row[i]) // a handset chose some of them; each record is one line, by which a crash is mended
	}
	err := w.Write(row)
	w.Flush()
	return errors.Join(err, w.Error())
}

func extension(format string) string {
	if format == "csv" {
		return ".csv"
	}
	return ".jsonl"
}

// file gives the file to append to. When it had to be opened, there holds the recipients whose CDRs stand in the newest two.
func (x *exporter) file(format string) (f *cdrFile, there map[int64]bool, err error) {
	f = x.files[format]
	if f != nil && time.Since(f.opened) < x.cfg.Rotate {
		return f, nil, nil
	}
	if f != nil {
		if err := f.Close(); err != nil {
			return nil, nil, fmt.Errorf("close %s: %w", f.Name(), err)
		}
		delete(x.files, format)
	}
	names, err := filepath.Glob(filepath.Join(x.dir, "cdr-*"+extension(format)))
	if err != nil {
		return nil, nil, err
	}
	sort.Strings(names)
	there = make(map[int64]bool)
	for _, name := range names[max(0, len(names)-2):] {
		if err := readRecipients(name, format, there); err != nil {
			return nil, nil, err
		}
	}
	now := time.Now().UTC()
	file, err := os.OpenFile(filepath.Join(x.dir, "cdr-"+now.Format("20060102T150405.000000000Z")+extension(format)), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return nil, nil, fmt.Errorf("new CDR file: %w", err)
	}
	f = &cdrFile{File: file, opened: now}
	if format == "csv" {
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		err = w.Write(csvHeader)
		w.Flush()
		if err == nil {
			_, err = file.Write(b.Bytes())
		}
		f.size = int64(b.Len())
	}
	if err == nil {
		err = syncDir(x.dir) // a file whose name is lost in a crash is lost too
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("new CDR file: %w", err), file.Close())
	}
	x.files[format] = f
	return f, there, nil
}

// readRecipients notes the recipients in a file. A crash may have torn its last line: it is cut off, since its record was
// never confirmed and will be written again.
func readRecipients(name, format string, there map[int64]bool) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("read CDRs: %w", err)
	}
	defer f.Close()
	r, whole := bufio.NewReader(f), int64(0)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			if len(line) > 0 {
				return errors.Join(f.Truncate(whole), f.Sync())
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read CDRs: %w", err)
		}
		whole += int64(len(line))
		if id, ok := recipientIn(format, line); ok {
			there[id] = true
		}
	}
}

func recipientIn(format string, line []byte) (int64, bool) {
	if format == "json" {
		var c struct {
			RecipientID int64 `json:"recipient_id"`
		}
		return c.RecipientID, json.Unmarshal(line, &c) == nil
	}
	row, err := csv.NewReader(bytes.NewReader(line)).Read()
	if err != nil || len(row) <= recipientColumn {
		return 0, false
	}
	id, err := strconv.ParseInt(row[recipientColumn], 10, 64)
	return id, err == nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// close closes the files; the lock goes with its own.
func (x *exporter) close() {
	x.lock.Close() // nothing was written to it
	for _, f := range x.files {
		if err := f.Close(); err != nil {
			x.log.Warn("close CDR file", "err", err) // what was confirmed has been synced
		}
	}
}
