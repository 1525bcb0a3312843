package test_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/mmsrouter/mmsrouter/test/appliance"
	"github.com/mmsrouter/mmsrouter/test/fakemmsc"
	"github.com/mmsrouter/mmsrouter/test/handsets"
	"github.com/mmsrouter/mmsrouter/test/program"
)

// asMMSC makes the test program a fake MMSC process.
const asMMSC = "MMSROUTER_TEST_AS_FAKE_MMSC"

func TestMain(m *testing.M) {
	if os.Getenv(asMMSC) != "" {
		os.Exit(fakemmsc.Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "10"); err != nil { // stories that run in parallel mostly wait
		panic(err)
	}
	code := appliance.Main(m)
	if err := program.Remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func digest(b []byte) uint64 { return xxhash.Sum64(b) }

// fake starts a fake MMSC for the test.
func fake(t testing.TB, name string) *fakemmsc.Server {
	t.Helper()
	s, err := fakemmsc.New(fakemmsc.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// pair is the usual scene: mmsc-a is asked first (and misbehaves), mmsc-b is its backup.
type pair struct {
	a, b *fakemmsc.Server
	r    *appliance.Router
}

func newPair(t testing.TB, mm1 ...string) *pair {
	t.Helper()
	p := &pair{a: fake(t, "mmsc-a"), b: fake(t, "mmsc-b")}
	p.r = appliance.Start(t, appliance.Setup{MM1: mm1,
		MMSCs: []appliance.MMSC{{Name: "mmsc-a", URL: p.a.URL()}, {Name: "mmsc-b", URL: p.b.URL(), Tier: 1}}})
	return p
}

func (p *pair) handset(more ...[2]string) *handsets.Handset {
	return handsets.New(handsets.Options{Addr: p.r.MM1, Timeout: 20 * time.Second, Header: more})
}

// await waits for an MMSC's counters.
func await(t testing.TB, s *fakemmsc.Server, what string, want func(fakemmsc.Counts) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Await(ctx, want); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
