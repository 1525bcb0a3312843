package mmsc_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// BenchmarkSubmit measures durable submissions over the MM1 door with a number of senders.
func BenchmarkSubmit(b *testing.B) {
	for _, size := range []int{30_000, 300_000} {
		for _, senders := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%d octets, %d senders", size, senders), func(b *testing.B) {
				submissions(b, b.TempDir(), "", size, senders)
			})
		}
	}
}

// BenchmarkPostgres is 30,000 octets and 16 senders on PostgreSQL.
func BenchmarkPostgres(b *testing.B) {
	submissions(b, b.TempDir(), pgtest.DSN(b), 30_000, 16)
}

func submissions(b *testing.B, dir, database string, size, senders int) {
	cfg := mmsc.DefaultConfig()
	cfg.Database = database
	m, err := mmsc.New(mmsc.Options{Config: cfg, DataDir: dir, NodeName: "r1"})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	stop := runBench(b, m)
	defer stop()
	server := &http.Server{Handler: m.Handler()}
	go server.Serve(l)
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}}
	body := bytes.Repeat([]byte{7}, size)
	var n atomic.Int64
	var wg sync.WaitGroup
	b.SetBytes(int64(size))
	b.ResetTimer()
	for range senders {
		wg.Go(func() {
			for {
				i := n.Add(1)
				if i > int64(b.N) {
					return
				}
				p := sendReq(fmt.Sprint("T", time.Now().UnixNano(), i), body, 0x97, "+46700000002/TYPE=PLMN")
				res, err := client.Post("http://"+l.Addr().String()+"/", "application/vnd.wap.mms-message", bytes.NewReader(p))
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, res.Body) // so that the connection is kept
				res.Body.Close()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

func runBench(b *testing.B, m *mmsc.MMSC) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkGrown is 30,000 octets and 16 senders on a data folder that was filled before (MMSROUTER_BENCH_DIR).
func BenchmarkGrown(b *testing.B) {
	dir := os.Getenv("MMSROUTER_BENCH_DIR")
	if dir == "" {
		b.Skip("MMSROUTER_BENCH_DIR not set: a data folder that holds many messages")
	}
	submissions(b, dir, "", 30_000, 16)
}
