package mmsc_test

import (
	"testing"

	"github.com/mmsrouter/mmsrouter/mms"
	mmsc "github.com/mmsrouter/mmsrouter/mmsc-lite"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store"
	"github.com/mmsrouter/mmsrouter/mmsc-lite/store/pgtest"
)

// TestOddOctets sends what is no text in any field that is stored as text, to both engines: none may take it for a fault of
// the database, and what is accepted comes out again.
func TestOddOctets(t *testing.T) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			l := newLab(t, func(o *mmsc.Options) {
				if engine == "postgres" {
					o.Config.Database = pgtest.DSN(t)
				}
			})
			odd := "\xff\xfe\xc0\x80"
			for _, c := range []struct {
				name string
				pdu  []byte
			}{
				{"transaction id", sendReq("\x7f"+odd, []byte{0}, 0x97, bob)},
				{"from", append(pdu(0x8C, 0x80, 0x98, "T1", 0x8D, 0x92, 0x89, 7, 0x80, "\x7f"+odd, 0x97, bob, 0x84, 0xA3), 0)},
				{"to", sendReq("T2", []byte{0}, 0x97, "\x7f"+odd)},
				{"to in UTF-16 with zeros", sendReq("T3", []byte{0}, 0x97, []byte{8, 2, 3, 0xE8, 0, 'a', 0, 0, 0})},
				{"subject", sendReq("T4", []byte{0}, 0x97, bob, 0x96, []byte{7, 0xEA}, "\x7f"+odd)},
				{"class", sendReq("T5", []byte{0}, 0x97, bob, 0x8A, "x"+odd)},
				{"application header", sendReq("T6", []byte{0}, 0x97, bob, "x"+odd, "\x7f"+odd)},
			} {
				code, b := l.do("POST", "/", c.pdu)
				h := l.peek(b)
				if code != 200 || mms.ResponseClass(h.Response) == mms.Transient {
					t.Errorf("%s: %d %v", c.name, code, h.Response)
				}
				if h.Response != mms.StatusOk {
					continue
				}
				if code, b := l.do("GET", l.location(l.pushed(mms.MNotificationInd)), nil); code != 200 || l.peek(b).Type != mms.MRetrieveConf {
					t.Errorf("%s: fetched with %d", c.name, code)
				}
			}
			if err := l.Healthy(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := l.List(t.Context(), store.Filter{Number: odd}); err != nil {
				t.Error(err)
			}
		})
	}
}
