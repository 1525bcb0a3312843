package store_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"
	"testing/iotest"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// TestDigest wants one digest for the same octets wherever they stand and however they came, and another for any others.
func TestDigest(t *testing.T) {
	dir := pgtest.TempDir(t)
	large := openAt(t, dir, store.Tuning{}, nil)
	defer func() { must(t, large.Close()) }()
	digest := func(s *store.Store, r io.Reader) [sha256.Size]byte {
		t.Helper()
		u := s.Upload(10 << 20)
		defer u.Close()
		_, err := u.ReadFrom(r)
		must(t, err)
		d, err := u.Digest()
		must(t, err)
		return d
	}
	seen := map[[sha256.Size]byte]int{}
	for _, n := range []int{0, 1, 65_535, 65_536, 65_537, 300_000} {
		b := body(n)
		want := digest(large, bytes.NewReader(b))
		if before, ok := seen[want]; ok {
			t.Errorf("%d and %d octets have one digest", before, n)
		}
		seen[want] = n
		small := openAt(t, dir, store.Tuning{Memory: 128 << 10}, nil) // the rest goes to a file
		for name, got := range map[string][sha256.Size]byte{
			"again":         digest(large, bytes.NewReader(b)),
			"in halves":     digest(large, iotest.HalfReader(bytes.NewReader(b))),
			"by the octet":  digest(large, iotest.OneByteReader(bytes.NewReader(b))),
			"from a file":   digest(small, bytes.NewReader(b)),
			"a file, slow":  digest(small, iotest.HalfReader(bytes.NewReader(b))),
			"after restart": digest(small, iotest.DataErrReader(bytes.NewReader(b))),
		} {
			if got != want {
				t.Errorf("%d octets, %s: another digest", n, name)
			}
		}
		must(t, small.Close())
		for _, at := range []int{0, 65_535, 65_536, n - 1} {
			if at < 0 || at >= n {
				continue
			}
			b[at] ^= 1
			if digest(large, bytes.NewReader(b)) == want {
				t.Errorf("%d octets: the digest does not see octet %d", n, at)
			}
			b[at] ^= 1
		}
	}
	other := openAt(t, pgtest.TempDir(t), store.Tuning{}, nil)
	defer func() { must(t, other.Close()) }()
	if _, ok := seen[digest(other, bytes.NewReader(body(300_000)))]; ok {
		t.Error("another database has the same key")
	}
}
