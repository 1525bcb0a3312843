package admin

import "time"

// Fate is what became of one request: which MMSC got which octets, in which phase, with what answer.
type Fate struct {
	Time          time.Time `json:"time"`
	TransactionID string    `json:"transaction_id,omitempty"`
	MessageID     string    `json:"message_id,omitempty"`
	Client        string    `json:"client,omitempty"`
	Subscriber    string    `json:"subscriber,omitempty"` // masked
	PDU           string    `json:"pdu"`
	Octets        int64     `json:"octets"` // of the client's body
	Attempts      []Attempt `json:"attempts"`
	HTTPStatus    int       `json:"http_status"`
	Answer        string    `json:"answer"` // the result in words
	Milliseconds  float64   `json:"ms"`
	Done          bool      `json:"done"` // false: still under way
}

// Attempt is one try at one MMSC.
type Attempt struct {
	MMSC         string  `json:"mmsc"`
	Phase        string  `json:"phase"`  // how far it came
	Result       string  `json:"result"` // what that was taken for
	Octets       int64   `json:"octets"` // of the body, handed to the MMSC
	Whole        bool    `json:"whole"`  // the body's last octet was handed over
	Answer       string  `json:"answer,omitempty"`
	Milliseconds float64 `json:"ms"`
}
