package ppg

import (
	"crypto/rand"
	"sort"
	"strings"

	"github.com/mmsrouter/mmsrouter/mms/pap"
	"github.com/mmsrouter/mmsrouter/mms/wappush"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// dropped are header fields of a MIME part that say nothing to a handset.
var dropped = map[string]bool{"Content-Type": true, "Content-Length": true, "Content-Id": true, "Content-Description": true, "Mime-Version": true,
	"Content-Transfer-Encoding": true, "Connection": true}

// wspPush makes the WSP push of a content entity: short codes wherever WSP has them, the content untouched. The TID is random: handsets
// use it to tell repetitions apart.
func wspPush(content *pap.Entity) ([]byte, *pap.Error) {
	if content == nil {
		return nil, &pap.Error{Code: pap.BadRequest, Text: "there is no content to push"}
	}
	kind := content.Type()
	if kind == "" {
		kind = "application/octet-stream"
	}
	ct, err := wsp.ParseContentType(kind)
	if err != nil {
		return nil, &pap.Error{Code: pap.BadRequest, Text: "the content's Content-Type can't be read: " + err.Error()}
	}
	var tid [1]byte
	_, _ = rand.Read(tid[:]) // never fails
	push := wappush.Push{TID: tid[0], Type: wappush.TypePush, ContentType: ct, Body: content.Body}
	names := make([]string, 0, len(content.Header))
	for name := range content.Header {
		if !dropped[name] {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		for _, value := range content.Header[name] {
			h, err := wsp.NewHeader(name, strings.TrimSpace(value))
			if err != nil {
				return nil, &pap.Error{Code: pap.BadRequest, Text: "push header " + name + ": " + err.Error()}
			}
			push.Headers = append(push.Headers, h)
		}
	}
	if push.IsMMS() && push.ApplicationID() == "" {
		h, err := wsp.NewHeader("X-Wap-Application-Id", wappush.MMSApplication)
		if err != nil {
			return nil, &pap.Error{Code: pap.InternalError, Text: err.Error()}
		}
		push.Headers = append(push.Headers, h)
	}
	return push.Append(nil), nil
}
