package admin

import "time"

// Fate is what became of one request: which MMSC got which octets, in which phase, with what answer.
type Fate struct {
	Time          time.Time `json:"time"`
	TransactionID string    `json:"transaction_id,omitempty"`
	MessageID     string    `json:"message_id,omitempty"` // from the MMSC's answer
	Client        string    `json:"client,omitempty"`
	Subscriber    string    `json:"subscriber,omitempty"` // masked, unless the access log is not
	PDU           string    `json:"pdu"`
	Target        string    `json:"target,omitempty"` // method and path
	Octets        int64     `json:"octets"`           // of the client's body, as far as it was read
	Whole         bool      `json:"whole"`            // the client's body came to its end
	Attempts      []Attempt `json:"attempts"`
	Result        string    `json:"result"`
	HTTPStatus    int       `json:"http_status"` // sent to the client; 0: none
	Answer        string    `json:"answer"`      // the answer in words
	Milliseconds  float64   `json:"ms"`
}

// Attempt is one try at one MMSC.
type Attempt struct {
	MMSC         string  `json:"mmsc"`
	Phase        string  `json:"phase"`  // how far it came
	Result       string  `json:"result"` // the answer or the error in words
	Octets       int64   `json:"octets"` // of the body, written to the MMSC
	Milliseconds float64 `json:"ms"`
}
