package mmsc_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"

	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// childEnv names the data folder of a child: the test binary run again as an MMSC, to be killed.
const childEnv = "MMSROUTER_TEST_MMSC_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(pgtest.Main(m))
}

// child serves MM1 on a free port, which it prints, with its process id, until it is told to end or killed.
func child(dir string) error {
	cfg := mmsc.DefaultConfig()
	cfg.Database = os.Getenv(childEnv + "_DATABASE")
	m, err := mmsc.New(mmsc.Options{Config: cfg, DataDir: dir, NodeName: "child", URL: "http://mms.example.net",
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	// The door of the process beside it trusts identity headers; this one plays that door.
	server := &http.Server{Handler: m.Handler(), ConnContext: mmsc.TrustAll}
	go server.Serve(l)
	fmt.Println(l.Addr(), os.Getpid())
	err = m.Run(ctx)
	server.Close()
	return err
}
