package peer_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
)

// certificate makes one that signs itself, and gives its PEM file, key included.
func certificate(t *testing.T, name string) (file string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})...)
	file = filepath.Join(t.TempDir(), name+".pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if pair, err = tls.X509KeyPair(text, text); err != nil {
		t.Fatal(err)
	}
	return file, pair
}

// TestCertificates: https both ways: the sender's server must be who it says, and sees who we are.
func TestCertificates(t *testing.T) {
	theirs, theirPair := certificate(t, "mms.b.example")
	ours, ourPair := certificate(t, "mms.a.example")
	other, _ := certificate(t, "mms.b.example")
	b := &sender{news: make(chan struct{}, 100)}
	b.Server = httptest.NewUnstartedServer(b)
	pool := x509.NewCertPool()
	pool.AddCert(ourPair.Leaf)
	b.TLS = &tls.Config{Certificates: []tls.Certificate{theirPair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	b.StartTLS()
	t.Cleanup(b.Close)
	_, b.port, _ = net.SplitHostPort(b.Listener.Addr().String())
	location := "/relay?location=" + url.QueryEscape("https://mms.b.example:"+b.port+"/m/1")

	cfg := quick(b)
	cfg.Deadline, cfg.Timeout = 200*time.Millisecond, 200*time.Millisecond
	o := &cfg.Operators[0]
	o.Secure, o.CA = true, theirs
	a := newServer(t, "", "", cfg)
	if code, got := a.get(t, bob, location); code != 200 || status(t, got) != mms.RetrieveTransientNetworkProblem {
		t.Errorf("without our certificate: %d %q", code, got)
	}
	cfg.Deadline, cfg.Timeout = 20*time.Second, 20*time.Second
	o.ClientCert = ours
	if err := a.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if code, got := a.get(t, bob, location); code != 200 || !bytes.Equal(got, message("to /m/1")) {
		t.Errorf("%d %q", code, got)
	}
	if code := a.post(t, bob, location, mms.NotifyResp{TransactionID: "t", Status: mms.Retrieved}.Append(nil)); code != 200 {
		t.Errorf("its answer: %d", code)
	}
	b.await(t, 1)
	if code, _ := a.get(t, bob, b.at("/m/2")); code != 403 {
		t.Errorf("without https: %d", code)
	}
	cfg.Deadline, cfg.Timeout = 200*time.Millisecond, 200*time.Millisecond
	o.CA = other
	if err := a.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if code, got := a.get(t, bob, "/relay?location="+url.QueryEscape("https://mms.b.example:"+b.port+"/m/2")); code != 200 || status(t, got) != mms.RetrieveTransientNetworkProblem {
		t.Errorf("a server that is not who it says: %d %q", code, got)
	}
}
