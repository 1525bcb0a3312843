// Package program builds the router for tests that run it as a process, and finds addresses for it.
package program

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// built is the program, built once for all tests of a test binary.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// Path gives where it is. The test is skipped where it can't be built, for want of go.
func Path(t testing.TB) string {
	t.Helper()
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go in PATH: the program can't be built here")
	}
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "mmsrouter-program"); built.err != nil {
			return
		}
		cmd := exec.Command(tool, "build", "-o", filepath.Join(built.dir, "mmsrouter"), "github.com/mmsrouter/mmsrouter/cmd/mmsrouter")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build: %w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "mmsrouter")
}

// Remove takes it away again; for TestMain, behind the last test.
func Remove() error {
	if built.dir == "" {
		return nil
	}
	return os.RemoveAll(built.dir)
}

// Addresses gives n addresses on one host of 127.0.0.0/8 that nobody else picks. The test is skipped where there is but 127.0.0.1.
func Addresses(t testing.TB, n int) (list []string) {
	t.Helper()
	var b [3]byte
	_, _ = rand.Read(b[:]) // it never fails
	host := fmt.Sprintf("127.%d.%d.%d", 16+b[0]%200, b[1], 1+b[2]%250)
	for range n {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Skipf("no more loopback addresses here: %v", err)
		}
		defer l.Close() // held until all are found, so that they differ
		list = append(list, l.Addr().String())
	}
	return list
}
