package proxy

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificate gives the TLS certificate and reads its files again when they change.
type certificate struct {
	cfg     TLSConfig
	mu      sync.Mutex
	cert    *tls.Certificate
	checked time.Time
	stamp   [2]time.Time
}

func loadCertificate(cfg TLSConfig) (*certificate, error) {
	if cfg.Cert == "" {
		return nil, nil
	}
	c := &certificate{cfg: cfg}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("mm1.tls: %w", err)
	}
	return c, nil
}

// load reads both files.
func (c *certificate) load() error {
	stamp := c.stamps()
	cert, err := tls.LoadX509KeyPair(c.cfg.Cert, c.cfg.Key)
	if err != nil {
		return err
	}
	c.cert, c.stamp = &cert, stamp
	return nil
}

func (c *certificate) stamps() (s [2]time.Time) {
	for i, f := range [...]string{c.cfg.Cert, c.cfg.Key} {
		if st, err := os.Stat(f); err == nil { // a file that is missing for a moment keeps the old certificate
			s[i] = st.ModTime()
		}
	}
	return s
}

// get looks at the files at most once a second. While a pair is half replaced, or wrong, the old one serves on.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) > time.Second {
		c.checked = now
		if s := c.stamps(); s != c.stamp && !s[0].IsZero() && !s[1].IsZero() {
			_ = c.load() // the old pair stays; the next look tries again
		}
	}
	return c.cert, nil
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get, NextProtos: []string{"http/1.1"}}
}
