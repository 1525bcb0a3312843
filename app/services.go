package app

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/dispatcher"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/outgoing"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

// services is the two-way service whole: who asks providers, what makes messages of their answers, and the guard that both
// go out through.
type services struct {
	*dispatcher.Dispatcher
	app      *App
	guard    *outgoing.Guard
	platform *platform.Platform
}

// makeServices makes the rooms of two-way services, if they are enabled. The embedded MMSC, which they submit to, comes after
// them: it is asked for only when they run.
func (a *App) makeServices(c *Config) error {
	if !c.MMSC.Services.Enabled {
		return nil
	}
	s := &services{app: a}
	var err error
	if s.guard, err = outgoing.New(outgoing.Options{Config: c.MMSC.Outgoing, Metrics: a.reg, Log: a.room("outgoing")}); err != nil {
		return fmt.Errorf("mmsc.outgoing: %w", err)
	}
	if s.platform, err = platform.New(platform.Options{Config: c.MMSC.Platform, Fetch: s.guard.Client(outgoing.ClientOptions{}), Submit: s,
		Metrics: a.reg, Log: a.room("platform")}); err != nil {
		return fmt.Errorf("mmsc.platform: %w", err)
	}
	s.Dispatcher, err = dispatcher.New(dispatcher.Options{Config: c.MMSC.Services, DataDir: c.Node.Data, Database: c.MMSC.Database,
		Guard: s.guard, Sender: s.platform, Metrics: a.reg, Log: a.room("services")})
	if err != nil {
		return fmt.Errorf("mmsc.services: %w", err)
	}
	a.services = s
	return nil
}

// Run runs the dispatcher; the guard's idle connections end with it.
func (s *services) Run(ctx context.Context) error {
	defer s.guard.Close()
	return s.Dispatcher.Run(ctx)
}

// close is for an appliance that never ran.
func (s *services) close() error {
	s.guard.Close()
	return s.Dispatcher.Close()
}

// Submit implements platform.Submitter: a service's message goes into the embedded MMSC's store.
func (s *services) Submit(ctx context.Context, pdu []byte) (string, error) {
	id, err := s.app.mmsc.SubmitReply(ctx, pdu)
	var no *mmsc.SubmitError
	if errors.As(err, &no) {
		return "", &platform.Error{Kind: platform.BadRequest, Retry: mms.ResponseClass(no.Status) == mms.Transient, Err: err}
	}
	return id, err
}

// reloadTime bounds how long a reload waits for the catalogue.
const reloadTime = 10 * time.Second

// try says whether reload would take a configuration; it changes nothing.
func (s *services) try(c *Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), reloadTime)
	defer cancel()
	guard, err := outgoing.New(outgoing.Options{Config: c.MMSC.Outgoing})
	if err == nil {
		err = s.Dispatcher.Try(ctx, c.MMSC.Services, guard)
	}
	if err != nil {
		return fmt.Errorf("mmsc.services.%w", err)
	}
	return nil
}

// reload takes over a configuration that try has passed.
func (s *services) reload(c *Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), reloadTime)
	defer cancel()
	return errors.Join(s.guard.Reload(c.MMSC.Outgoing), s.platform.Reload(c.MMSC.Platform), s.Dispatcher.Reload(ctx, c.MMSC.Services))
}

// late says whether a path is one where providers bring late answers: below that of mmsc.services.reply_url.
func (s *services) late(path string) bool {
	u, err := url.Parse(s.app.cfg.Load().MMSC.Services.ReplyURL)
	if err != nil || u.Path == "" {
		return false // there is none
	}
	token, ok := strings.CutPrefix(path, strings.TrimSuffix(u.Path, "/")+"/")
	return ok && !strings.Contains(token, "/")
}
