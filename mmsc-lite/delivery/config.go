package delivery

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Config is the section `mmsc.delivery`.
type Config struct {
	Workers      int             `yaml:"workers"`       // notifications and reports under way at once
	Timeout      time.Duration   `yaml:"timeout"`       // of one attempt
	Lease        time.Duration   `yaml:"lease"`         // after it somebody else takes over from a node that died
	RetryFirst   time.Duration   `yaml:"retry_first"`   // pause after the first attempt that the carrier did not take; doubles
	RetryMax     time.Duration   `yaml:"retry_max"`     // ceiling of that pause
	Renotify     []time.Duration `yaml:"renotify"`      // pauses until a recipient who has not fetched is notified again; the last one repeats
	Jitter       float64         `yaml:"jitter"`        // share of a pause that is left to chance: 0 to 0.5
	ResumeBefore time.Duration   `yaml:"resume_before"` // a deferred message is announced again so long before it expires
	FetchedGrace time.Duration   `yaml:"fetched_grace"` // a fetched message counts as retrieved after it, if no acknowledgement comes
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config {
	return Config{Workers: 32, Timeout: 20 * time.Second, Lease: time.Minute, RetryFirst: 5 * time.Second, RetryMax: 30 * time.Minute,
		Renotify: []time.Duration{5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour}, Jitter: 0.2,
		ResumeBefore: time.Hour, FetchedGrace: 10 * time.Minute}
}

// Validate says which key is wrong and what is allowed.
func (c *Config) Validate() error {
	const at = "mmsc.delivery."
	switch {
	case c.Workers < 1 || c.Workers > 10000:
		return fmt.Errorf(at+"workers: %d; allowed are 1 to 10000", c.Workers)
	case c.Timeout < 100*time.Millisecond:
		return fmt.Errorf(at+"timeout: %s; at least 100ms", c.Timeout)
	case c.Lease < 2*c.Timeout:
		return fmt.Errorf(at+"lease: %s; at least twice the timeout (%s), so that no two nodes work on a recipient", c.Lease, c.Timeout)
	case c.RetryFirst < 10*time.Millisecond || c.RetryMax < c.RetryFirst:
		return fmt.Errorf(at+"retry_first, retry_max: %s and %s; want at least 10ms, and the ceiling not below it", c.RetryFirst, c.RetryMax)
	case len(c.Renotify) == 0:
		return fmt.Errorf(at + "renotify: empty; want at least one pause, such as [5m, 30m, 2h]")
	case c.Jitter < 0 || c.Jitter > 0.5:
		return fmt.Errorf(at+"jitter: %v; allowed are 0 to 0.5", c.Jitter)
	case c.ResumeBefore < 0 || c.FetchedGrace < time.Second:
		return fmt.Errorf(at+"resume_before, fetched_grace: %s and %s; want 0s or more, and 1s or more", c.ResumeBefore, c.FetchedGrace)
	}
	for _, p := range c.Renotify {
		if p < time.Second {
			return fmt.Errorf(at+"renotify: %s; at least 1s", p)
		}
	}
	return nil
}

// retry gives the pause after a failed attempt: RetryFirst, doubled for each one before it, up to RetryMax.
func (c *Config) retry(attempts int) time.Duration {
	d := c.RetryFirst
	for range attempts {
		if d *= 2; d >= c.RetryMax {
			return c.shake(c.RetryMax)
		}
	}
	return c.shake(min(d, c.RetryMax))
}

// renotify gives the pause after a notification that the carrier took.
func (c *Config) renotify(attempts int) time.Duration {
	return c.shake(c.Renotify[min(attempts, len(c.Renotify)-1)])
}

// shake spreads a pause, so that what failed together is not tried together again.
func (c *Config) shake(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()*2-1)*c.Jitter*float64(d))
}

// spread makes a pause longer by chance, never shorter: a carrier that says when is not asked before.
func (c *Config) spread(d time.Duration) time.Duration {
	return d + time.Duration(rand.Float64()*c.Jitter*float64(d))
}

// Resume gives the moment at which a deferred message is announced again.
func (c *Config) Resume(expires time.Time) time.Time { return expires.Add(-c.ResumeBefore) }
