package app_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	a := start(t, "mmsc: {enabled: true}\n")
	hear := func(want string) {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		n, err := c.Read(b)
		if err != nil || !strings.HasPrefix(string(b[:n]), want) {
			t.Fatalf("heard %q, %v; want %s", b[:n], err, want)
		}
	}
	hear("READY=1")
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	hear("RELOADING=1\nMONOTONIC_USEC=")
	hear("READY=1")
	a.Drain()
	if err := <-a.ended; err != nil {
		t.Fatal(err)
	}
	a.ended <- nil
	hear("STOPPING=1")
}
