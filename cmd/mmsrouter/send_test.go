package main

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
)

func TestSendTrustsAnAuthority(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var h mms.Head
		h.Peek(b, true)
		_, _ = w.Write(mms.SendConf{TransactionID: h.TransactionID, Version: mms.Version12, Status: mms.StatusOk}.Append(nil)) // the client sees it
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that a client ends are part of the test
	srv.StartTLS()
	defer srv.Close()
	ca := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	garbage := write(t, "garbage.pem", "no certificate")
	wrongName := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1) // the certificate names 127.0.0.1 and example.com
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"trusted", []string{"--url", srv.URL, "--ca", ca}, exitFine, "m-send-conf: Ok"},
		{"the system does not know it", []string{"--url", srv.URL}, exitFailed, "unknown authority"},
		{"another name", []string{"--url", wrongName, "--ca", ca}, exitFailed, "certificate is valid for"},
		{"a file that is not there", []string{"--url", srv.URL, "--ca", filepath.Join(t.TempDir(), "no.pem")}, exitUsage, "--ca: open "},
		{"a file without one", []string{"--url", srv.URL, "--ca", garbage}, exitUsage, "--ca: no certificate stands in"},
		{"plain http", []string{"--url", "http://127.0.0.1:1/", "--ca", ca}, exitUsage, "--ca is for an https MMS URL"},
		{"verification can't be turned off", []string{"--url", srv.URL, "-k"}, exitUsage, "unknown shorthand flag"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errOut := cli(append([]string{"send", "--dns", "", "--to", "+46701740606", "--text", "hello"}, tc.args...)...)
			if code != tc.code || !strings.Contains(out+errOut, tc.says) {
				t.Errorf("exit %d, want %d and %q\n%s%s", code, tc.code, tc.says, out, errOut)
			}
		})
	}
}
