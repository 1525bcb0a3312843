package mms

import (
	"fmt"
	"strings"
)

// mandatory lists, per PDU, the fields without which it says nothing (OMA-MMS-ENC 6).
// X-Mms-Message-Type is there, else Decode would have refused.
var mandatory = map[Type][]Field{
	MSendReq:         {FieldTransactionID, FieldMMSVersion, FieldFrom, FieldContentType},
	MSendConf:        {FieldTransactionID, FieldMMSVersion, FieldResponseStatus},
	MNotificationInd: {FieldTransactionID, FieldMMSVersion, FieldMessageClass, FieldMessageSize, FieldExpiry, FieldContentLocation},
	MNotifyRespInd:   {FieldTransactionID, FieldMMSVersion, FieldStatus},
	MRetrieveConf:    {FieldMMSVersion, FieldDate, FieldContentType},
	MAcknowledgeInd:  {FieldTransactionID, FieldMMSVersion},
	MDeliveryInd:     {FieldMMSVersion, FieldMessageID, FieldTo, FieldDate, FieldStatus},
	MReadRecInd:      {FieldMMSVersion, FieldMessageID, FieldTo, FieldFrom, FieldReadStatus},
	MReadOrigInd:     {FieldMMSVersion, FieldMessageID, FieldTo, FieldFrom, FieldDate, FieldReadStatus},
	MForwardReq:      {FieldTransactionID, FieldMMSVersion, FieldFrom, FieldContentLocation},
	MForwardConf:     {FieldTransactionID, FieldMMSVersion, FieldResponseStatus},
	MMboxStoreReq:    {FieldTransactionID, FieldMMSVersion, FieldContentLocation},
	MMboxStoreConf:   {FieldTransactionID, FieldMMSVersion, FieldStoreStatus},
	MMboxViewReq:     {FieldTransactionID, FieldMMSVersion},
	MMboxViewConf:    {FieldTransactionID, FieldMMSVersion, FieldResponseStatus, FieldContentType},
	MMboxUploadReq:   {FieldTransactionID, FieldMMSVersion, FieldContentType},
	MMboxUploadConf:  {FieldTransactionID, FieldMMSVersion, FieldStoreStatus},
	MMboxDeleteReq:   {FieldTransactionID, FieldMMSVersion, FieldContentLocation},
	MMboxDeleteConf:  {FieldTransactionID, FieldMMSVersion, FieldResponseStatus},
	MMboxDescr:       {FieldMMSVersion, FieldContentLocation},
	MDeleteReq:       {FieldTransactionID, FieldMMSVersion, FieldContentLocation},
	MDeleteConf:      {FieldTransactionID, FieldMMSVersion, FieldResponseStatus},
	MCancelReq:       {FieldTransactionID, FieldMMSVersion, FieldCancelID},
	MCancelConf:      {FieldTransactionID, FieldMMSVersion, FieldCancelStatus},
}

// Check says what of the mandatory is missing: fields, a recipient of what is
// sent or forwarded, the body of an M-Send.req. Handsets and servers in the
// field leave some of it out, so it is the caller's choice what to insist on.
func (p *PDU) Check() error {
	if !p.Type.Known() {
		return fmt.Errorf("message type %02x is none of OMA-MMS-ENC", byte(p.Type))
	}
	var missing []string
	for _, f := range mandatory[p.Type] {
		if f == FieldContentType && p.ContentType == nil || f != FieldContentType && !p.Has(f) {
			missing = append(missing, f.String())
		}
	}
	if (p.Type == MSendReq || p.Type == MForwardReq) && !p.Has(FieldTo) && !p.Has(FieldCc) && !p.Has(FieldBcc) {
		missing = append(missing, "To, Cc or Bcc")
	}
	if p.Type == MSendReq && p.ContentType != nil && p.BodySize == 0 {
		missing = append(missing, "body")
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s without %s", p.Type, strings.Join(missing, ", "))
	}
	return nil
}
