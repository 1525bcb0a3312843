package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
)

// Reload puts a configuration in force for what comes from now on; its files are imported again. On an error, a file that
// can't be used, nothing has changed.
func (d *Dispatcher) Reload(ctx context.Context, c Config) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if err := d.importFiles(ctx, &c); err != nil {
		return err
	}
	d.cfg.Store(&c)
	return nil
}

// Try says whether Reload would take a configuration, with a guard that has the policy to come. It changes nothing.
func (d *Dispatcher) Try(ctx context.Context, c Config, g *outgoing.Guard) error {
	if err := c.Validate(); err != nil {
		return err
	}
	list, err := c.Services()
	if err != nil || len(list) == 0 {
		return err
	}
	trial := &catalogue{db: d.db, check: func(u string) error { _, err := g.Check(u); return err }, log: d.log}
	if err := trial.try(ctx, put, list...); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return nil
}

// importFiles enters the services of all files, or none.
func (d *Dispatcher) importFiles(ctx context.Context, c *Config) error {
	list, err := c.Services()
	if err != nil || len(list) == 0 {
		return err
	}
	if err := d.cat.write(ctx, put, list...); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return nil
}

// Services reads the files to import, and checks each entry by itself.
func (c *Config) Services() ([]Service, error) {
	var all []Service
	for i, name := range c.Import {
		list, err := readFile(name)
		for k := 0; k < len(list) && err == nil; k++ {
			if err = list[k].Validate(); err != nil {
				err = &InvalidError{list[k].Name, err}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("import[%d]: %s: %w", i, name, err)
		}
		all = append(all, list...)
	}
	return all, nil
}

func readFile(name string) (list []Service, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return ParseServices(f)
}
