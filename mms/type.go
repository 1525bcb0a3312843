package mms

import (
	"fmt"
	"strconv"
)

// Type is the octet of X-Mms-Message-Type (OMA-MMS-ENC 7.3.30).
type Type byte

// The PDUs of OMA-MMS-ENC 1.0 to 1.3.
const (
	MSendReq         Type = 0x80
	MSendConf        Type = 0x81
	MNotificationInd Type = 0x82
	MNotifyRespInd   Type = 0x83
	MRetrieveConf    Type = 0x84
	MAcknowledgeInd  Type = 0x85
	MDeliveryInd     Type = 0x86
	MReadRecInd      Type = 0x87
	MReadOrigInd     Type = 0x88
	MForwardReq      Type = 0x89
	MForwardConf     Type = 0x8A
	MMboxStoreReq    Type = 0x8B
	MMboxStoreConf   Type = 0x8C
	MMboxViewReq     Type = 0x8D
	MMboxViewConf    Type = 0x8E
	MMboxUploadReq   Type = 0x8F
	MMboxUploadConf  Type = 0x90
	MMboxDeleteReq   Type = 0x91
	MMboxDeleteConf  Type = 0x92
	MMboxDescr       Type = 0x93
	MDeleteReq       Type = 0x94
	MDeleteConf      Type = 0x95
	MCancelReq       Type = 0x96
	MCancelConf      Type = 0x97
)

const firstType, lastType = MSendReq, MCancelConf

var typeNames = [...]string{
	"m-send-req", "m-send-conf", "m-notification-ind", "m-notifyresp-ind", "m-retrieve-conf", "m-acknowledge-ind",
	"m-delivery-ind", "m-read-rec-ind", "m-read-orig-ind", "m-forward-req", "m-forward-conf",
	"m-mbox-store-req", "m-mbox-store-conf", "m-mbox-view-req", "m-mbox-view-conf", "m-mbox-upload-req", "m-mbox-upload-conf",
	"m-mbox-delete-req", "m-mbox-delete-conf", "m-mbox-descr", "m-delete-req", "m-delete-conf", "m-cancel-req", "m-cancel-conf",
}

// Known says whether t is a PDU of OMA-MMS-ENC 1.0 to 1.3.
func (t Type) Known() bool { return t >= firstType && t <= lastType }

// String gives the name in small letters, "m-send-req", or "unknown": a closed
// set, fit for a metric's label.
func (t Type) String() string {
	if !t.Known() {
		return "unknown"
	}
	return typeNames[t-firstType]
}

// ParseType is the inverse of String.
func ParseType(name string) (Type, error) {
	for i, n := range typeNames {
		if n == name {
			return firstType + Type(i), nil
		}
	}
	return 0, fmt.Errorf("message type %q is none of m-send-req … m-cancel-conf", name)
}

// Types gives every known PDU, in the order of their numbers.
func Types() []Type {
	all := make([]Type, len(typeNames))
	for i := range all {
		all[i] = firstType + Type(i)
	}
	return all
}

// Conf gives the confirmation that answers the request t.
func (t Type) Conf() (Type, bool) {
	switch t {
	case MSendReq, MForwardReq, MMboxStoreReq, MMboxViewReq, MMboxUploadReq, MMboxDeleteReq, MDeleteReq, MCancelReq:
		return t + 1, true
	}
	return 0, false
}

// Indication says whether t is what a handset posts and what no PDU answers.
func (t Type) Indication() bool {
	switch t {
	case MNotifyRespInd, MAcknowledgeInd, MReadRecInd, MCancelConf:
		return true
	}
	return false
}

// FromHandset says whether a handset posts t to a server.
func (t Type) FromHandset() bool {
	switch t {
	case MSendReq, MForwardReq, MMboxStoreReq, MMboxViewReq, MMboxUploadReq, MMboxDeleteReq, MDeleteReq:
		return true
	}
	return t.Indication()
}

// HasBody says whether a Content-Type and a body end the PDU t.
func (t Type) HasBody() bool {
	switch t {
	case MSendReq, MRetrieveConf, MMboxViewConf, MMboxUploadReq, MMboxDescr:
		return true
	}
	return false
}

// HasTransaction says whether t carries an X-Mms-Transaction-ID. It is optional
// in M-Retrieve.conf.
func (t Type) HasTransaction() bool {
	switch t {
	case MDeliveryInd, MReadRecInd, MReadOrigInd, MMboxDescr:
		return false
	}
	return t.Known()
}

// Version is the octet of X-Mms-MMS-Version: major number in bits 6 to 4, minor
// in bits 3 to 0, F for none (OMA-MMS-ENC 7.3.34). Zero means that none was read.
type Version byte

// The versions this package speaks.
const (
	Version10 Version = 0x90
	Version11 Version = 0x91
	Version12 Version = 0x92
	Version13 Version = 0x93
	Own               = Version13
)

// Major gives the major number.
func (v Version) Major() int { return int(v>>4) & 7 }

// Minor gives the minor number, 0 when the peer sent none.
func (v Version) Minor() int {
	if v&0x0F == 0x0F {
		return 0
	}
	return int(v & 0x0F)
}

// String gives "1.2", or "" for no version.
func (v Version) String() string {
	if v < 0x80 {
		return ""
	}
	if v&0x0F == 0x0F {
		return strconv.Itoa(v.Major())
	}
	return strconv.Itoa(v.Major()) + "." + strconv.Itoa(v.Minor())
}

// ParseVersion is the inverse of String.
func ParseVersion(s string) (Version, error) {
	if len(s) == 1 && s[0] >= '0' && s[0] <= '7' {
		return Version(0x80 | (s[0]-'0')<<4 | 0x0F), nil
	}
	if len(s) >= 3 && len(s) <= 4 && s[0] >= '0' && s[0] <= '7' && s[1] == '.' {
		if minor, err := strconv.ParseUint(s[2:], 10, 8); err == nil && minor < 15 {
			return Version(0x80 | (s[0]-'0')<<4 | byte(minor)), nil
		}
	}
	return 0, fmt.Errorf("version %q is not MAJOR.MINOR with 0-7 and 0-14", s)
}

// Reply gives the version in which to answer a peer that speaks v: the lower
// minor of the two, or our own when the major is another or v is unknown
// (OMA-MMS-ENC 7.3.34 and 8).
func (v Version) Reply() Version {
	if v >= 0x80 && v.Major() == Own.Major() && v.Minor() < Own.Minor() {
		return Version(0x90 | v.Minor())
	}
	return Own
}
