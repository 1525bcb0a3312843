package fence_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/fence"
)

func TestOwners(t *testing.T) {
	const keep = time.Hour
	o := fence.NewOwners(1000, keep)
	t0 := time.Unix(1700000000, 0)
	if got := o.Find("k", t0); got != "" {
		t.Fatalf("an empty table knows %q", got)
	}
	o.Learn("k", "a", t0)
	o.Learn("l", "b", t0)
	for _, c := range []struct {
		name, key string
		at        time.Time
		want      string
	}{
		{"at once", "k", t0, "a"},
		{"another key", "l", t0, "b"},
		{"an unknown key", "m", t0, ""},
		{"at the end of its time", "k", t0.Add(keep), "a"},
		{"behind it", "k", t0.Add(keep + 1), ""},
	} {
		if got := o.Find(c.key, c.at); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	o.Learn("k", "c", t0.Add(keep/2))
	if got := o.Find("k", t0.Add(keep+1)); got != "c" {
		t.Errorf("learned again: %q, want c for another hour", got)
	}
	if o.Len() != 2 {
		t.Errorf("%d keys", o.Len())
	}
}

func TestOwnersBounded(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for _, c := range []struct{ entries, most int }{{0, 64}, {64, 64}, {1280, 1280}} {
		o := fence.NewOwners(c.entries, time.Hour)
		for i := range 5 * c.most {
			k := fmt.Sprint(i)
			o.Learn(k, "a", now)
			if o.Find(k, now) != "a" {
				t.Fatalf("%d entries: the newest is not kept", c.entries)
			}
			if n := o.Len(); n > c.most {
				t.Fatalf("%d keys, %d is the most", n, c.most)
			}
		}
		if n := o.Len(); n < c.most*9/10 { // keys spread over the shards by chance
			t.Errorf("%d keys are kept of %d", n, c.most)
		}
	}
}

// TestOwnersKeepsWhatIsUsed holds that a key learned again and again outlives any number of others, and that it does not push
// them out by itself.
func TestOwnersKeepsWhatIsUsed(t *testing.T) {
	const entries = 64 * 100
	now := time.Unix(1700000000, 0)
	o := fence.NewOwners(entries, time.Hour)
	for i := range 20 * entries {
		o.Learn(fmt.Sprint(i), "a", now)
		if i%1000 == 0 {
			o.Learn("hot", "b", now)
		}
	}
	if got := o.Find("hot", now); got != "b" {
		t.Fatalf("a key that was just learned again is %q", got)
	}
	o = fence.NewOwners(entries, time.Hour)
	for i := range entries / 4 {
		o.Learn(fmt.Sprint(i), "a", now)
	}
	for range 10 * entries {
		o.Learn("hot", "b", now)
	}
	for i := range entries / 4 {
		if o.Find(fmt.Sprint(i), now) != "a" {
			t.Fatalf("one key learned often has pushed out key %d", i)
		}
	}
}

func TestOwnersConcurrent(t *testing.T) {
	o := fence.NewOwners(256, time.Hour)
	now := time.Unix(1700000000, 0)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				k := fmt.Sprint(i % 500)
				o.Learn(k, "a", now.Add(time.Duration(g)))
				if got := o.Find(k, now); got != "" && got != "a" {
					t.Errorf("%s is %q", k, got)
				}
				if o.Len() > 256 {
					t.Errorf("%d keys", o.Len())
				}
			}
		})
	}
	wg.Wait()
}

// A location of thousands of octets is nobody's; thousands of them would be much memory.
func TestOwnersKeepNoLongKeys(t *testing.T) {
	o := fence.NewOwners(640, time.Hour)
	now := time.Now()
	for _, n := range []int{512, 513, 16 << 10} {
		o.Learn(strings.Repeat("k", n), "a", now)
	}
	if o.Len() != 1 || o.Find(strings.Repeat("k", 512), now) != "a" {
		t.Errorf("%d keys are kept", o.Len())
	}
}
