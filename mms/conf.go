package mms

import (
	"time"

	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// emptyMixed is the Content-Type and the body of an answer that has nothing to
// show: handsets drop an M-Retrieve.conf whose type is no multipart.
var emptyMixed = []byte{byte(FieldContentType), 0xA3, 0x00}

// SendConf is M-Send.conf (OMA-MMS-ENC 6.1.2). Version is the client's; the
// answer speaks Version.Reply. Empty texts are left out.
type SendConf struct {
	TransactionID   []byte
	Version         Version
	Status          Status
	Text            string
	MessageID       string // present on success
	ContentLocation string // when the message was put in the MMBox
	Store           Status // 0: no Store-Status
	StoreText       string
}

// Append appends the PDU.
func (c SendConf) Append(dst []byte) []byte { return c.append(dst, MSendConf) }

// ForwardConf is M-Forward.conf (OMA-MMS-ENC 6.5.2).
type ForwardConf SendConf

// Append appends the PDU.
func (c ForwardConf) Append(dst []byte) []byte { return SendConf(c).append(dst, MForwardConf) }

func (c SendConf) append(dst []byte, t Type) []byte {
	dst = appendStart(dst, t, c.TransactionID, c.Version)
	dst = append(dst, byte(FieldResponseStatus), byte(c.Status))
	dst = appendWords(dst, FieldResponseText, c.Text)
	dst = appendField(dst, FieldMessageID, c.MessageID)
	dst = appendField(dst, FieldContentLocation, c.ContentLocation)
	return appendStore(dst, c.Store, c.StoreText)
}

// StoreConf is M-Mbox-Store.conf or M-Mbox-Upload.conf, by Type (OMA-MMS-ENC 6.8.2, 6.8.6).
type StoreConf struct {
	Type            Type
	TransactionID   []byte
	Version         Version
	Status          Status
	Text            string
	ContentLocation string
}

// Append appends the PDU.
func (c StoreConf) Append(dst []byte) []byte {
	dst = appendStart(dst, c.Type, c.TransactionID, c.Version)
	dst = appendField(dst, FieldContentLocation, c.ContentLocation)
	return appendStore(dst, c.Status, c.Text)
}

// ViewError is an M-Mbox-View.conf that shows nothing (OMA-MMS-ENC 6.8.4).
type ViewError struct {
	TransactionID []byte
	Version       Version
	Status        Status
	Text          string
}

// Append appends the PDU with an empty multipart/mixed.
func (c ViewError) Append(dst []byte) []byte {
	dst = appendStart(dst, MMboxViewConf, c.TransactionID, c.Version)
	dst = append(dst, byte(FieldResponseStatus), byte(c.Status))
	dst = appendWords(dst, FieldResponseText, c.Text)
	return append(dst, emptyMixed...)
}

// DeleteResult is the outcome for one Content-Location of a delete request.
type DeleteResult struct {
	ContentLocation string // may be empty: the request as a whole
	Status          Status
	Text            string
}

// DeleteConf is M-Mbox-Delete.conf or M-Delete.conf, by Type (OMA-MMS-ENC
// 6.8.8). The fields of one result share its number, which counts from 0.
type DeleteConf struct {
	Type          Type
	TransactionID []byte
	Version       Version
	Results       []DeleteResult
}

// Append appends the PDU.
func (c DeleteConf) Append(dst []byte) []byte {
	dst = appendStart(dst, c.Type, c.TransactionID, c.Version)
	for i, r := range c.Results {
		count := wsp.AppendInteger(nil, uint64(i))
		if r.ContentLocation != "" {
			dst = appendLengthed(dst, FieldContentLocation, wsp.AppendText(count[:len(count):len(count)], printable(r.ContentLocation)))
		}
		dst = appendLengthed(dst, FieldResponseStatus, append(count[:len(count):len(count)], byte(r.Status)))
		if r.Text != "" {
			dst = appendLengthed(dst, FieldResponseText, AppendEncoded(count[:len(count):len(count)], r.Text))
		}
	}
	return dst
}

// CancelConf is M-Cancel.conf (OMA-MMS-ENC 6.10): status 80 received, 81 corrupt.
type CancelConf struct {
	TransactionID []byte
	Version       Version
	Status        Status
}

// Append appends the PDU.
func (c CancelConf) Append(dst []byte) []byte {
	dst = appendStart(dst, MCancelConf, c.TransactionID, c.Version)
	return append(dst, byte(FieldCancelStatus), byte(c.Status))
}

// RetrieveError is an M-Retrieve.conf that says why there is no message
// (OMA-MMS-ENC 6.3). It carries an empty multipart/mixed, since handsets drop a
// PDU without Date or multipart type before they look at its status.
type RetrieveError struct {
	TransactionID []byte // optional
	Version       Version
	Date          time.Time
	Status        Status
	Text          string
}

// Append appends the PDU.
func (c RetrieveError) Append(dst []byte) []byte {
	dst = appendStart(dst, MRetrieveConf, c.TransactionID, c.Version)
	dst = wsp.AppendLong(append(dst, byte(FieldDate)), seconds(c.Date))
	dst = append(dst, byte(FieldRetrieveStatus), byte(c.Status))
	dst = appendWords(dst, FieldRetrieveText, c.Text)
	return append(dst, emptyMixed...)
}

// appendStart appends the three fields that come first, in their order. A nil
// transaction id is left out.
func appendStart(dst []byte, t Type, transaction []byte, v Version) []byte {
	dst = append(dst, byte(FieldMessageType), byte(t))
	if transaction != nil {
		dst = wsp.AppendText(append(dst, byte(FieldTransactionID)), transaction)
	}
	return append(dst, byte(FieldMMSVersion), byte(v.Reply()))
}

func appendStore(dst []byte, s Status, text string) []byte {
	if s == 0 {
		return dst
	}
	return appendWords(append(dst, byte(FieldStoreStatus), byte(s)), FieldStoreStatusText, text)
}

// appendField appends a text field, nothing if it is empty.
func appendField(dst []byte, f Field, text string) []byte {
	if text == "" {
		return dst
	}
	return wsp.AppendText(append(dst, byte(f)), printable(text))
}

// appendWords appends an encoded-string field, nothing if it is empty.
func appendWords(dst []byte, f Field, text string) []byte {
	if text == "" {
		return dst
	}
	return AppendEncoded(append(dst, byte(f)), text)
}

func appendLengthed(dst []byte, f Field, value []byte) []byte {
	return append(wsp.AppendValueLength(append(dst, byte(f)), len(value)), value...)
}

// printable replaces control characters, which could break a line or a header
// elsewhere, by spaces.
func printable(text string) string {
	for i := range len(text) {
		if text[i] < 0x20 || text[i] == 0x7F {
			clean := []byte(text)
			for j, c := range clean {
				if c < 0x20 || c == 0x7F {
					clean[j] = ' '
				}
			}
			return string(clean)
		}
	}
	return text
}

func seconds(t time.Time) uint64 {
	if s := t.Unix(); s > 0 {
		return uint64(s)
	}
	return 0
}
