package fence_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mmsrouter/mmsrouter/fence"
)

// line joins two processes; cut: the other one has gone; frozen: it does not answer.
type line struct {
	to          *fence.Shared
	cut, frozen bool
	asked       int
}

func (l *line) Ask(ctx context.Context, kind string, b []byte) ([]byte, error) {
	l.asked++
	switch {
	case l.cut:
		return nil, errors.New("gone")
	case l.frozen:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.to.Hear(kind, b)
}

func (l *line) Tell(kind string, b []byte) error {
	_, err := l.Ask(context.Background(), kind, b)
	return err
}

// processes gives the old and the new process of a router, joined.
func processes(t *testing.T) (old, young *fence.Shared, toOld *line) {
	t.Helper()
	one := func() *fence.Shared {
		s, err := fence.NewShared(fence.SharedOptions{Fence: fence.New(fence.Options{Window: time.Hour, Entries: 6400}),
			Owners: fence.NewOwners(6400, time.Hour), Node: "r1", Window: time.Hour, Entries: 6400})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	old, young = one(), one()
	toOld = &line{to: old}
	old.Pair(&line{to: young}, false)
	young.Pair(toOld, true)
	return old, young, toOld
}

func none() {}

func TestUpgradeJoinsSubmissionsUnderWay(t *testing.T) {
	now := time.Now()
	t.Run("its answer is awaited at the old process", func(t *testing.T) {
		old, young, _ := processes(t)
		first, _ := old.Enter("k", now, 0, none)
		first.Whole(100, 7)
		ticket, prior := young.Enter("k", now, 0, none)
		if ticket != nil || prior == nil {
			t.Fatal("the new process does not know of it")
		}
		got := make(chan []byte)
		go func() { got <- prior.Answer(5*time.Second, 100, 7) }()
		first.Answer([]byte("ok"))
		if b := <-got; string(b) != "ok" {
			t.Errorf("the twin was answered %q", b)
		}
	})
	t.Run("the old process gave its answer and went", func(t *testing.T) {
		old, young, toOld := processes(t)
		first, _ := old.Enter("k", now, 0, none)
		first.Whole(100, 7)
		_, prior := young.Enter("k", now, 0, none)
		first.Answer([]byte("ok"))
		toOld.cut = true
		young.Pair(nil, false)
		if b := prior.Answer(5*time.Second, 100, 7); string(b) != "ok" {
			t.Errorf("the twin that waited was answered %q", b)
		}
		_, prior = young.Enter("k", now, 0, none)
		if prior == nil || string(prior.Answer(0, 100, 7)) != "ok" {
			t.Error("the answer did not go over")
		}
		if b := prior.Answer(0, 100, 8); b != nil {
			t.Errorf("another body was answered %q", b)
		}
	})
	t.Run("the old process was killed", func(t *testing.T) {
		old, young, toOld := processes(t)
		first, _ := old.Enter("k", now, 0, none)
		first.Whole(100, 7)
		_, prior := young.Enter("k", now, 0, none)
		toOld.cut = true
		young.Pair(nil, false)
		if b := prior.Answer(5*time.Second, 100, 7); b != nil {
			t.Errorf("answered %q, and nobody knows", b)
		}
		if ticket, _ := prior.Next(now, 0, none); ticket == nil || !ticket.Whole(100, 7) {
			t.Error("the post can't go on as new")
		}
	})
	t.Run("still uploading at the old process", func(t *testing.T) {
		old, young, _ := processes(t)
		broken := false
		first, _ := old.Enter("k", now, 0, func() { broken = true })
		ticket, prior := young.Enter("k", now, 0, none)
		if prior != nil || !broken || first.Whole(100, 7) {
			t.Errorf("the older post goes on: prior %v, broken %v", prior, broken)
		}
		if !ticket.Whole(100, 7) {
			t.Error("the newer post does not")
		}
	})
	t.Run("a kept connection brings it to the old process later", func(t *testing.T) {
		old, young, _ := processes(t)
		first, _ := young.Enter("k", now, 0, none)
		second, prior := old.Enter("k", now, 0, none)
		if prior != nil || second.Whole(100, 7) {
			t.Error("both posts go on")
		}
		second.Drop()
		first.Whole(100, 7)
		first.Answer([]byte("ok"))
		_, prior = old.Enter("k", now, 0, none)
		if prior == nil || string(prior.Answer(time.Second, 100, 7)) != "ok" {
			t.Error("the old process does not know the answer")
		}
	})
}

// TestFrozenProcess: one that does not answer costs its time a few times, and not with every message.
func TestFrozenProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, young, toOld := processes(t)
		toOld.frozen = true
		began := time.Now()
		for i := range 100 {
			ticket, prior := young.Enter(fmt.Sprint("k", i), time.Now(), 0, none)
			if prior != nil || !ticket.Whole(1, 1) {
				t.Fatalf("submission %d does not go on", i)
			}
			ticket.Drop()
		}
		if took := time.Since(began); took > time.Second || toOld.asked != 3 {
			t.Errorf("100 submissions took %s and asked %d times", took, toOld.asked)
		}
		time.Sleep(2 * time.Second)
		toOld.frozen = false
		if young.Enter("later", time.Now(), 0, none); toOld.asked != 4 {
			t.Error("it is not asked again")
		}
	})
}

