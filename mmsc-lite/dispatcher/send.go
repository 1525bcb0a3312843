package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/platform"
)

// send has the platform make the user's message of an answer.
func (d *Dispatcher) send(ctx context.Context, j *job) ([]platform.Sent, error) {
	if j.entry == nil {
		return nil, forGood(errors.New("the service is not in the catalogue any more"))
	}
	a, e := j.Answer, j.entry
	r := d.message(j)
	r.TransactionID = j.ID
	r.Content = platform.Content{Subject: a.Subject, SMIL: a.SMIL, Items: items(a.Parts)}
	for _, p := range a.Pages {
		r.Content.Pages = append(r.Content.Pages, platform.Page{Duration: p.Duration, Items: items(p.Parts)})
	}
	most := e.Reply.MaxDelay
	if most == 0 {
		most = 24 * time.Hour
	}
	r.Delay = min(a.Delay, most)
	if a.Recipients == "all" && e.Reply.Recipients == "all" {
		r.To = append(r.To, j.Event.Others...)
	}
	r.DeliveryReport, r.ReadReport = e.Provider.Reports, e.Provider.Reports
	if a.Price != "" {
		if err := mark(&r, MarkPrice, a.Price); err != nil {
			return nil, err
		}
	}
	return d.submit(ctx, r)
}

func items(parts []Part) []platform.Item {
	var out []platform.Item
	for _, p := range parts {
		out = append(out, platform.Item{Type: p.Type, Name: p.Name, ID: p.ID, Data: p.Data, URL: p.URL, Optional: p.Optional})
	}
	return out
}

// text sends a text of ours; a failure is tried again for noticeLife.
func (d *Dispatcher) text(ctx context.Context, j *job, text, then string) (outcome, noted) {
	r := d.message(j)
	r.TransactionID = j.ID + "-t"
	r.Content.Items = []platform.Item{{Type: "text/plain; charset=utf-8", Data: []byte(text)}}
	_, err := d.submit(ctx, r)
	now := time.Now()
	switch {
	case err == nil:
		return outcome{State: then, Error: j.LastErr}, nil
	case ctx.Err() != nil:
		return outcome{State: j.State, Again: now}, nil
	}
	var f *fault
	if errors.As(err, &f) && !f.retry || !now.Before(j.GiveUp) {
		d.log.Error("a user did not get an answer", "service", j.Service, "job", j.ID, "user", mms.Mask(j.User), "err", err)
		return outcome{State: jobDead, Again: now, Error: err.Error()}, nil
	}
	return outcome{State: j.State, Again: now.Add(j.pause()), Error: err.Error()}, nil
}

// message makes what all messages of a service have.
func (d *Dispatcher) message(j *job) platform.Request {
	r := platform.Request{From: j.Event.Code, To: []string{j.User}, Profile: j.Event.Profile}
	if j.entry != nil {
		r.Class = j.entry.Reply.Class
		if j.entry.Reply.From != "" {
			r.From = j.entry.Reply.From
		}
	}
	for name, value := range map[string]string{MarkService: j.Service, MarkHops: strconv.Itoa(j.Event.Hops + 1)} {
		if value == "" {
			value = "none" // an empty value has no form on the wire
		}
		if err := mark(&r, name, value); err != nil {
			d.log.Error("mark a message", "mark", name, "err", err)
		}
	}
	return r
}

func mark(r *platform.Request, name, value string) error {
	h, err := mms.ParseHeader(mms.MSendReq, name, value)
	if err != nil {
		return forGood(fmt.Errorf("%s: %w", name, err))
	}
	r.Extra = append(r.Extra, h)
	return nil
}

func (d *Dispatcher) submit(ctx context.Context, r platform.Request) ([]platform.Sent, error) {
	sent, notes, err := d.opt.Sender.Send(ctx, r)
	if err != nil {
		var p *platform.Error
		if errors.As(err, &p) && !p.Retry {
			return nil, forGood(err)
		}
		return nil, &fault{retry: true, err: err}
	}
	if len(notes) > 0 {
		d.log.Debug("content adapted", "user", mms.Mask(r.To[0]), "notes", len(notes), "first", notes[0].String())
	}
	return sent, nil
}
