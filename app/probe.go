package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/mmsrouter/mmsrouter/healthcheck"
)

// Probed is what one probe of an MMSC found.
type Probed struct {
	Name string
	healthcheck.Result
}

// checkFiles reads the files that the configuration names.
func (c *Config) checkFiles() error {
	var errs []error
	if t := c.MM1.TLS; t.Cert != "" {
		if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
			errs = append(errs, fmt.Errorf("mm1.tls: %w", err))
		}
	}
	for i := range c.MMSCs {
		if _, err := c.MMSCs[i].tls(slog.New(slog.DiscardHandler)); err != nil {
			errs = append(errs, fmt.Errorf("mmscs[%d].%w", i, err))
		}
		if f := c.MMSCs[i].Probe.File; f != "" {
			if _, err := os.Stat(f); err != nil {
				errs = append(errs, fmt.Errorf("mmscs[%d].probe.file: %w", i, err))
			}
		}
	}
	if _, err := c.MMSC.Services.Services(); err != nil && c.MMSC.Services.Enabled {
		errs = append(errs, fmt.Errorf("mmsc.services.%w", err))
	}
	return errors.Join(errs...)
}

// ProbeOnce probes each MMSC a single time, all at once, and gives the results in their order. The error is
// one of configuration.
func (c *Config) ProbeOnce(ctx context.Context) ([]Probed, error) {
	out := make([]Probed, len(c.MMSCs))
	errs := make([]error, len(c.MMSCs))
	var wg sync.WaitGroup
	for i := range c.MMSCs {
		wg.Go(func() {
			m := &c.MMSCs[i]
			tc, err := m.tls(slog.New(slog.DiscardHandler))
			if err != nil {
				errs[i] = fmt.Errorf("mmscs[%d].%w", i, err)
				return
			}
			r, err := healthcheck.Once(ctx, c.Detection, m.watched(tc))
			if err != nil {
				errs[i] = fmt.Errorf("mmscs[%d]: %w", i, err)
			}
			out[i] = Probed{m.Name, r}
		})
	}
	wg.Wait()
	return out, errors.Join(errs...)
}
