package store_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// TestWorkIsFoundByIndex asks SQLite how it would run what runs again and again: nothing may read a whole table, or a million
// stored messages would slow down each submission.
func TestWorkIsFoundByIndex(t *testing.T) {
	dir := pgtest.TempDir(t)
	s, err := store.Open(t.Context(), store.Options{Dir: dir, Node: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "mmsc.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, c := range []struct{ name, query string }{
		{"due recipients", `SELECT id FROM recipients WHERE due_at IS NOT NULL AND due_at <= 5 ORDER BY due_at LIMIT 3`},
		{"claimed recipients", `SELECT r.id FROM recipients r JOIN messages m ON m.id = r.message_id WHERE r.due_at = 5 AND r.lease = 'x' ORDER BY r.id`},
		{"next due", `SELECT due_at FROM recipients WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1`},
		{"due reports", `SELECT id FROM reports WHERE due_at IS NOT NULL AND due_at <= 5 ORDER BY due_at LIMIT 3`},
		{"due held PDUs", `SELECT h.id FROM held h WHERE h.due_at IS NOT NULL AND h.due_at <= 5
			AND (h.sender = '' OR NOT EXISTS (SELECT 1 FROM held o WHERE o.sender = h.sender AND o.id < h.id AND o.due_at IS NOT NULL)) ORDER BY h.due_at LIMIT 3`},
		{"old messages", `SELECT id, content_id FROM messages WHERE purge_at IS NOT NULL AND purge_at <= 5 ORDER BY purge_at LIMIT 3`},
		{"old submissions", `SELECT digest FROM submissions WHERE at < 5 ORDER BY at LIMIT 3`},
		{"old held PDUs", `SELECT id FROM held WHERE final_at IS NOT NULL AND final_at < 5 ORDER BY final_at LIMIT 3`},
		{"users of a content", `SELECT (SELECT COUNT(*) FROM messages WHERE content_id = 5) + (SELECT COUNT(*) FROM mbox WHERE content_id = 5) + (SELECT COUNT(*) FROM held WHERE content_id = 5)`},
		{"an earlier submission", `SELECT m.id FROM submissions s JOIN messages m ON m.id = s.message_id WHERE s.digest = x'00'`},
		{"a content", `SELECT data FROM chunks WHERE content_id = 5 AND seq = 0`},
		{"what a segment holds", `SELECT COALESCE(SUM(size), 0), COALESCE(MAX(start + size), 0) FROM contents WHERE segment = 5 AND segment > 0`},
		{"contents to move", `SELECT id, start, size, sum FROM contents WHERE segment = 5 AND segment > 0 AND start > 7 ORDER BY start LIMIT 3`},
		{"the next segment", `SELECT segment, start + size FROM contents WHERE segment = (SELECT MIN(segment) FROM contents WHERE segment > 5 AND segment > 0)
			AND segment > 0 ORDER BY start DESC LIMIT 1`},
		{"open CDRs", `SELECT id FROM cdrs WHERE exporter = '' AND open IS NOT NULL ORDER BY id LIMIT 3`},
		{"a timeline", `SELECT at FROM events WHERE message_id = 5 ORDER BY id`},
		{"messages of a number", `SELECT m.id FROM messages m WHERE (m.sender = 'x' OR m.id IN (SELECT message_id FROM recipients WHERE address = 'x'))`},
	} {
		rows, err := db.Query("EXPLAIN QUERY PLAN " + c.query)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for rows.Next() {
			var a, b, d int
			var detail string
			if err := rows.Scan(&a, &b, &d, &detail); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(detail, "SCAN") && !strings.Contains(detail, "USING") && !strings.Contains(detail, "CONSTANT ROW") {
				t.Errorf("%s: %s", c.name, detail)
			}
			if strings.Contains(detail, "TEMP B-TREE") && c.name != "claimed recipients" { // a claim is small
				t.Errorf("%s: sorts: %s", c.name, detail)
			}
		}
		if err := rows.Err(); err != nil {
			t.Error(err)
		}
	}
}
