package mmsc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/nyaruka/phonenumbers"
	"golang.org/x/time/rate"
)

// AddressConfig says how addresses are read and which are served.
type AddressConfig struct {
	Region          string   `yaml:"region"`           // such as SE: national numbers are read as of there; empty: numbers are compared as they stand
	ShortCode       int      `yaml:"short_code"`       // numbers of at most so many digits are short codes and stay as they are
	Home            []string `yaml:"home"`             // prefixes of this operator's numbers, such as +4670; empty: all
	Foreign         string   `yaml:"foreign"`          // numbers outside home as recipients: accept or refuse
	BlockSenders    []string `yaml:"block_senders"`    // prefixes of numbers, or whole addresses
	BlockRecipients []string `yaml:"block_recipients"` // the same
	AllowRecipients []string `yaml:"allow_recipients"` // not empty: only these
}

// RateConfig bounds what one sender submits; Messages 0: unlimited.
type RateConfig struct {
	Messages int           `yaml:"messages"`
	Per      time.Duration `yaml:"per"`
}

// SubscriberConfig says who may submit.
type SubscriberConfig struct {
	Required bool         `yaml:"required"` // senders that are in neither list nor table are refused
	Table    bool         `yaml:"table"`    // table subscribers of the database counts too
	List     []Subscriber `yaml:"list"`
}

// Subscriber is one who is known by number.
type Subscriber struct {
	Number string `yaml:"number" json:"-"`
	Barred bool   `yaml:"barred" json:"barred"`           // may not submit
	Credit *int   `yaml:"credit" json:"credit,omitempty"` // 0: Error-permanent-lack-of-prepaid; absent: not prepaid
}

// PeerConfig is another operator whose server fetches for its own recipients.
type PeerConfig struct {
	Name     string   `yaml:"name"`
	Networks []prefix `yaml:"networks"` // where its server asks from
	Prefixes []string `yaml:"prefixes"` // its numbers
}

func (p *PeerConfig) serves(addr string) bool { return matches(p.Prefixes, addr) }

// matches says whether an address is in a list: begins with a number of it, or equals an entry that is none.
func matches(list []string, addr string) bool {
	for _, p := range list {
		if addr == p || strings.HasPrefix(p, "+") && strings.HasPrefix(addr, p) {
			return true
		}
	}
	return false
}

func (c *AddressConfig) validate() error {
	if c.Region != "" && phonenumbers.GetCountryCodeForRegion(c.Region) == 0 {
		return fmt.Errorf("mmsc.addresses.region: %q is not a region such as SE", c.Region)
	}
	if c.ShortCode < 0 || c.ShortCode > 9 {
		return fmt.Errorf("mmsc.addresses.short_code: %d; allowed are 0 to 9", c.ShortCode)
	}
	for key, list := range map[string][]string{"home": c.Home, "block_senders": c.BlockSenders, "block_recipients": c.BlockRecipients, "allow_recipients": c.AllowRecipients} {
		for _, p := range list {
			if p == "" || p == "+" {
				return fmt.Errorf("mmsc.addresses.%s: %q would be everybody", key, p)
			}
		}
	}
	return oneOf("mmsc.addresses.foreign", c.Foreign, "accept", "refuse")
}

// home gives an address the form in which it is compared: a number in E.164, whatever the client wrote. Short codes and
// what is no number stay.
func (m *MMSC) home(addr string) string {
	c := &m.cfg.Addresses
	digits := strings.TrimPrefix(addr, "+")
	if c.Region == "" || mms.Number(addr) != addr || addr == digits && len(digits) <= c.ShortCode {
		return addr
	}
	n, err := phonenumbers.Parse(addr, c.Region)
	if err != nil || !phonenumbers.IsPossibleNumber(n) {
		return addr // a network may have numbers that no plan knows
	}
	return phonenumbers.Format(n, phonenumbers.E164)
}

