package fake

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Entry is a message that was stored.
type Entry struct {
	At          time.Time `json:"at"`
	Transaction string    `json:"transaction"`
	Size        int64     `json:"size"`
	Sum         uint64    `json:"sum"`               // xxhash64 of the octets
	Attempt     string    `json:"attempt,omitempty"` // X-Mmsrouter-Attempt: the router does not know whether it is the first copy
}

func (m *MMSC) store(e Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("fake MMSC: %w", err)
	}
	if _, err := m.ledger.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("fake MMSC: ledger: %w", err)
	}
	return nil
}

// ReadLedger reads what was stored. A last line that was cut off by a kill was never answered, and is left out.
func ReadLedger(file string) ([]Entry, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	defer f.Close()
	var all []Entry
	var cut error
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if cut != nil {
			return nil, cut
		}
		var e Entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			cut = fmt.Errorf("ledger %s: line %d: %w", file, len(all)+1, err)
			continue
		}
		all = append(all, e)
	}
	return all, lines.Err()
}
