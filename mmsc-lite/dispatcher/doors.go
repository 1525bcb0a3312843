package dispatcher

import (
	"context"
	"time"
)

// Add enters new services; Put enters new ones or changes those that are there; both all or none. An entry that can't work
// is an *InvalidError.
func (d *Dispatcher) Add(ctx context.Context, list ...Service) error {
	return d.cat.write(ctx, add, list...)
}

// Put is described at Add.
func (d *Dispatcher) Put(ctx context.Context, list ...Service) error {
	return d.cat.write(ctx, put, list...)
}

// Edit changes a service; ErrNoService if there is none of its name.
func (d *Dispatcher) Edit(ctx context.Context, s Service) error { return d.cat.write(ctx, edit, s) }

// Remove takes a service out of the catalogue. Turns that wait for it end with a fall-back text.
func (d *Dispatcher) Remove(ctx context.Context, name string) error { return d.cat.remove(ctx, name) }

// Services lists the catalogue by name, without secrets.
func (d *Dispatcher) Services() []Service {
	t := d.cat.table()
	out := make([]Service, 0, len(t.entries))
	for _, e := range t.entries {
		out = append(out, e.Shown())
	}
	return out
}

// Service gives one, without its secrets, or ErrNoService.
func (d *Dispatcher) Service(name string) (Service, error) {
	e, err := d.cat.table().find(name)
	if err != nil {
		return Service{}, err
	}
	return e.Shown(), nil
}

// DeadLetters lists what failed for good, the latest first; service "" means all.
func (d *Dispatcher) DeadLetters(ctx context.Context, service string, limit int) ([]DeadLetter, error) {
	return d.db.deadLetters(ctx, service, limit)
}

// Replay lets dead letters of a service be done again; id "" means all. It gives their number.
func (d *Dispatcher) Replay(ctx context.Context, service, id string) (int64, error) {
	e, err := d.cat.table().find(service)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	n, err := d.db.replay(ctx, service, id, now, now.Add(e.Provider.Retry.For))
	d.poke()
	return n, err
}
