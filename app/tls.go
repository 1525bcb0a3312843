package app

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
)

// tlsSides keeps the client sides of the https MMSCs that were configured, so that the authorities once read outlive a file that has
// become unreadable.
type tlsSides struct {
	mu   sync.Mutex
	made map[tlsKey]*tls.Config
	log  *slog.Logger // nil: silence
}

type tlsKey struct{ name, url, ca, serverName, clientCert, clientKey string }

// of gives the client side for an MMSC, which all who connect to it share; nil for http.
func (s *tlsSides) of(m *MMSCConfig) (*tls.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := tlsKey{m.Name, m.URL, m.CA, m.ServerName, m.ClientCert, m.ClientKey}
	if c := s.made[key]; c != nil {
		return c, nil
	}
	log := s.log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c, err := m.tls(log)
	if err != nil || c == nil {
		return nil, err
	}
	if s.made == nil {
		s.made = map[tlsKey]*tls.Config{}
	}
	s.made[key] = c
	return c, nil
}

// tls makes the client side of an https MMSC; nil for http. Authorities and our own certificate follow their files.
func (m *MMSCConfig) tls(log *slog.Logger) (*tls.Config, error) {
	if len(m.URL) < 6 || m.URL[:6] != "https:" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: m.ServerName, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	var follow []string // files that end the sessions when they change
	if m.CA != "" {
		u, err := url.Parse(m.URL)
		if err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
		a := &authorities{file: m.CA, name: m.ServerName, log: log.With("mmsc", m.Name)}
		if a.name == "" {
			a.name = u.Hostname()
		}
		if err := a.read(); err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		// The library would verify against one pool for ever; verify does the same against the one of now, for resumed sessions too.
		c.InsecureSkipVerify, c.VerifyConnection = true, a.verify
		follow = append(follow, m.CA)
	}
	if m.ClientCert != "" {
		pair := &keyPair{cert: m.ClientCert, key: m.ClientKey}
		if pair.key == "" {
			pair.key = pair.cert
		}
		if _, err := pair.get(nil); err != nil {
			return nil, fmt.Errorf("client_cert: %w", err)
		}
		c.GetClientCertificate = pair.get
		follow = append(follow, pair.cert, pair.key)
	}
	if len(follow) > 0 {
		c.ClientSessionCache = &sessions{files: follow}
	}
	return c, nil
}

// authorities is a pool of certificates that follows its file. While the file can't be read, or holds none, the pool before counts.
type authorities struct {
	file, name string // name is what a server's certificate must say: never empty
	log        *slog.Logger

	mu      sync.Mutex
	pool    *x509.CertPool
	stamp   string
	failing bool
}

// read reads the file.
func (a *authorities) read() error {
	stamp, statErr := stampOf(a.file) // first: a file that changes while it is read has another one afterwards
	pem, err := os.ReadFile(a.file)
	if err == nil {
		err = statErr
	}
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate stands in %s", a.file)
	}
	a.pool, a.stamp = pool, stamp
	return nil
}

// now gives the pool as the file has it now.
func (a *authorities) now() *x509.CertPool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if stamp, err := stampOf(a.file); err == nil && stamp == a.stamp && !a.failing {
		return a.pool
	}
	err := a.read()
	switch {
	case err != nil && !a.failing:
		a.log.Warn("the authorities of an MMSC can't be read again: those read before count on", "ca", a.file, "err", err)
	case err == nil && a.failing:
		a.log.Info("the authorities of an MMSC are in order again", "ca", a.file)
	}
	a.failing = err != nil
	return a.pool
}

// verify implements tls.Config.VerifyConnection: chain, time, purpose and name, as the library does.
func (a *authorities) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the MMSC has shown no certificate")
	}
	o := x509.VerifyOptions{Roots: a.now(), DNSName: a.name, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, c := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := s.PeerCertificates[0].Verify(o); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
	}
	return nil
}

// keyPair is a certificate that follows its files.
type keyPair struct {
	cert, key string
	mu        sync.Mutex
	pair      *tls.Certificate
	stamps    string
}

// get gives the certificate as the files have it now; while they can't be read (they are being replaced),
// the one before.
func (k *keyPair) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	stamps, err := stampOf(k.cert, k.key)
	if err == nil && (k.pair == nil || stamps != k.stamps) {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(k.cert, k.key); err == nil {
			k.pair, k.stamps = &pair, stamps
		}
	}
	if k.pair == nil {
		return nil, err
	}
	return k.pair, nil
}

// stampOf tells whether files have changed.
func stampOf(files ...string) (string, error) {
	var b strings.Builder
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%d %d ", st.ModTime().UnixNano(), st.Size())
	}
	return b.String(), nil
}

// sessions is a cache of TLS sessions that forgets them when the authorities or our certificate have changed: a session goes on under the
// certificates that it began with.
type sessions struct {
	files []string
	mu    sync.Mutex
	stamp string
	kept  tls.ClientSessionCache
}

func (s *sessions) cache() tls.ClientSessionCache {
	s.mu.Lock()
	defer s.mu.Unlock()
	stamp, err := stampOf(s.files...)
	if s.kept == nil || err == nil && stamp != s.stamp {
		s.kept, s.stamp = tls.NewLRUClientSessionCache(0), stamp
	}
	return s.kept
}

// Get implements tls.ClientSessionCache.
func (s *sessions) Get(key string) (*tls.ClientSessionState, bool) { return s.cache().Get(key) }

// Put implements tls.ClientSessionCache.
func (s *sessions) Put(key string, state *tls.ClientSessionState) { s.cache().Put(key, state) }
