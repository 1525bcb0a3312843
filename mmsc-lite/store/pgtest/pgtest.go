// Package pgtest gives tests a PostgreSQL of their own: a cluster in a temporary folder, reached by a socket in that
// folder, run by a user who is not root, gone when the tests are.
//
// One cluster serves a test process: TestMain calls Main. DSN gives each test a fresh database in it, or skips the test
// with one line where PostgreSQL is not installed.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Cluster is a PostgreSQL server.
type Cluster struct {
	dir   string
	bin   string
	cred  *syscall.Credential // nil: the user who runs the tests
	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
	next  int
}

// errAbsent says that there is no PostgreSQL to run.
var errAbsent = errors.New("PostgreSQL is not installed (no initdb and postgres found)")

var shared struct {
	once sync.Once
	c    *Cluster
	err  error
}

// Main runs the tests and ends the shared cluster after them: os.Exit(pgtest.Main(m)).
func Main(m *testing.M) int {
	code := m.Run()
	if shared.c != nil {
		if err := shared.c.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
			return max(code, 1)
		}
	}
	return code
}

// DSN gives the address of a fresh database in the cluster that the tests of this process share.
func DSN(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() { shared.c, shared.err = Start(FastDir()) })
	if errors.Is(shared.err, errAbsent) {
		t.Skip(shared.err)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	dsn, err := shared.c.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

// Own starts a cluster for one test, which may stop and kill it.
func Own(t testing.TB) *Cluster {
	t.Helper()
	c, err := Start("")
	if errors.Is(err, errAbsent) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// FastDir gives a folder for databases whose durability a test does not look at: in memory where the system has plenty, else
// "" for the usual temporary folder.
func FastDir() string {
	const dir, plenty = "/dev/shm", 1 << 30
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil || int64(fs.Bavail)*fs.Bsize < plenty {
		return ""
	}
	return dir
}

// TempDir is t.TempDir in FastDir.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(FastDir(), "mmsc-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Start makes a cluster in a folder of base ("" for the usual temporary folder) and starts its server.
func Start(base string) (*Cluster, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	// The path of a socket has at most 107 octets, so no t.TempDir.
	dir, err := os.MkdirTemp(base, "pg")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, bin: bin}
	if os.Geteuid() == 0 {
		if err := c.becomeNobody(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	if out, err := c.command("initdb", "-D", c.data(), "-A", "trust", "-U", "mmsc", "-E", "UTF8", "--no-locale", "--no-sync").CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w: %s", err, out), os.RemoveAll(dir))
	}
	if err := c.Up(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return c, nil
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// becomeNobody finds a user to run the server, which refuses to run as root.
func (c *Cluster) becomeNobody() error {
	var errs []error
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		c.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		return os.Chown(c.dir, int(uid), int(gid))
	}
	return errors.Join(errs...)
}

func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred, Setpgid: true}
	return cmd
}

// Up starts the server and waits until it answers. After Kill the old one's children may still hold its memory: the new
// one then ends at once, and is started again.
func (c *Cluster) Up() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		ended, err := c.start()
		if err != nil {
			return fmt.Errorf("start PostgreSQL: %w", err)
		}
		if err = c.answers(ctx, ended, retry); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			text, _ := os.ReadFile(filepath.Join(c.dir, "log")) // shown beside the error if it can be read
			return fmt.Errorf("PostgreSQL does not answer: %w\n%s", err, text[max(0, len(text)-4000):])
		}
	}
}

// start starts the server; ended is closed when it has ended.
func (c *Cluster) start() (ended chan struct{}, err error) {
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := c.command("postgres", "-D", c.data(), "-k", c.dir, "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "fsync=on")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended = make(chan struct{})
	go func() {
		cmd.Wait() // however it ends, the next start tells
		close(ended)
	}()
	c.cmd, c.ended = cmd, ended
	return ended, nil
}

// answers waits until the server answers, or has ended.
func (c *Cluster) answers(ctx context.Context, ended chan struct{}, retry *time.Ticker) error {
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second) // a server that is just ending may take the connection and say nothing
		conn, err := pgx.Connect(try, c.dsn("postgres"))
		if err == nil {
			err = conn.Close(try)
			cancel()
			return err
		}
		cancel()
		select {
		case <-ended:
			return errors.New("it ended by itself")
		case <-ctx.Done():
			return err
		case <-retry.C:
		}
	}
}

// Kill ends the server at once; its children see that it is gone and end without a word, as in a crash.
func (c *Cluster) Kill() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return nil
	}
	err := c.cmd.Process.Kill()
	<-c.ended
	c.cmd = nil
	return err
}

// Close ends the server and removes its folder.
func (c *Cluster) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil {
		if err := c.cmd.Process.Signal(syscall.SIGQUIT); err != nil { // immediate shutdown: nothing is kept
			return err
		}
		<-c.ended
		c.cmd = nil
	}
	return os.RemoveAll(c.dir)
}

// Database makes a fresh database and gives its address.
func (c *Cluster) Database(ctx context.Context) (string, error) {
	conn, err := pgx.Connect(ctx, c.dsn("postgres"))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	c.mu.Lock()
	c.next++
	name := fmt.Sprintf("t%d", c.next)
	c.mu.Unlock()
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	return c.dsn(name), nil
}

func (c *Cluster) dsn(database string) string {
	return fmt.Sprintf("postgres://mmsc@/%s?host=%s&sslmode=disable", database, c.dir)
}

// binaries finds the folder of the newest PostgreSQL: in PATH, or where Debian keeps it.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errAbsent
	}
	sort.Slice(found, func(i, j int) bool { return major(found[i]) < major(found[j]) })
	return filepath.Dir(found[len(found)-1]), nil
}

func major(path string) int {
	n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // 0 for a folder that is no version: last choice
	return n
}
