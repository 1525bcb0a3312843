package platform

import (
	"fmt"
	"time"

	"github.com/mmsrouter/mmsrouter/mms"
	"github.com/mmsrouter/mmsrouter/mms/wsp"
)

// Item is one piece of content as the provider gave it. One that is a container
// (a multipart, a zip, a list of URLs, an MMS message) stands for what is in it.
type Item struct {
	Type     string // media type with its parameters; empty: by content and name
	Name     string // file name
	ID       string // Content-ID, with or without angle brackets
	Location string // Content-Location
	Data     []byte
	URL      string // where to fetch it; Data is not used then
	Optional bool   // may be left out of a message that becomes too large
}

// Page is what is shown at the same time.
type Page struct {
	Items    []Item
	Duration time.Duration // 0: by the length of text and sound
}

// Content is what a provider wants to be sent. Pages are shown in their order.
// Items have no pages yet: the first picture is put together with the first text
// and the first sound, and so on. A SMIL among the items or in SMIL has the say
// over both, if it can be used.
type Content struct {
	Subject string
	SMIL    []byte
	Pages   []Page
	Items   []Item
}

// Limits are what a recipient can take. Zero values: those of the class.
type Limits struct {
	Class     string // a name of Config.Classes; empty: Config.Class
	Size      int64  // octets of the whole message
	MaxWidth  int    // pixels
	MaxHeight int
}

// Request asks for a message made of content.
type Request struct {
	From           string   // the service's code, or an address
	To             []string // the user
	Content        Content
	Limits         Limits
	Profile        string      // URL of the recipient's UAProf, which says the limits where Limits does not
	Subject        string      // goes before Content.Subject
	Version        mms.Version // 0: 1.2; from 1.3 on the class is announced
	TransactionID  string      // of the first message; a second gets "-2" behind it; empty: random
	Delay          time.Duration
	Expiry         time.Duration // 0: the server's own
	Class          string        // message class; empty: Personal
	Priority       mms.Priority
	DeliveryReport bool
	ReadReport     bool
	Extra          []mms.Header // the marks of the loop guard and the like
}

// Message is a message ready to be submitted.
type Message struct {
	Head  mms.SendReq
	Parts []wsp.Part
}

// Encode gives the M-Send.req.
func (m *Message) Encode() ([]byte, error) {
	return mms.Message(m.Head.AppendHead(nil), m.Parts)
}

// Size is the number of octets that Encode gives.
func (m *Message) Size() (int64, error) {
	n := int64(len(m.Head.AppendHead(nil)) + len(wsp.AppendUintvar(nil, uint32(len(m.Parts)))))
	for _, p := range m.Parts {
		head, err := wsp.AppendPartHead(nil, p.ContentType, p.Headers, p.Size)
		if err != nil {
			return 0, err
		}
		n += int64(len(head)) + p.Size
	}
	return n, nil
}

// Result is what became of content: one message, or several in the order in
// which they are to be sent, and what was done to make it fit.
type Result struct {
	Messages []*Message
	Notes    []Note
}

// Step is a way in which content was changed.
type Step uint8

// The steps, those that make a message smaller in the order in which they are
// tried.
const (
	Quality    Step = iota // a picture was encoded with lower quality
	FirstFrame             // an animation became its first picture
	Scaled                 // a picture was made smaller than the class asks for
	Dropped                // an optional part was left out
	Split                  // the content became several messages
	LeftOut                // a part does not fit a message, or not the last one
	Cut                    // a text was cut
	Converted              // a part was turned into another type, or a picture fitted to the class's dimensions
	Refused                // a part is not of the class
	Broken                 // a part can't be read
	NewSMIL                // the given SMIL can't be used
	Reference              // a reference of the SMIL leads nowhere
)

var stepNames = [...]string{"quality", "first_frame", "scaled", "dropped", "split", "left_out", "cut", "converted", "refused", "broken", "new_smil", "reference"}

// String gives one word.
func (s Step) String() string {
	if int(s) < len(stepNames) {
		return stepNames[s]
	}
	return "unknown"
}

// Note tells one change.
type Note struct {
	Step Step
	Part string // its name in the message, or as it was given
	Why  string
}

// String gives one line.
func (n Note) String() string { return fmt.Sprintf("%s %s: %s", n.Step, n.Part, n.Why) }

// Kind is why no message could be made.
type Kind uint8

// The kinds.
const (
	Unusable     Kind = iota // nothing in the content can be read or is of the class
	TooLarge                 // what must not be left out does not fit, or the content is beyond a bound
	Unobtainable             // a URL could not be fetched
	Interrupted              // the context ended, or the time for one message
	BadRequest               // an address, a class or a header of the request
)

// Error says why no message could be made.
type Error struct {
	Kind  Kind
	Retry bool // the same request may succeed later
	Err   error
}

// Error gives one line.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func unusable(format string, args ...any) error {
	return &Error{Kind: Unusable, Err: fmt.Errorf(format, args...)}
}

func tooLarge(format string, args ...any) error {
	return &Error{Kind: TooLarge, Err: fmt.Errorf(format, args...)}
}
