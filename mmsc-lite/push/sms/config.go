package sms

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/mmsrouter/mmsrouter/mms/smpp"
)

// Config says how pushes leave as short messages. Its keys stand in the section of whoever uses it.
type Config struct {
	SMSCs         []SMSCConfig  `yaml:"smscs"`          // in the order of preference: the next is used while the ones before it do not answer
	Source        string        `yaml:"source"`         // sender: a number, a short code, or a word of at most 11 characters
	ServiceType   string        `yaml:"service_type"`   // at most 5 characters
	Form          string        `yaml:"form"`           // udh (ports and segments in a user data header) | sar (in optional parameters) | payload (whole in message_payload)
	DataCoding    int           `yaml:"data_coding"`    // 245 (F5: 8 bits, class 1) or 4 (8 bits); 4 is tried once where the SMSC refuses the other
	WideReference bool          `yaml:"wide_reference"` // references of 16 bits between segments; one octet less for content
	Receipts      string        `yaml:"receipts"`       // none | failure | final: which delivery receipts are asked for
	Window        int           `yaml:"window"`         // submissions under way to one SMSC
	Rate          float64       `yaml:"rate"`           // short messages a second to one SMSC; 0: as many as it takes
	Timeout       time.Duration `yaml:"timeout"`        // until an SMSC has answered a submission
	Enquire       time.Duration `yaml:"enquire"`        // silence after which an SMSC is asked whether it lives; two questions without an answer end the session
	Reconnect     time.Duration `yaml:"reconnect"`      // pause before the second attempt to bind; doubles
	ReconnectMax  time.Duration `yaml:"reconnect_max"`  // ceiling of that pause
	Wait          time.Duration `yaml:"wait"`           // how long a message waits for an SMSC to be bound
}

// SMSCConfig is one SMSC.
type SMSCConfig struct {
	Name       string    `yaml:"name"`        // for people and metrics; empty: the address
	Address    string    `yaml:"address"`     // host:port
	SystemID   string    `yaml:"system_id"`   // at most 15 characters
	Password   string    `yaml:"password"`    // at most 8 characters
	SystemType string    `yaml:"system_type"` // at most 12 characters
	TLS        TLSConfig `yaml:"tls"`
}

// TLSConfig says how the link is encrypted.
type TLSConfig struct {
	Enabled    bool   `yaml:"enabled"`     // TLS from the first octet
	CA         string `yaml:"ca"`          // PEM file; empty: the system's
	ServerName string `yaml:"server_name"` // empty: the host of address
}

// DefaultConfig gives the defaults: one SMSC on this machine.
func DefaultConfig() Config {
	return Config{SMSCs: []SMSCConfig{{Address: "127.0.0.1:2775", SystemID: "mmsrouter"}}, Source: "MMSC", ServiceType: "WAP", Form: "udh", DataCoding: 0xF5,
		Receipts: "none", Window: 10, Timeout: 10 * time.Second, Enquire: 30 * time.Second, Reconnect: 500 * time.Millisecond, ReconnectMax: 30 * time.Second, Wait: time.Second}
}

// Fill puts defaults where a key was left out, for configurations that stand in lists.
func (c *Config) Fill() {
	d := DefaultConfig()
	if len(c.SMSCs) == 0 {
		c.SMSCs = d.SMSCs
	}
	for v, def := range map[*string]string{&c.Source: d.Source, &c.ServiceType: d.ServiceType, &c.Form: d.Form, &c.Receipts: d.Receipts} {
		if *v == "" {
			*v = def
		}
	}
	for v, def := range map[*int]int{&c.DataCoding: d.DataCoding, &c.Window: d.Window} {
		if *v == 0 {
			*v = def
		}
	}
	for v, def := range map[*time.Duration]time.Duration{&c.Timeout: d.Timeout, &c.Enquire: d.Enquire, &c.Reconnect: d.Reconnect, &c.ReconnectMax: d.ReconnectMax, &c.Wait: d.Wait} {
		if *v == 0 {
			*v = def
		}
	}
}

