package fake

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// Serve runs an MMSC as a process of its own: it says where it listens in the first line of out, takes a Behaviour in
// each line of in and answers "ok" or what is wrong, and ends with in, so that it never outlives the drill.
func Serve(ctx context.Context, o Options, in io.Reader, out io.Writer) error {
	m, err := New(o)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	fmt.Fprintln(out, m.Addr()) // whoever started us has gone; then in has ended too
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var b Behaviour
		err := json.Unmarshal(lines.Bytes(), &b)
		if err == nil {
			err = m.Break(b)
		}
		if err != nil {
			fmt.Fprintln(out, err) // as above
			continue
		}
		fmt.Fprintln(out, "ok") // as above
	}
	end()
	return <-ended
}
