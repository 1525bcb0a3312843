package dnsserver_test

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/mmsrouter/mmsrouter/dnsserver"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of RFC 9018, appendix A.
func TestCookieVectors(t *testing.T) {
	for _, c := range []struct {
		name, secret, client, src string
		now                       uint32
		want                      string
	}{
		{"A.1 a new one", "e5e973e5a6b2a43f48e7dc849e37bfcf", "2464c4abcf10c957", "198.51.100.100", 1559731985, "010000005cf79f111f8130c3eee29480"},
		{"A.2 renewed", "e5e973e5a6b2a43f48e7dc849e37bfcf", "2464c4abcf10c957", "198.51.100.100", 1559734385, "010000005cf7a871d4a564a1442aca77"},
		{"A.3 another client", "e5e973e5a6b2a43f48e7dc849e37bfcf", "fc93fc62807ddb86", "203.0.113.203", 1559734700, "010000005cf7a9acf73a7810aca2381e"},
		{"A.4 IPv6, another secret", "445536bcd2513298075a5d379663c962", "22681ab97d52c298", "2001:db8:220:1:59de:d0f4:8769:82b8", 1559741961, "010000005cf7c609a6bb79d16625507a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			secret, client, src := [16]byte(unhex(t, c.secret)), [8]byte(unhex(t, c.client)), netip.MustParseAddr(c.src)
			got := dnsserver.SealCookie(secret, client, src, c.now)
			if want := unhex(t, c.client+c.want); !bytes.Equal(got, want) {
				t.Fatalf("made %x, want %x", got, want)
			}
			if valid, renew := dnsserver.OpenCookie(secret, got, src, c.now); !valid || renew {
				t.Errorf("our own: valid %v, renew %v", valid, renew)
			}
		})
	}
}

func TestCookieValidity(t *testing.T) {
	secret, src := [16]byte(unhex(t, "e5e973e5a6b2a43f48e7dc849e37bfcf")), netip.MustParseAddr("198.51.100.100")
	const made = 1559731985
	good := unhex(t, "2464c4abcf10c957010000005cf79f111f8130c3eee29480")
	flip := func(i int) []byte { b := bytes.Clone(good); b[i] ^= 1; return b }
	for _, c := range []struct {
		name         string
		cookie       []byte
		src          netip.Addr
		now          uint32
		valid, renew bool
	}{
		{"fresh", good, src, made, true, false},
		{"half an hour old", good, src, made + 1800, true, false},
		{"older: to be renewed", good, src, made + 1801, true, true},
		{"an hour old", good, src, made + 3600, true, true},
		{"too old", good, src, made + 3601, false, true},
		{"from a clock ahead", good, src, made - 300, true, false},
		{"from the future", good, src, made - 301, false, true},
		{"another client cookie", flip(0), src, made, false, true},
		{"another version", flip(8), src, made, false, true},
		{"reserved bits changed", flip(9), src, made, false, true},
		{"another time", flip(15), src, made, false, true},
		{"another hash", flip(23), src, made, false, true},
		{"another address", good, netip.MustParseAddr("198.51.100.101"), made, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if valid, renew := dnsserver.OpenCookie(secret, c.cookie, c.src, c.now); valid != c.valid || renew != c.renew {
				t.Errorf("valid %v, renew %v", valid, renew)
			}
		})
	}
	t.Run("reserved bits set by the maker (A.3)", func(t *testing.T) {
		c := unhex(t, "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5")
		if valid, _ := dnsserver.OpenCookie(secret, c, netip.MustParseAddr("203.0.113.203"), 1559727985); !valid {
			t.Error("not valid")
		}
	})
	t.Run("across the end of 32 bits", func(t *testing.T) {
		c := dnsserver.SealCookie(secret, [8]byte{1}, src, 0xFFFFFF00)
		if valid, renew := dnsserver.OpenCookie(secret, c, src, 0x100); !valid || renew {
			t.Errorf("valid %v, renew %v", valid, renew)
		}
	})
}
