package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// signed makes a certificate; a nil parent makes it an authority of its own.
func signed(t *testing.T, parent *tls.Certificate, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: t.Name()}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mmsc.example.net"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if parent == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.DNSNames, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil, nil
		parent = &tls.Certificate{Leaf: c, PrivateKey: key}
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent.Leaf, key.Public(), parent.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func pemOf(c *tls.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
}

// trusting is an https MMSC whose certificate may change, and the client side that is configured for it.
type trusting struct {
	t      *testing.T
	shows  atomic.Pointer[tls.Certificate]
	ca     string
	url    string
	out    bytes.Buffer
	client *http.Client
}

// newTrusting has an MMSC that shows a certificate; server is server_name, "" lets the URL's host count, an IP address.
func newTrusting(t *testing.T, root, shows *tls.Certificate, version uint16, server string) *trusting {
	t.Helper()
	x := &trusting{t: t, ca: filepath.Join(t.TempDir(), "ca.pem")}
	x.shows.Store(shows)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Listener = tls.NewListener(srv.Listener, &tls.Config{MaxVersion: version,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return x.shows.Load(), nil }})
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that the client ends are part of the tests
	srv.Start()
	t.Cleanup(srv.Close)
	x.put(pemOf(root))
	x.url = "https" + strings.TrimPrefix(srv.URL, "http") + "/"
	m := MMSCConfig{Name: "a", URL: x.url, CA: x.ca, ServerName: server}
	sides := tlsSides{log: slog.New(slog.NewTextHandler(&x.out, nil))}
	c, err := sides.of(&m)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := sides.of(&m); err != nil || again != c {
		t.Errorf("the client side is made twice: %v", err)
	}
	x.client = &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
	return x
}

func (x *trusting) put(text string) {
	x.t.Helper()
	if err := os.WriteFile(x.ca, []byte(text), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

// want makes a connection; says "" is success.
func (x *trusting) want(step, says string) {
	x.t.Helper()
	resp, err := x.client.Get(x.url)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close() // it was read
	}
	if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
		x.t.Errorf("%s: %v, want %q", step, err, says)
	}
}

func (x *trusting) warned(step string, warnings, infos int) {
	x.t.Helper()
	if w, i := strings.Count(x.out.String(), "level=WARN"), strings.Count(x.out.String(), "level=INFO"); w != warnings || i != infos {
		x.t.Errorf("%s: %d warnings and %d all-clears, want %d and %d\n%s", step, w, i, warnings, infos, x.out.String())
	}
}

func TestAuthoritiesFollowTheirFile(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			one, two := signed(t, nil, nil), signed(t, nil, func(c *x509.Certificate) { c.Subject.CommonName = "another authority, of a longer name" })
			x := newTrusting(t, one, signed(t, one, nil), version, "mmsc.example.net")
			x.want("at first", "")
			x.want("resumed", "")
			x.put(pemOf(two))
			x.want("the authority was taken out", "unknown authority")
			x.shows.Store(signed(t, two, nil))
			x.want("the MMSC has a certificate of the new one", "")
			x.warned("a change", 0, 0)

			x.put("garbage")
			for range 3 {
				x.want("garbage in the file", "")
			}
			x.warned("garbage", 1, 0)
			if err := os.Remove(x.ca); err != nil {
				t.Fatal(err)
			}
			x.want("no file", "")
			x.warned("no file", 1, 0)
			x.shows.Store(signed(t, one, nil))
			x.put(pemOf(two) + pemOf(one))
			x.want("both", "")
			x.shows.Store(signed(t, two, nil))
			x.want("both, the second", "")
			x.warned("in order again", 1, 1)
			x.put("")
			x.want("an empty file", "")
			x.want("an empty file", "")
			x.warned("an empty file", 2, 1)
		})
	}
}

func TestAuthoritiesRefuse(t *testing.T) {
	root, stranger := signed(t, nil, nil), signed(t, nil, nil)
	tests := []struct {
		name   string
		shows  *tls.Certificate
		server string
		says   string
	}{
		{"as it should be", signed(t, root, nil), "mmsc.example.net", ""},
		{"another name", signed(t, root, nil), "other.example.net", "not other.example.net"},
		{"expired", signed(t, root, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "mmsc.example.net", "expired"},
		{"not yet valid", signed(t, root, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), "mmsc.example.net", "not yet valid"},
		{"a client's certificate", signed(t, root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "mmsc.example.net", "incompatible key usage"},
		{"a stranger's", signed(t, stranger, nil), "mmsc.example.net", "unknown authority"},
		{"an address without a certificate for it", signed(t, root, nil), "", "127.0.0.1"},
		{"an address", signed(t, root, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }), "", ""},
		{"another address", signed(t, root, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} }), "", "not 127.0.0.1"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			x := newTrusting(t, root, tc.shows, tls.VersionTLS13, tc.server)
			x.want("first", tc.says)
			x.want("second", tc.says)
		})
	}
}
