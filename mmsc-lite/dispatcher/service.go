package dispatcher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mmsrouter/mmsrouter/router"
	"gopkg.in/yaml.v3"
)

// Service is an entry of the catalogue: which messages it takes, who provides it, and what its users get.
type Service struct {
	Name     string   `yaml:"name"` // small letters, digits, '-'; at most 40
	Disabled bool     `yaml:"disabled,omitempty"`
	Priority int      `yaml:"priority,omitempty"` // decides between rules of equal rank, the higher first
	Match    Match    `yaml:"match"`
	Provider Provider `yaml:"provider"`
	Session  Session  `yaml:"session"`
	Reply    Reply    `yaml:"reply"`
	Loop     Loop     `yaml:"loop,omitempty"`
}

// Match says which messages a service takes. One of the addresses has to fit, and each other condition that is there.
type Match struct {
	Codes    []string `yaml:"codes,omitempty"`    // whole addresses, such as "7000" or quiz@example.net
	Prefixes []string `yaml:"prefixes,omitempty"` // their beginnings
	Ranges   []string `yaml:"ranges,omitempty"`   // "7000-7099": numbers of the same length
	CatchAll bool     `yaml:"catch_all,omitempty"`
	Keywords []string `yaml:"keywords,omitempty"` // what text or subject begins with, whole words, any case
	Pattern  string   `yaml:"pattern,omitempty"`  // RE2, in the subject or the text
	Media    []string `yaml:"media,omitempty"`    // a part has one of these types: image/jpeg, image/*
	Senders  []string `yaml:"senders,omitempty"`  // beginnings of the sender's address
	Window   *Window  `yaml:"window,omitempty"`
}

// Window is a time of the day, and of the week.
type Window struct {
	Days []string `yaml:"days,omitempty"` // mon to sun; empty: each
	From string   `yaml:"from,omitempty"` // 08:00
	To   string   `yaml:"to,omitempty"`   // 18:00, not included; before From: over midnight
	Zone string   `yaml:"zone,omitempty"` // such as Europe/Stockholm; empty: UTC
}

// Provider is who answers.
type Provider struct {
	URL         string            `yaml:"url"`    // {code}, {sender}, {session}, {turn}, {message}, {service} and {text} are filled in, escaped
	Method      string            `yaml:"method"` // POST, or GET with format http
	Format      string            `yaml:"format"` // http, xml or json
	Raw         bool              `yaml:"raw,omitempty"`
	Timeout     time.Duration     `yaml:"timeout"`     // of one request
	Concurrency int               `yaml:"concurrency"` // requests at the same time, of one node
	MaxAnswer   router.Size       `yaml:"max_answer"`
	Late        time.Duration     `yaml:"late"` // how long an answer may come by the reply URL
	Retry       Retry             `yaml:"retry"`
	Breaker     Breaker           `yaml:"breaker"`
	Secret      string            `yaml:"secret,omitempty"`  // signs requests (HMAC-SHA-256)
	Token       string            `yaml:"token,omitempty"`   // sent as Authorization: Bearer
	Headers     map[string]string `yaml:"headers,omitempty"` // sent with each request
	TLS         TLS               `yaml:"tls,omitempty"`
	Reports     bool              `yaml:"reports,omitempty"` // delivery and read results are told
}

// Retry says how often and how long a provider is asked again.
type Retry struct {
	First time.Duration `yaml:"first"` // pause before the second attempt; it doubles
	Max   time.Duration `yaml:"max"`   // longest pause
	For   time.Duration `yaml:"for"`   // then the user gets the fall-back and the turn is a dead letter
}

// Breaker keeps a provider that fails from being asked by every turn.
type Breaker struct {
	Failures int           `yaml:"failures"` // in a row
	Pause    time.Duration `yaml:"pause"`    // then one turn tries
}

// TLS has file names of PEM files.
type TLS struct {
	CA         string `yaml:"ca,omitempty"`
	Cert       string `yaml:"cert,omitempty"` // with key: a client certificate
	Key        string `yaml:"key,omitempty"`
	ServerName string `yaml:"server_name,omitempty"`
}