func TestUpgradeOwners(t *testing.T) {
	old, young, toOld := processes(t)
	now := time.Now()
	old.Learn("mmsc-a", now, "path/1")
	toOld.cut = true
	if got := young.Find("path/1", now); got != "mmsc-a" {
		t.Errorf("learned at the old process, found %q at the new one", got)
	}
	toOld.cut = false
	old.Pair(nil, false) // learned before they were joined
	old.Learn("mmsc-b", now, "path/2")
	if got := young.FindAny(now, "path/0", "path/2"); got != "mmsc-b" {
		t.Errorf("asked for, found %q", got)
	}
}

func TestExport(t *testing.T) {
	now := time.Now()
	old, young, toOld := processes(t)
	old.Pair(nil, false)
	const n = 500
	answer := bytes.Repeat([]byte("a"), 300)
	for i := range n {
		ticket, _ := old.Enter(fmt.Sprint("k", i), now, 0, none)
		ticket.Whole(int64(i), uint64(i))
		ticket.Answer(answer)
		old.Learn("mmsc-a", now, fmt.Sprint("o", i))
	}
	open, _ := old.Enter("open", now, 0, none)
	open.Whole(1, 1)
	var pieces [][]byte
	if err := old.Export(func(b []byte) error {
		pieces = append(pieces, bytes.Clone(b))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(pieces) < 3 {
		t.Errorf("%d pieces", len(pieces))
	}
	toOld.cut = true
	late, _ := young.Enter("k7", now, 0, none) // what is under way here is newer
	for _, p := range pieces {
		if len(p) > 128<<10 {
			t.Errorf("a piece of %d octets", len(p))
		}
		if err := young.Import(p); err != nil {
			t.Fatal(err)
		}
	}
	if !late.Whole(9, 9) {
		t.Error("an import broke a submission off")
	}
	for i := range n {
		if i == 7 {
			continue
		}
		_, prior := young.Enter(fmt.Sprint("k", i), now, 0, none)
		if prior == nil || !bytes.Equal(prior.Answer(0, int64(i), uint64(i)), answer) {
			t.Fatalf("submission %d did not go over", i)
		}
		if got := young.Find(fmt.Sprint("o", i), now); got != "mmsc-a" {
			t.Fatalf("owner %d: %q", i, got)
		}
	}
	if ticket, _ := young.Enter("open", now, 0, none); ticket == nil {
		t.Error("what has no answer was exported")
	}
}

func FuzzImport(f *testing.F) {
	s, err := fence.NewShared(fence.SharedOptions{Fence: fence.New(fence.Options{Window: time.Hour, Entries: 64}), Owners: fence.NewOwners(64, time.Hour), Node: "r1",
		Window: time.Hour, Entries: 64})
	if err != nil {
		f.Fatal(err)
	}
	ticket, _ := s.Enter("k", time.Now(), 0, none)
	ticket.Whole(3, 4)
	ticket.Answer([]byte("answer"))
	s.Learn("mmsc-a", time.Now(), "o")
	if err := s.Export(func(b []byte) error { f.Add(bytes.Clone(b)); return nil }); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("\x01a" + strings.Repeat("\xff", 20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = s.Import(b)
		if s.Len() > 64*64 {
			t.Errorf("%d entries", s.Len())
		}
		for _, kind := range []string{"fence.take", "fence.ask", "fence.settle", "fence.gone", "owner.learn", "owner.find"} {
			_, _ = s.Hear(kind, b)
		}
	})
}
