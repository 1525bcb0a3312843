package dispatcher

import "time"

// Answer is what a provider says, whatever the format it says it in.
type Answer struct {
	Subject    string
	SMIL       []byte
	Pages      []Page
	Parts      []Part // without pages
	Delay      time.Duration
	Recipients string // sender or all
	End        bool   // the session is over
	State      []byte // for the next turn
	Price      string // carried into the call detail record
}

// Page is what is shown at the same time.
type Page struct {
	Duration time.Duration // 0: by its content
	Parts    []Part
}

// empty says whether there is nothing to send.
func (a *Answer) empty() bool {
	for _, p := range a.Pages {
		if len(p.Parts) > 0 {
			return false
		}
	}
	return len(a.Parts) == 0
}