// barred says whether nobody may write to an address here.
func (m *MMSC) barred(addr string) bool {
	c := &m.cfg.Addresses
	return matches(c.BlockRecipients, addr) || len(c.AllowRecipients) > 0 && !matches(c.AllowRecipients, addr)
}

// reachable says whether a message may go to an address, a handset's or a service's; nil, or the refusal.
func (m *MMSC) reachable(addr string, service bool) error {
	c := &m.cfg.Addresses
	number := strings.HasPrefix(addr, "+")
	switch {
	case m.barred(addr):
		return refused(mms.ServiceDenied, "a recipient is not allowed")
	case service:
		return nil
	case number && len(c.Home) > 0 && c.Foreign == "refuse" && !matches(c.Home, addr):
		return refused(mms.AddressUnresolved, "a recipient is not a number of this network")
	case m.reaches != nil && !m.reaches(addr):
		return refused(mms.AddressUnresolved, "no carrier reaches a recipient") // never accepted and parked
	}
	return nil
}

// admit says whether a sender may submit now; nil, the refusal, or *store.Unavailable.
func (m *MMSC) admit(ctx context.Context, sender string) error {
	if sender != "" && matches(m.cfg.Addresses.BlockSenders, sender) {
		return refused(mms.ServiceDenied, "the sender is blocked")
	}
	if err := m.subscribed(ctx, sender); err != nil {
		return err
	}
	if sender != "" && !m.rates.allow(sender, time.Now()) {
		return refused(mms.TransientFailure, "more than %d messages in %s (mmsc.rate)", m.cfg.Rate.Messages, m.cfg.Rate.Per)
	}
	return nil
}

func (m *MMSC) subscribed(ctx context.Context, sender string) error {
	sub, known := m.listed[sender]
	if !known && m.cfg.Subscribers.Table && sender != "" {
		profile, err := m.store.Subscriber(ctx, sender)
		switch {
		case err == nil:
			if err := json.Unmarshal([]byte(profile), &sub); err != nil {
				return &store.Unavailable{Err: fmt.Errorf("profile of a subscriber: %w", err)}
			}
			known = true
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
	}
	switch {
	case !known && m.cfg.Subscribers.Required:
		return refused(mms.ServiceDenied, "the sender is no subscriber")
	case sub.Barred:
		return refused(mms.ServiceDenied, "the subscriber is barred")
	case sub.Credit != nil && *sub.Credit <= 0:
		return refused(mms.LackOfPrepaid, "no credit")
	}
	return nil
}

// rates holds a token bucket per sender. Two generations bound its memory: the older one is forgotten when the younger is full.
type rates struct {
	cfg        RateConfig
	mu         sync.Mutex
	young, old map[string]*rate.Limiter
}

const rateGeneration = 50_000

func (r *rates) allow(sender string, now time.Time) bool {
	if r.cfg.Messages == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.young[sender]
	if l == nil {
		if l = r.old[sender]; l == nil {
			l = rate.NewLimiter(rate.Every(r.cfg.Per/time.Duration(r.cfg.Messages)), r.cfg.Messages)
		}
		if r.young == nil || len(r.young) >= rateGeneration {
			r.old, r.young = r.young, make(map[string]*rate.Limiter)
		}
		r.young[sender] = l
	}
	return l.AllowN(now, 1)
}

// versions remembers which MMS version a subscriber's handset speaks, out of what it posted. It is a memory of convenience:
// bounded, and gone after a restart.
type versions struct {
	mu         sync.Mutex
	young, old map[string]mms.Version
}

func (v *versions) learn(addr string, version mms.Version) {
	if addr == "" || version == 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.young == nil || len(v.young) >= rateGeneration {
		v.old, v.young = v.young, make(map[string]mms.Version)
	}
	v.young[addr] = version
}

// of gives the version, 0 if it is not known.
func (v *versions) of(addr string) mms.Version {
	v.mu.Lock()
	defer v.mu.Unlock()
	if ver, ok := v.young[addr]; ok {
		return ver
	}
	return v.old[addr]
}
