package mmsc

import (
	"strings"

	"github.com/mmsrouter/mmsrouter/mms"
)

// normal gives the form in which an address is compared and stored: a number without separators and without
// /TYPE=PLMN, an e-mail address without display name and in lower case, anything else as it stands; "" if it
// can't be an address.
func normal(text string) string {
	text = strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD"))
	if i, j := strings.LastIndexByte(text, '<'), strings.LastIndexByte(text, '>'); i >= 0 && j > i && strings.IndexByte(text[i:j], '@') > 0 {
		text = strings.TrimSpace(text[i+1 : j])
	}
	if len(text) == 0 || len(text) > 256 {
		return ""
	}
	for i := range len(text) {
		if text[i] < 0x20 || text[i] == 0x7F {
			return ""
		}
	}
	if n := mms.Number(text); n != "" {
		return n
	}
	return strings.ToLower(text)
}

// wire gives the form in which an address stands in a PDU.
func wire(addr string) string {
	if mms.Number(addr) != "" {
		return addr + "/TYPE=PLMN"
	}
	if i := strings.LastIndex(addr, "/type="); i > 0 {
		if t, ok := wireTypes[addr[i+6:]]; ok {
			return addr[:i] + "/TYPE=" + t
		}
	}
	return addr
}

var wireTypes = map[string]string{"ipv4": "IPv4", "ipv6": "IPv6", "plmn": "PLMN", "other": "other"}
