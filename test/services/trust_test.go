package services_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/test/services/provider"
)

// certificate makes one that is its own authority, for 127.0.0.1 and for clients, as files.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestProviderKnowsTheRouter: signature, token, header fields and client certificate together, over https; a service that lacks one
// of them gets nothing, and its user the fall-back text. No secret is shown by the admin API or stands in the log.
func TestProviderKnowsTheRouter(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t, "router")
	server, serverKey := certificate(t, "provider")
	pair, err := tls.LoadX509KeyPair(server, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("no roots")
	}
	w := newWorld(t, setup{})
	p := provider.Start(t, provider.Options{Secret: "hush-secret", Token: "hush-token", Header: http.Header{"X-Api-Key": {"hush-key"}},
		TLS: &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots},
		Do:  func(a provider.Ask) provider.Answer { return provider.Reply{Text: "hello " + a.Peer}.XML() }})
	const all = "secret: hush-secret, token: hush-token, headers: {X-Api-Key: hush-key}"
	tlsOf := fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q}", server, cert, key)
	cases := []struct{ name, provider, text string }{
		{"all of it", all + ", " + tlsOf, "hello router"},
		{"another secret", strings.Replace(all, "hush-secret", "hush-other", 1) + ", " + tlsOf, "sorry"},
		{"no token", strings.Replace(all, "token: hush-token, ", "", 1) + ", " + tlsOf, "sorry"},
		{"no certificate", all + fmt.Sprintf(", tls: {ca: %q}", server), "sorry"},
		{"an authority that the provider's is not", all + fmt.Sprintf(", tls: {ca: %q, cert: %[1]q, key: %q}", cert, key), "sorry"},
	}
	var entries []string
	for i, c := range cases {
		entries = append(entries, fmt.Sprintf(`{name: s%d, match: {codes: ["%d"]}, provider: {url: "%s", format: xml, retry: {first: 20ms, max: 20ms, for: 60ms}, %s}, reply: {fallback: "sorry"}}`,
			i, 7000+i, p.URL, c.provider))
	}
	w.enter(entries...)
	for i := range cases {
		w.users.say(t, alice, fmt.Sprint(7000+i), "x")
	}
	for i, c := range cases {
		if r := w.users.reply(t, alice, fmt.Sprint(7000+i), 1); r.text != c.text {
			t.Errorf("%s: %q, want %q", c.name, r.text, c.text)
		}
	}
	if n := len(p.Asks()); n != 1 || p.Refused() != 2 {
		t.Errorf("%d requests taken and %d refused, want 1 and 2", n, p.Refused())
	}
	_, shown := w.Get("/api/v1/services/s0")
	if s := string(shown) + w.Log(); strings.Contains(s, "hush") {
		t.Errorf("a secret is shown: …%s…", s[max(0, strings.Index(s, "hush")-100):min(len(s), strings.Index(s, "hush")+50)])
	}
	if log := w.Log(); strings.Contains(log, alice[1:]) {
		at := strings.Index(log, alice[1:])
		t.Errorf("a number stands in the log: …%s…", log[max(0, at-200):at+50])
	}
}
