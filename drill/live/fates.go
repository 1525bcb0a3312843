package live

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/drill"
)

// askers is how many fates are asked for at a time.
const askers = 4

// Copies implements drill.World: what the router remembers of each message.
func (l *Live) Copies(ctx context.Context, _ time.Time, sent []drill.Message) ([]drill.Copy, error) {
	var mu sync.Mutex
	var all []drill.Copy
	var failed error
	next := make(chan *drill.Message)
	var wg sync.WaitGroup
	for range askers {
		wg.Go(func() {
			for m := range next {
				attempts, err := l.fate(ctx, m.Transaction)
				mu.Lock()
				if err != nil && failed == nil {
					failed = err
				}
				for _, a := range attempts {
					if a.Accepted || a.Ambiguous {
						all = append(all, drill.Copy{Transaction: m.Transaction, MMSC: a.MMSC, At: m.Begun() + m.Took(), Unsure: !a.Accepted})
					}
				}
				mu.Unlock()
			}
		})
	}
	for i := range sent {
		next <- &sent[i]
	}
	close(next)
	wg.Wait()
	slices.SortStableFunc(all, func(a, b drill.Copy) int {
		if a.Transaction != b.Transaction {
			return strings.Compare(a.Transaction, b.Transaction)
		}
		return int(a.At - b.At)
	})
	return all, failed
}

// fate gathers what all routers remember of a message.
func (l *Live) fate(ctx context.Context, transaction string) ([]Attempt, error) {
	var all []Attempt
	for _, c := range l.o.Consoles {
		some, err := c.Fate(ctx, transaction)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}
