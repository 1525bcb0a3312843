package proxy

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestAppendTime(t *testing.T) {
	for _, at := range []time.Time{
		time.Unix(0, 0),
		time.Date(2026, 1, 2, 3, 4, 5, 6_999_999, time.UTC),
		time.Date(2031, 12, 31, 23, 59, 59, 999_999_999, time.FixedZone("east", 5*3600+1800)),
		time.Now(),
	} {
		if got, want := string(appendTime(nil, at)), at.UTC().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestAppendMillis(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.000", time.Microsecond: "0.001", 999_999: "0.999", 12_345_678: "12.345", time.Hour: "3600000.000", -time.Second: "0.000",
	} {
		if got := string(appendMillis(nil, d)); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestAppendString(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, s := range []string{"", "plain", `"`, `\`, "a\"b\\c\x00d\x1fe\x7f", "å", "aå\xffb", "\xc3", "\u2028", "ends\n", string(all)} {
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil || got != strings.ToValidUTF8(string([]rune(s)), "\ufffd") {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
}
