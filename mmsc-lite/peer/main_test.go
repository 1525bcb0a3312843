package peer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/peer"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// childEnv names the data folder of a child: the test binary run again as an own server, to be killed; childPort is the
// sender's.
const (
	childEnv  = "MMSROUTER_TEST_PEER_DIR"
	childPort = "MMSROUTER_TEST_PEER_PORT"
)

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

// child serves on a free port, which it prints, until it is killed.
func child(dir string) error {
	st, err := peer.Open(context.Background(), dir, "")
	if err != nil {
		return err
	}
	x, err := peer.New(peer.Options{Config: quick(&sender{port: os.Getenv(childPort)}), Store: st, Resolver: names{"mms.b.example": {"127.0.0.1"}},
		Identify: func(r *http.Request) string { return r.Header.Get(identity) }})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- http.Serve(l, x.Handler(http.NotFoundHandler())) }()
	fmt.Println(l.Addr())
	return errors.Join(x.Run(context.Background()), <-served)
}
