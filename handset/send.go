package handset

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// Letter is a message to send.
type Letter struct {
	To, Cc, Bcc                []string // numbers, short codes, e-mail addresses
	Subject                    string
	Parts                      []Part
	DeliveryReport, ReadReport bool
}

// Part is one of a Letter's.
type Part struct {
	Name string
	Type string // a media type; texts are UTF-8
	Data []byte
}

// Send sends a letter from a phone and gives the M-Send.conf, also with an error when that says anything but Ok.
func (x *Phones) Send(ctx context.Context, from string, l Letter) (*mms.PDU, error) {
	p, err := x.find(from)
	if err != nil {
		return nil, err
	}
	return p.submit(ctx, l)
}

// SendPDU sends any M-Send.req from a phone, octet for octet; else it is as Send.
func (x *Phones) SendPDU(ctx context.Context, from string, pdu []byte) (*mms.PDU, error) {
	p, err := x.find(from)
	if err != nil {
		return nil, err
	}
	return p.post(ctx, pdu)
}

func (p *phone) submit(ctx context.Context, l Letter) (*mms.PDU, error) {
	pdu, err := p.compose(l)
	if err != nil {
		return nil, err
	}
	return p.post(ctx, pdu)
}

// sender is the phone's From; empty lets the MMSC insert it.
func (p *phone) sender() string {
	if p.opt.InsertAddress {
		return ""
	}
	return p.number + "/TYPE=PLMN"
}

// compose makes the M-Send.req (OMA-MMS-ENC 6.1.1), a multipart/mixed.
func (p *phone) compose(l Letter) ([]byte, error) {
	if len(l.To)+len(l.Cc)+len(l.Bcc) == 0 {
		return nil, errors.New("handset: a letter without a recipient")
	}
	m := mms.SendReq{TransactionID: rand.Text()[:16], Date: time.Now(), From: p.sender(), To: wires(l.To), Cc: wires(l.Cc), Bcc: wires(l.Bcc),
		Subject: l.Subject, ContentType: wsp.Media(wsp.MultipartMixed)}
	if l.DeliveryReport {
		m.DeliveryReport = mms.Yes
	}
	if l.ReadReport {
		m.ReadReport = mms.Yes
	}
	parts := make([]wsp.Part, len(l.Parts))
	for i, in := range l.Parts {
		params := []string{"name", in.Name}
		if strings.HasPrefix(in.Type, "text/") {
			params = append([]string{"charset", "utf-8"}, params...)
		}
		parts[i] = wsp.Part{ContentType: wsp.Media(in.Type, params...), Data: in.Data, Size: int64(len(in.Data))}
		for _, h := range [][2]string{{"Content-ID", "<" + in.Name + ">"}, {"Content-Location", in.Name}} {
			header, err := wsp.NewHeader(h[0], h[1])
			if err != nil {
				return nil, fmt.Errorf("handset: part %q: %w", in.Name, err)
			}
			parts[i].Headers = append(parts[i].Headers, header)
		}
	}
	return wsp.AppendParts(m.AppendHead(nil), parts)
}

func wires(list []string) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = mms.ParseAddress(a).String()
	}
	return out
}

// post sends an M-Send.req. Each attempt carries the same transaction id, by which an MMSC knows a message again.
func (p *phone) post(ctx context.Context, pdu []byte) (*mms.PDU, error) {
	req, err := mms.Decode(pdu)
	if err != nil {
		return nil, fmt.Errorf("handset: %w", err)
	}
	e := Event{Number: p.number, PDU: req.Type, Transaction: string(req.TransactionID()), From: strings.Join(req.Recipients(), ", "), Subject: req.Subject(),
		Size: int64(len(pdu)), Parts: len(req.Parts)}
	var conf *mms.PDU
	if p.opt.URL == "" {
		err = errors.New("no URL of an MMSC is known")
	} else {
		err = p.persist(ctx, e, false, time.Time{}, func() (err error) {
			conf, err = p.submission(ctx, pdu, e.Transaction)
			return err
		})
	}
	e.Kind = Sent
	if conf != nil {
		e.MessageID, e.Status = conf.MessageID(), mms.Status(conf.Octet(mms.FieldResponseStatus)).String()
	}
	if err != nil {
		e.Kind, e.Err = SendFailed, err
		err = fmt.Errorf("send from %s: %w", p.number, err)
	}
	p.tell(e)
	return conf, err
}

// submission does one POST. Statuses are told to the user, who may send again: the phone does not on its own.
func (p *phone) submission(ctx context.Context, pdu []byte, transaction string) (*mms.PDU, error) {
	b, err := p.exchange(ctx, http.MethodPost, p.opt.URL, pdu)
	if err != nil {
		return nil, err
	}
	conf, err := mms.Decode(b)
	switch {
	case err != nil:
		return nil, &failure{fmt.Errorf("the answer: %w", err), never}
	case conf.Type != mms.MSendConf:
		return nil, &failure{fmt.Errorf("the answer is %s", conf.Type), never}
	case string(conf.TransactionID()) != transaction:
		return nil, &failure{fmt.Errorf("the answer is to transaction %q", conf.TransactionID()), never}
	}
	if s := mms.Status(conf.Octet(mms.FieldResponseStatus)); s != mms.StatusOk {
		return conf, &failure{fmt.Errorf("Response-Status %s %q", s, conf.Text(mms.FieldResponseText)), never}
	}
	return conf, nil
}