// Validate says which key below at is wrong and what is allowed.
func (c *Config) Validate(at string) error {
	if len(c.SMSCs) == 0 || len(c.SMSCs) > 16 {
		return fmt.Errorf("%s.smscs: %d of them; allowed are 1 to 16", at, len(c.SMSCs))
	}
	names := map[string]bool{}
	for i := range c.SMSCs {
		if err := c.SMSCs[i].validate(fmt.Sprintf("%s.smscs[%d]", at, i)); err != nil {
			return err
		}
		if name := c.SMSCs[i].name(); names[name] {
			return fmt.Errorf("%s.smscs[%d].name: %q is the name of another one too", at, i, name)
		} else {
			names[name] = true
		}
	}
	if _, err := smpp.Source(c.Source); err != nil {
		return fmt.Errorf("%s.source: %w", at, err)
	}
	switch {
	case len(c.ServiceType) > 5:
		return fmt.Errorf("%s.service_type: %q; at most 5 characters", at, c.ServiceType)
	case c.Form != "udh" && c.Form != "sar" && c.Form != "payload":
		return fmt.Errorf("%s.form: %q; allowed are udh, sar and payload", at, c.Form)
	case c.DataCoding != 0xF5 && c.DataCoding != 4:
		return fmt.Errorf("%s.data_coding: %d; allowed are 245 and 4", at, c.DataCoding)
	case c.Receipts != "none" && c.Receipts != "failure" && c.Receipts != "final":
		return fmt.Errorf("%s.receipts: %q; allowed are none, failure and final", at, c.Receipts)
	case c.Window < 1 || c.Window > 1000:
		return fmt.Errorf("%s.window: %d; allowed are 1 to 1000", at, c.Window)
	case c.Rate < 0 || c.Rate > 1e6:
		return fmt.Errorf("%s.rate: %v; allowed are 0 (no bound) to 1000000", at, c.Rate)
	case c.Timeout < 10*time.Millisecond || c.Timeout > 5*time.Minute:
		return fmt.Errorf("%s.timeout: %s; allowed are 10ms to 5m", at, c.Timeout)
	case c.Enquire < 10*time.Millisecond || c.Enquire > 10*time.Minute:
		return fmt.Errorf("%s.enquire: %s; allowed are 10ms to 10m", at, c.Enquire)
	case c.Reconnect < 10*time.Millisecond || c.ReconnectMax < c.Reconnect:
		return fmt.Errorf("%s.reconnect, reconnect_max: %s and %s; want at least 10ms, and the ceiling not below it", at, c.Reconnect, c.ReconnectMax)
	case c.Wait < 0 || c.Wait > time.Minute:
		return fmt.Errorf("%s.wait: %s; allowed are 0s to 1m", at, c.Wait)
	}
	return nil
}

func (s *SMSCConfig) name() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Address
}

func (s *SMSCConfig) validate(at string) error {
	if _, port, err := net.SplitHostPort(s.Address); err != nil || port == "" {
		return fmt.Errorf("%s.address: %q is not host:port", at, s.Address)
	}
	for key, v := range map[string]struct {
		text string
		most int
	}{"system_id": {s.SystemID, 15}, "password": {s.Password, 8}, "system_type": {s.SystemType, 12}} {
		if len(v.text) > v.most {
			return fmt.Errorf("%s.%s: %d characters; SMPP has room for %d", at, key, len(v.text), v.most)
		}
		for _, c := range []byte(v.text) {
			if c < 0x20 || c > 0x7E {
				return fmt.Errorf("%s.%s: holds what is no ASCII character", at, key)
			}
		}
	}
	if !s.TLS.Enabled && (s.TLS.CA != "" || s.TLS.ServerName != "") {
		return fmt.Errorf("%s.tls: ca and server_name without enabled: true", at)
	}
	return nil
}

// tls makes what dials need; nil: no TLS.
func (s *SMSCConfig) tls() (*tls.Config, error) {
	if !s.TLS.Enabled {
		return nil, nil
	}
	tc := &tls.Config{ServerName: s.TLS.ServerName, MinVersion: tls.VersionTLS12}
	if tc.ServerName == "" {
		host, _, err := net.SplitHostPort(s.Address)
		if err != nil {
			return nil, err
		}
		tc.ServerName = host
	}
	if s.TLS.CA == "" {
		return tc, nil
	}
	pem, err := os.ReadFile(s.TLS.CA)
	if err != nil {
		return nil, fmt.Errorf("tls.ca: %w", err)
	}
	tc.RootCAs = x509.NewCertPool()
	if !tc.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls.ca: %s holds no certificate", s.TLS.CA)
	}
	return tc, nil
}
