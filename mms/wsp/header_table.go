package wsp

import (
	"fmt"
	"strings"
)

type headerKind uint8

const (
	headerOpaque headerKind = iota
	headerText
	headerQuoted      // Quoted-string: Content-ID
	headerInteger     // Integer-value
	headerDate        // Date-value
	headerContentType // section 8.4.2.24
	headerDisposition // Value-length, a token, parameters
	headerEncoding    // a token or its name
	headerOctets      // Value-length and octets: Content-MD5
	headerAppID       // Integer-value or a URI
	headerVersion
)

// headers are the fields of code page 1 by their numbers (WAP-230-WSP table 39).
var headers = [...]struct {
	name string
	kind headerKind
}{
	0x00: {"Accept", headerContentType}, 0x01: {"Accept-Charset", 0}, 0x02: {"Accept-Encoding", headerEncoding}, 0x03: {"Accept-Language", 0}, 0x04: {"Accept-Ranges", 0},
	0x05: {"Age", headerInteger}, 0x06: {"Allow", 0}, 0x07: {"Authorization", 0}, 0x08: {"Cache-Control", 0}, 0x09: {"Connection", 0},
	0x0A: {"Content-Base", headerText}, 0x0B: {"Content-Encoding", headerEncoding}, 0x0C: {"Content-Language", 0},
	0x0D: {"Content-Length", headerInteger}, 0x0E: {"Content-Location", headerText}, 0x0F: {"Content-MD5", headerOctets},
	0x10: {"Content-Range", 0}, 0x11: {"Content-Type", headerContentType}, 0x12: {"Date", headerDate}, 0x13: {"ETag", headerText},
	0x14: {"Expires", headerDate}, 0x15: {"From", headerText}, 0x16: {"Host", headerText}, 0x17: {"If-Modified-Since", headerDate},
	0x18: {"If-Match", headerText}, 0x19: {"If-None-Match", headerText}, 0x1A: {"If-Range", 0}, 0x1B: {"If-Unmodified-Since", headerDate},
	0x1C: {"Location", headerText}, 0x1D: {"Last-Modified", headerDate}, 0x1E: {"Max-Forwards", headerInteger}, 0x1F: {"Pragma", 0},
	0x20: {"Proxy-Authenticate", 0}, 0x21: {"Proxy-Authorization", 0}, 0x22: {"Public", 0}, 0x23: {"Range", 0}, 0x24: {"Referer", headerText},
	0x25: {"Retry-After", 0}, 0x26: {"Server", headerText}, 0x27: {"Transfer-Encoding", 0}, 0x28: {"Upgrade", headerText},
	0x29: {"User-Agent", headerText}, 0x2A: {"Vary", 0}, 0x2B: {"Via", headerText}, 0x2C: {"Warning", 0}, 0x2D: {"WWW-Authenticate", 0},
	0x2E: {"Content-Disposition", headerDisposition}, 0x2F: {"X-Wap-Application-Id", headerAppID}, 0x30: {"X-Wap-Content-URI", headerText},
	0x31: {"X-Wap-Initiator-URI", headerText}, 0x32: {"Accept-Application", 0}, 0x33: {"Bearer-Indication", headerInteger},
	0x34: {"Push-Flag", headerInteger}, 0x35: {"Profile", headerText}, 0x36: {"Profile-Diff", 0}, 0x37: {"Profile-Warning", 0},
	0x38: {"Expect", 0}, 0x39: {"TE", 0}, 0x3A: {"Trailer", 0}, 0x3B: {"Accept-Charset", 0}, 0x3C: {"Accept-Encoding", headerEncoding},
	0x3D: {"Cache-Control", 0}, 0x3E: {"Content-Range", 0}, 0x3F: {"X-Wap-Tod", headerDate}, 0x40: {"Content-ID", headerQuoted},
	0x41: {"Set-Cookie", 0}, 0x42: {"Cookie", 0}, 0x43: {"Encoding-Version", headerVersion}, 0x44: {"Profile-Warning", 0},
	0x45: {"Content-Disposition", headerDisposition}, 0x46: {"X-WAP-Security", 0}, 0x47: {"Cache-Control", 0},
}

// Header octets that this code reads or writes.
const (
	HeaderContentEncoding    = 0x8B
	HeaderContentLength      = 0x8D
	HeaderContentLocation    = 0x8E
	HeaderContentType        = 0x91
	HeaderContentDisposition = 0xAE // the old code: every handset knows it
	HeaderApplicationID      = 0xAF
	HeaderInitiatorURI       = 0xB1
	HeaderPushFlag           = 0xB4
	HeaderContentID          = 0xC0
	headerDispositionNew     = 0xC5
	pageShift                = 0x7F
)

// headerCodes holds, per name in small letters, the octet that is written.
var headerCodes = indexHeaders()

func indexHeaders() map[string]byte {
	codes := make(map[string]byte, len(headers))
	for n := len(headers) - 1; n >= 0; n-- {
		codes[strings.ToLower(headers[n].name)] = byte(n) | 0x80
	}
	return codes
}

// headerName gives the name of a well-known field by number or wire octet.
func headerName(n byte) string {
	if n &= 0x7F; int(n) < len(headers) {
		return headers[n].name
	}
	return fmt.Sprintf("0x%02X", n|0x80)
}
