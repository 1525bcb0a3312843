package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mmsrouter/mmsrouter/app"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, next: 1}
	a.key = a.newKey()
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return k
}

// issue gives certificate and key in one PEM text.
func (a *authority) issue(name string) []byte {
	a.next++
	key := a.newKey()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})...)
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func TestMMSCOverTLS(t *testing.T) {
	ca := newAuthority(t)
	one := newMMSC(t)
	pair, err := tls.X509KeyPair(split(ca.issue("mmsc.example.net")))
	if err != nil {
		t.Fatal(err)
	}
	callers := make(chan string, 64)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			callers <- r.TLS.PeerCertificates[0].Subject.CommonName
		}
		one.Config.Handler.ServeHTTP(w, r)
	}))
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}
	srv.Config.SetKeepAlivesEnabled(false)           // each message shows its certificate
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes under a wrong name are part of the test
	srv.StartTLS()
	defer srv.Close()

	dir := t.TempDir()
	put := func(name string, b []byte) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	caFile, certFile := put("ca.pem", ca.pem()), put("client.pem", ca.issue("first"))
	entry := func(server string) string {
		return fmt.Sprintf("mmscs:\n  - {name: mmsc-a, url: %q, ca: %q, server_name: %s, client_cert: %q, probe: {type: http, path: /}}\n",
			srv.URL+"/", caFile, server, certFile)
	}
	a := start(t, entry("mmsc.example.net")+"detection: {probe: {interval: 50ms}}\n")
	if s, err := a.post(t, "S1"); err != nil || s != 0x80 || <-callers != "first" {
		t.Fatalf("%v %v\n%s", s, err, a.log)
	}
	put("client.pem", ca.issue("second"))
	future := time.Now().Add(time.Minute) // a file system may count in whole seconds
	if err := os.Chtimes(certFile, future, future); err != nil {
		t.Fatal(err)
	}
	if s, err := a.post(t, "S2"); err != nil || s != 0x80 {
		t.Fatalf("%v %v\n%s", s, err, a.log)
	}
	if who := <-callers; who != "second" {
		t.Errorf("after the file changed the certificate is %q", who)
	}

	a.write(t, head+entry("another.example.net")+"detection: {probe: {interval: 50ms}}\n")
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() error {
		if s := a.Board().Load(); s.MMSCs[0].Up || !strings.Contains(s.MMSCs[0].Why, "another.example.net") {
			return errors.New("still up under another name: " + s.MMSCs[0].Why)
		}
		return nil
	})
}

func split(both []byte) (cert, key []byte) { return both, both }

func TestCheckReadsTheFiles(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ name, key, want string }{
		{"no authority", `ca: "` + dir + `/no.pem"`, ":2: mmscs[0].ca: open "},
		{"an empty authority", `ca: "` + dir + `/c.yaml"`, ":2: mmscs[0].ca: no certificate stands in "},
		{"no certificate", `client_cert: "` + dir + `/no.pem"`, ":2: mmscs[0].client_cert: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(dir, "c.yaml")
			if err := os.WriteFile(file, []byte("node: {name: r1}\nmmscs: [{name: a, url: \"https://127.0.0.1:1/\", "+tc.key+"}]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := app.Check(file); err == nil || !strings.HasPrefix(err.Error(), file+tc.want) {
				t.Errorf("%v", err)
			}
			if _, err := app.Load(file); err != nil {
				t.Errorf("Load looks at files: %v", err)
			}
		})
	}
}
