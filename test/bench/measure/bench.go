package measure

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Bench is the frame of a bench that runs our program on a real disk: flags, the folder of its data, the choice of tables.
type Bench struct {
	Program string // ours, as an absolute path
	Quick   bool
	Rounds  int    // interleaved; one in a quick run
	Dir     string // on the disk to measure

	tables string
	made   int
}

// Plan is one step of a bench.
type Plan struct {
	Name   string // what -tables calls it
	Tables func() ([]*Table, error)
}

// Flags defines the flags that all these benches have.
func (b *Bench) Flags(quick string) {
	flag.BoolVar(&b.Quick, "quick", false, "fewer and smaller runs: "+quick)
	flag.StringVar(&b.Program, "mmsrouter", "./mmsrouter", "the router's program (make build)")
	flag.StringVar(&b.Dir, "dir", "", "folder of the data, on the disk to measure; empty: a temporary one")
	flag.IntVar(&b.Rounds, "rounds", 3, "interleaved rounds")
	flag.StringVar(&b.tables, "tables", "", "only these tables, by commas")
}

// Run prints the tables of the plans that were asked for, those of a plan that fails as far as they have come.
func (b *Bench) Run(plans ...Plan) (err error) {
	var names []string
	for _, p := range plans {
		names = append(names, p.Name)
	}
	wanted := names
	if b.tables != "" {
		wanted = strings.Split(b.tables, ",")
	}
	for _, w := range wanted {
		if !slices.Contains(names, w) {
			return fmt.Errorf("-tables: no table %q; there are: %s", w, strings.Join(names, ","))
		}
	}
	if b.Program, err = filepath.Abs(b.Program); err != nil {
		return err
	}
	if _, err := os.Stat(b.Program); err != nil {
		return fmt.Errorf("no program to measure (make build): %w", err)
	}
	if b.Dir, err = os.MkdirTemp(b.Dir, "bench"); err != nil {
		return err
	}
	if b.Dir, err = filepath.Abs(b.Dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.Dir)) }()
	if b.Quick {
		b.Rounds = 1
	}
	fmt.Println(Machine())
	for _, w := range wanted {
		tables, err := plans[slices.Index(names, w)].Tables()
		for _, t := range tables {
			fmt.Println()
			t.Print(os.Stdout)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Folder makes one for a program's run.
func (b *Bench) Folder() (string, error) {
	b.made++
	dir := filepath.Join(b.Dir, strconv.Itoa(b.made))
	return dir, os.Mkdir(dir, 0o700)
}

// Router runs our program in a folder of its own.
func (b *Bench) Router(o RouterOptions) (*Router, error) {
	var err error
	if o.Dir, err = b.Folder(); err != nil {
		return nil, err
	}
	o.Program = b.Program
	r, err := StartRouter(o)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(o.Dir))
	}
	return r, nil
}
