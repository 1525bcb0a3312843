package healthcheck

import (
	"context"
	"net"
)

// Dial is how tests put pipes under the probes.
type Dial = func(ctx context.Context, network, addr string) (net.Conn, error)

// NewWith is New over pipes.
func NewWith(o Options, dial Dial) (*Checker, error) { return newChecker(o, dial) }

// OnceWith is Once over pipes.
func OnceWith(ctx context.Context, cfg Config, t Target, dial Dial) (Result, error) {
	p, err := newPlan(cfg, t, dial)
	if err != nil {
		return Result{}, err
	}
	return probeWithin(ctx, p.prober, p.timeout), nil
}
