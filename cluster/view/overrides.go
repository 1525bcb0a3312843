package view

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Kind says what an override is about.
type Kind string

// The kinds. Those of a newer program are kept and passed on, and have no effect here.
const (
	MMSCDrain   Kind = "drain"        // an MMSC gets nothing new
	RouterDrain Kind = "drain-router" // a router leaves the DNS answers
)

// Override is an operator's word that holds on all routers.
type Override struct {
	Kind   Kind
	Glob   string // names it is about; * and ? and [a-z] as in file names
	On     bool   // false: an exception from a wider one
	By     string // author
	Reason string
	Since  time.Time     // by the author's clock, for people to read
	Node   string        // where it was said
	Left   time.Duration // until it ends; 0: it stays
	order  uint64
}

// stored is an override's value on the wire and in the file.
type stored struct {
	On     bool      `json:"on"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// Limits of what operators say.
const (
	maxGlob   = 128
	maxBy     = 64
	maxReason = 200
)

// Errors of SetOverride.
var ErrGlob = errors.New("want a name, or a pattern with * ? [a-z], of 1 to 128 octets without a slash")

// SetOverride says o on all routers: for lifetime, or until it is lifted (0). Of several that match a name the one said
// last counts. It returns when o is on disk here.
func (v *View) SetOverride(o Override, lifetime time.Duration) error {
	if o.Kind == "" || len(o.Kind) > 32 || strings.Contains(string(o.Kind), "/") {
		return fmt.Errorf("override kind %.40q: want 1 to 32 octets without a slash", o.Kind)
	}
	if err := checkGlob(o.Glob); err != nil {
		return err
	}
	if lifetime < 0 || lifetime > 365*24*time.Hour {
		return fmt.Errorf("override of %q for %s: want up to a year, or 0 for ever", o.Glob, lifetime)
	}
	b, err := json.Marshal(stored{On: o.On, By: clip(o.By, maxBy), Reason: clip(o.Reason, maxReason), Since: o.Since})
	if err != nil {
		return fmt.Errorf("override of %q: %w", o.Glob, err)
	}
	if err := v.overrides.Set(string(o.Kind)+"/"+o.Glob, b, lifetime); err != nil {
		return fmt.Errorf("override of %q: %w", o.Glob, err)
	}
	return v.store()
}

func checkGlob(glob string) error {
	if _, err := path.Match(glob, ""); err != nil || glob == "" || len(glob) > maxGlob || strings.Contains(glob, "/") {
		return fmt.Errorf("override of %.40q: %w", glob, ErrGlob)
	}
	return nil
}

// LiftOverride takes back what was said of exactly this glob; false: nothing was.
func (v *View) LiftOverride(kind Kind, glob string) (bool, error) {
	if !v.overrides.Delete(string(kind) + "/" + glob) {
		return false, nil
	}
	return true, v.store()
}

// Undrain ends the drain of one name: what was said of just this name is lifted, and if a wider one still holds, an
// exception is said. False: it did not drain.
func (v *View) Undrain(kind Kind, name string, o Override) (bool, error) {
	if _, ok := v.Drained(kind, name); !ok {
		return false, nil
	}
	if _, err := v.LiftOverride(kind, name); err != nil {
		return true, err
	}
	if _, ok := v.Drained(kind, name); !ok {
		return true, nil
	}
	o.Kind, o.Glob, o.On = kind, name, false
	return true, v.SetOverride(o, 0)
}

// Overrides gives all that hold, by kind and glob.
func (v *View) Overrides() []Override {
	var all []Override
	for _, e := range v.overrides.All() {
		kind, glob, ok := strings.Cut(e.Key, "/")
		var s stored
		if !ok || checkGlob(glob) != nil || json.Unmarshal(e.Value, &s) != nil { // another program's form
			continue
		}
		all = append(all, Override{Kind: Kind(kind), Glob: glob, On: s.On, By: clip(s.By, maxBy), Reason: clip(s.Reason, maxReason),
			Since: s.Since, Node: e.Node, Left: e.Left, order: e.Counter})
	}
	return all
}

// Drained says whether a name drains, and who said so.
func (v *View) Drained(kind Kind, name string) (Override, bool) {
	var last *Override
	for _, o := range v.Overrides() {
		if ok, err := path.Match(o.Glob, name); err != nil || !ok || o.Kind != kind {
			continue
		}
		if last == nil || cmp.Or(cmp.Compare(o.order, last.order), cmp.Compare(o.Node, last.Node), cmp.Compare(o.Glob, last.Glob)) > 0 {
			last = &o
		}
	}
	if last == nil || !last.On {
		return Override{}, false
	}
	return *last, true
}

// file is the form in which overrides are kept.
type file struct {
	Version int       `json:"version"`
	Saved   time.Time `json:"saved"`
	State   []byte    `json:"state"`
}

const fileVersion = 1

// maxFile bounds what is read back.
const maxFile = 4 << 20

// load reads the file, if there is one.
func (v *View) load() error {
	if v.o.File == "" {
		return nil
	}
	b, err := os.ReadFile(v.o.File)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the overrides: %w", err)
	}
	var f file
	if err = json.Unmarshal(b, &f); err == nil && (f.Version != fileVersion || len(b) > maxFile) {
		err = fmt.Errorf("version %d, %d octets: not a file of this program", f.Version, len(b))
	}
	if err == nil {
		if out := v.overrides.Restore(f.State, time.Since(f.Saved)); len(out.Refused) > 0 {
			err = fmt.Errorf("entries that can't be read: %v", out.Refused)
		} else {
			return nil
		}
	}
	aside := v.o.File + ".unreadable"
	v.log.Error("the kept overrides can't be read: drains may be missing", "file", v.o.File, "put_aside", aside, "err", err)
	if err := os.Rename(v.o.File, aside); err != nil {
		return fmt.Errorf("put the unreadable overrides aside: %w", err)
	}
	return nil
}

// store writes the file: a new one beside it, synced, then moved over.
func (v *View) store() error {
	if v.o.File == "" {
		return nil
	}
	v.save.Lock()
	defer v.save.Unlock()
	b, err := json.Marshal(file{Version: fileVersion, Saved: time.Now(), State: v.overrides.Full()})
	if err != nil {
		return fmt.Errorf("keep the overrides: %w", err)
	}
	if err := replaceFile(v.o.File, b); err != nil {
		return fmt.Errorf("keep the overrides: %w", err)
	}
	return nil
}

func replaceFile(name string, b []byte) (err error) {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error to tell is the other one
		}
	}()
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Digests tells which configurations the living routers have, and who has each; one entry: all agree.
func (v *View) Digests() map[string][]string {
	by := map[string][]string{}
	for _, r := range v.Routers() {
		if r.Known && r.State.Living() {
			by[r.Digest] = append(by[r.Digest], r.Name)
		}
	}
	for _, names := range by {
		slices.Sort(names)
	}
	return by
}
