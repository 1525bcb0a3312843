package lease

import (
	"errors"
	"fmt"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
)

// Config is the `drill` section of the configuration.
type Config struct {
	Numbers []string      `yaml:"numbers"` // test numbers in international form: a drill's messages go between these alone; empty: no drill may run here
	Max     time.Duration `yaml:"max"`     // the longest that a drill may hold its faults: 1s to 10m
	Lab     bool          `yaml:"lab"`     // this router serves nobody: a drill may cut it off from the others, too
}

// longest bounds what max may allow.
const longest = 10 * time.Minute

// maxNumbers bounds the test numbers.
const maxNumbers = 100

// DefaultConfig allows no drill.
func DefaultConfig() Config { return Config{Max: longest} }

// Validate gives every mistake; each error begins with its key.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Numbers) > maxNumbers {
		errs = append(errs, fmt.Errorf("drill.numbers: %d: want at most %d", len(c.Numbers), maxNumbers))
	}
	for i, n := range c.Numbers {
		if n == "" || n[0] != '+' || mms.Number(n) != n {
			errs = append(errs, fmt.Errorf("drill.numbers[%d]: %q: want a number in international form, such as +46701740605", i, n))
		}
	}
	if c.Max < time.Second || c.Max > longest {
		errs = append(errs, fmt.Errorf("drill.max: %s: want 1s to %s", c.Max, longest))
	}
	return errors.Join(errs...)
}
