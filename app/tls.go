package app

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// tls makes the client side of an https MMSC; nil for http. Authorities are read once (a reload reads them
// again), our own certificate whenever its file has changed.
func (m *MMSCConfig) tls() (*tls.Config, error) {
	if len(m.URL) < 6 || m.URL[:6] != "https:" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: m.ServerName, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	if m.CA != "" {
		pem, err := os.ReadFile(m.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: no certificate stands in %s", m.CA)
		}
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
		c.ClientSessionCache = &sessions{pair: pair}
	}
	return c, nil
}

// keyPair is a certificate that follows its files.
type keyPair struct {
	cert, key string
	mu        sync.Mutex
	pair      *tls.Certificate
	stamps    [2]time.Time
}

// get gives the certificate as the files have it now; while they can't be read (they are being replaced),
// the one before.
func (k *keyPair) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	stamps, err := stampsOf(k.cert, k.key)
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

func stampsOf(files ...string) (stamps [2]time.Time, err error) {
	for i, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			return stamps, err
		}
		stamps[i] = st.ModTime()
	}
	return stamps, nil
}

// sessions is a cache of TLS sessions that forgets them when our certificate has changed: a session goes on
// under the certificate that it began with.
type sessions struct {
	pair   *keyPair
	mu     sync.Mutex
	stamps [2]time.Time
	kept   tls.ClientSessionCache
}

func (s *sessions) cache() tls.ClientSessionCache {
	s.mu.Lock()
	defer s.mu.Unlock()
	stamps, err := stampsOf(s.pair.cert, s.pair.key)
	if s.kept == nil || err == nil && stamps != s.stamps {
		s.kept, s.stamps = tls.NewLRUClientSessionCache(0), stamps
	}
	return s.kept
}

// Get implements tls.ClientSessionCache.
func (s *sessions) Get(key string) (*tls.ClientSessionState, bool) { return s.cache().Get(key) }

// Put implements tls.ClientSessionCache.
func (s *sessions) Put(key string, state *tls.ClientSessionState) { s.cache().Put(key, state) }