// Session says how long a user stays with a service.
type Session struct {
	Idle       time.Duration `yaml:"idle"`      // without a turn
	MaxTurns   int           `yaml:"max_turns"` // 0: any number
	StopWords  []string      `yaml:"stop_words,omitempty"`
	StopText   string        `yaml:"stop_text"`             // the answer to a stop word
	ExpiryText string        `yaml:"expiry_text,omitempty"` // told when the time is over; empty: nothing
	TurnsText  string        `yaml:"turns_text,omitempty"`  // told after the answer of the last turn; empty: nothing
	EndText    string        `yaml:"end_text,omitempty"`    // told after the answer with which the provider ends it; empty: nothing
}

// Reply says what the user's answer looks like.
type Reply struct {
	From       string        `yaml:"from,omitempty"` // empty: the code that the user wrote to
	Fallback   string        `yaml:"fallback"`       // text for a turn that the provider did not answer
	Class      string        `yaml:"class,omitempty"`
	Recipients string        `yaml:"recipients"`          // sender, or all: the provider may answer all recipients of the message
	MaxDelay   time.Duration `yaml:"max_delay,omitempty"` // that a provider may ask for; 0: 24h
}

// Loop says what a message that a service has sent may do.
type Loop struct {
	Allow   bool `yaml:"allow,omitempty"`    // it may come here
	MaxHops int  `yaml:"max_hops,omitempty"` // with allow: 1 to 10
}

// DefaultService gives what an entry has where it says nothing.
func DefaultService() Service {
	return Service{
		Provider: Provider{Method: "POST", Format: "json", Timeout: 10 * time.Second, Concurrency: 8, MaxAnswer: 2 << 20, Late: time.Hour,
			Retry:   Retry{First: time.Second, Max: time.Minute, For: 10 * time.Minute},
			Breaker: Breaker{Failures: 5, Pause: 10 * time.Second}},
		Session: Session{Idle: 30 * time.Minute, StopWords: []string{"stop"}, StopText: "You have left the service."},
		Reply:   Reply{Fallback: "The service can't answer now. Please try again later.", Recipients: "sender"},
	}
}

// UnmarshalYAML fills in the defaults.
func (s *Service) UnmarshalYAML(n *yaml.Node) error {
	type plain Service
	p := plain(DefaultService())
	// Node.Decode does not know of strictness, so the entry is read again by a decoder that does.
	text, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&p); err != nil {
		return err
	}
	*s = Service(p)
	return nil
}

// maxImport bounds a file of services.
const maxImport = 1 << 20

// ParseServices reads one service, or a list of them, in YAML or JSON.
func ParseServices(r io.Reader) ([]Service, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxImport+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxImport {
		return nil, fmt.Errorf("more than %d octets", maxImport)
	}
	var root yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&root); err != nil {
		return nil, err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("want one document: a service, a list of services, or `services:` with a list")
	}
	if len(root.Content) != 1 {
		return nil, errors.New("empty")
	}
	switch n := root.Content[0]; {
	case n.Kind == yaml.SequenceNode:
		var list []Service
		return list, n.Decode(&list)
	case n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "services":
		var list []Service
		return list, n.Content[1].Decode(&list)
	default:
		var one Service
		err := n.Decode(&one)
		return []Service{one}, err
	}
}

// hidden stands for a secret that is not shown. An entry that comes back with it keeps the secret it has.
const hidden = "***"

// Shown gives a copy without its secrets.
func (s Service) Shown() Service {
	for _, p := range []*string{&s.Provider.Secret, &s.Provider.Token} {
		if *p != "" {
			*p = hidden
		}
	}
	if len(s.Provider.Headers) > 0 {
		h := make(map[string]string, len(s.Provider.Headers))
		for k := range s.Provider.Headers {
			h[k] = hidden
		}
		s.Provider.Headers = h
	}
	return s
}

// keep takes the secrets that are not shown from the entry that s replaces.
func (s *Service) keep(old *Service) {
	if s.Provider.Secret == hidden {
		s.Provider.Secret = old.Provider.Secret
	}
	if s.Provider.Token == hidden {
		s.Provider.Token = old.Provider.Token
	}
	for k, v := range s.Provider.Headers {
		if v == hidden {
			s.Provider.Headers[k] = old.Provider.Headers[k]
		}
	}
}
