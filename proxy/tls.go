package proxy

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// certificate gives the TLS certificate and reads its files again when they change.
type certificate struct {
	cfg     TLSConfig
	mu      sync.Mutex
	cert    *tls.Certificate
	checked time.Time
	stamp   [2]time.Time // of the files that were looked at last
	failing bool         // those could not be used
	log     *slog.Logger
	failed  *atomic.Uint64
}

func (p *Proxy) loadCertificate(cfg TLSConfig) (*certificate, error) {
	if cfg.Cert == "" {
		return nil, nil
	}
	c := &certificate{cfg: cfg, log: p.log, failed: &p.m.certificates}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("mm1.tls: %w", err)
	}
	return c, nil
}

// load reads both files.
func (c *certificate) load() error {
	c.stamp = c.stamps()
	cert, err := tls.LoadX509KeyPair(c.cfg.Cert, c.cfg.Key)
	if err != nil {
		return err
	}
	c.cert = &cert
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
			c.reload()
		}
	}
	return c.cert, nil
}

// reload reads changed files. The old pair stays while they are wrong, and the log says so once per change.
func (c *certificate) reload() {
	err := c.load()
	switch {
	case err != nil:
		c.failed.Add(1)
		c.log.Warn("the TLS files have changed and can't be used: the old certificate serves on", "cert", c.cfg.Cert, "key", c.cfg.Key, "err", err)
	case c.failing:
		c.log.Info("the TLS files are in order again", "cert", c.cfg.Cert)
	}
	c.failing = err != nil
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get, NextProtos: []string{"http/1.1"}}
}
