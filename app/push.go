package app

import (
	"context"
	"errors"
	"log/slog"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/delivery"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/push"
)

// makePush makes the carriers that the embedded MMSC notifies handsets by.
func (a *App) makePush(c *Config) error {
	host := ""
	if len(c.DNS.Zones) > 0 {
		host = c.DNS.Zones[0].Name
	}
	var err error
	a.push, err = push.New(push.Options{Config: c.Push, Host: host, Metrics: a.reg, Log: a.room("push")})
	return err
}

// carriers is the embedded MMSC's Notifier: the carriers, and a line in the log when none of them has taken a
// notification, so that whoever runs a lab without a phone can fetch the message by hand.
type carriers struct {
	push *push.Pusher
	log  *slog.Logger
}

// Push implements delivery.Notifier.
func (c carriers) Push(ctx context.Context, p *delivery.Push) error {
	err := c.push.Push(ctx, p)
	if p.Kind != mms.MNotificationInd {
		return err
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		c.log.Info("message waits for its recipient: no carrier has taken the notification", "message", p.Message, "to", mms.Mask(p.To),
			"location", p.Location, "why", err)
		return err
	}
	c.log.Info("notified", "message", p.Message, "to", mms.Mask(p.To), "location", p.Location)
	return err
}
