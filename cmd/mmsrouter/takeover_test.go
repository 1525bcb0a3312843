package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const takeoverConfig = `
node: {name: r1}
mmsc: {enabled: true}
admin: {listen: "0.0.0.0:8090", token: "not for everyone"}
takeover:
  interface: eth0
  dir: DIR
  user: root
  routers:
    - {name: r1, peer: 10.0.0.1, addresses: ["192.0.2.1/24"]}
    - {name: r2, peer: 10.0.0.2, addresses: ["192.0.2.2/24"]}
`

func TestTakeover(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "takeover")
	file := write(t, "takeover.yaml", strings.Replace(takeoverConfig, "DIR", dir, 1))
	code, out, errOut := cli("takeover", "-c", file)
	if code != exitFine {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	for _, want := range []string{"vrrp_instance r1", "vrrp_instance r2", "192.0.2.1/24", "http://127.0.0.1:8090/readyz", "a secret"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "not for everyone") {
		t.Error("the token is printed")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("printing made %s: %v", dir, err)
	}
	if code, out, errOut = cli("takeover", "-c", file, "--write"); code != exitFine || !strings.Contains(out, filepath.Join(dir, "keepalived.conf")) {
		t.Fatalf("exit %d: %s%s", code, out, errOut)
	}
	for name, mode := range map[string]os.FileMode{"keepalived.conf": 0o644, "check": 0o755, "notify": 0o755, "token": 0o400} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
	for _, tc := range []struct{ name, text, says string }{
		{"none", "mmsc: {enabled: true}\n", "takeover.routers"},
		{"not this one", strings.Replace(takeoverConfig, "node: {name: r1}", "node: {name: r9}", 1), "r9"},
	} {
		bad := write(t, "bad.yaml", strings.Replace(tc.text, "DIR", dir, 1))
		if code, _, errOut := cli("takeover", "-c", bad); code != exitUsage || !strings.Contains(errOut, tc.says) {
			t.Errorf("%s: exit %d: %s", tc.name, code, errOut)
		}
	}
}
