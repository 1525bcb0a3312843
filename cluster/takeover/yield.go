package takeover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// YieldFile is where a router says whether it yields, below its node.data. keepalived watches the folder.
func YieldFile(data string) string { return filepath.Join(data, "takeover", "yield") }

// MakeYieldFolder makes the folder of that file before keepalived looks for it. It belongs to the owner of node.data, the user that the router
// runs as.
func MakeYieldFolder(data string) error {
	dir := filepath.Dir(YieldFile(data))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("node.data: %w", err)
	}
	at, err := os.Stat(data)
	if err != nil {
		return fmt.Errorf("node.data: %w", err)
	}
	if s, ok := at.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := os.Chown(dir, int(s.Uid), int(s.Gid)); err != nil {
			return fmt.Errorf("node.data: %w", err)
		}
	}
	return nil
}

// Yield says whether this router would rather others had all service addresses; keepalived sees it at once. Without another that is
// ready they stay all the same.
func (h *Holders) Yield(on bool) error {
	if h.o.Data == "" {
		return nil
	}
	text := "0\n"
	if on {
		text = "1\n"
	}
	file := YieldFile(h.o.Data)
	if old, err := os.ReadFile(file); err == nil && string(old) == text {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("takeover: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("takeover: %w", err)
	}
	if err := write(filepath.Dir(file), File{Path: file, Mode: 0o644, Text: text}); err != nil {
		return fmt.Errorf("takeover: %w", err)
	}
	h.o.Log.Info("service addresses: told keepalived", "yield", on)
	return nil
}

// Own gives the service addresses of a router of the configuration.
func (h *Holders) Own(router string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if row := h.state[router]; row != nil {
		return row.Addresses
	}
	return nil
}
