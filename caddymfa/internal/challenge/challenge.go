// Package challenge is a code and its life: made, sent, sent again, tried,
// expired. It is pure: it neither stores nor sends, and takes the time as an
// argument.
package challenge

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
)

// Rules are a gate's figures. Zero values are replaced by the defaults.
type Rules struct {
	// Length of a code in digits, 6 to 10. Default 6 (NIST SP 800-63B-4 3.1.3.2: at least 6).
	Length int
	// Lifetime of a code, at most 10 min. Default 5 min (NIST SP 800-63B-4 3.1.3.2).
	Lifetime time.Duration
	// Tries per challenge, 1 to 10. Default 5.
	Tries int
	// Resend are the waits before each further text of a challenge; their
	// number bounds the texts. Default 30 s, 60 s, 120 s.
	Resend []time.Duration
}

// Total is how long a challenge lives, whatever is sent within it.
// NIST SP 800-63B-4 3.1.3.2: at most 10 minutes.
const Total = 10 * time.Minute

// Complete fills in the defaults and refuses figures out of bounds.
func (r *Rules) Complete() error {
	if r.Length == 0 {
		r.Length = 6
	}
	if r.Lifetime == 0 {
		r.Lifetime = 5 * time.Minute
	}
	if r.Tries == 0 {
		r.Tries = 5
	}
	if r.Resend == nil {
		r.Resend = []time.Duration{30 * time.Second, 60 * time.Second, 120 * time.Second}
	}
	switch {
	case r.Length < 6 || r.Length > 10:
		return fmt.Errorf("code length %d: 6 to 10 digits are allowed", r.Length)
	case r.Lifetime < time.Minute || r.Lifetime > Total:
		return fmt.Errorf("code lifetime %s: 1m to %s are allowed", r.Lifetime, Total)
	case r.Tries < 1 || r.Tries > 10:
		return fmt.Errorf("code tries %d: 1 to 10 are allowed", r.Tries)
	case len(r.Resend) > 5:
		return fmt.Errorf("resend has %d waits: at most 5 are allowed", len(r.Resend))
	}
	for _, d := range r.Resend {
		if d < 10*time.Second {
			return fmt.Errorf("resend wait %s: at least 10s are needed, a text takes that long", d)
		}
	}
	return nil
}

// State is a challenge as it lies, sealed, in a pending session.
type State struct {
	ID string `json:"i"`
	// For is what a right code does.
	For Purpose `json:"o,omitempty"`
	// Aim is the one change that a Confirm is for.
	Aim string `json:"a,omitempty"`
	// Template names the text, "" for the default.
	Template string `json:"m,omitempty"`
	// Number is where codes go, E.164; empty while the user has not named one.
	Number string `json:"n,omitempty"`
	// Enrol: the number is proven by this challenge, not before.
	Enrol bool `json:"e,omitempty"`
	// Invite proves the invitation by which a number may be named; nil where none is
	// needed, or none was given yet.
	Invite []byte `json:"k,omitempty"`
	// Code and CodeExpires are the valid code; empty before the first text.
	Code        string    `json:"c,omitempty"`
	CodeExpires time.Time `json:"x,omitzero"`
	// Sends counts texts, accepted or not; LastSend is when the last was handed over.
	Sends    int       `json:"s,omitempty"`
	LastSend time.Time `json:"l,omitzero"`
	// Clients are the networks, hashed, that asked for the texts to Number that were
	// counted: a right code gives them back.
	Clients []string `json:"y,omitempty"`
	// Failed says why the last text was not sent; empty when it was.
	Failed event.Reason `json:"f,omitempty"`
	// Marked says why the number gets no text by itself; the person was told, and
	// may ask for one. Empty for most numbers.
	Marked event.Reason `json:"q,omitempty"`
	// Text is the newest text at its provider, where that wants to know whether its
	// code was given back; nil elsewhere.
	Text *TextID `json:"t,omitempty"`
	// Ends caps the life of codes where the application forgets a login quickly;
	// zero: Total does.
	Ends time.Time `json:"d,omitzero"`
	// Lang is the language the person was met in.
	Lang string `json:"g,omitempty"`

	// Password is a keyed hash of the password that was given, for a browser that
	// is to be trusted; nil where no rule says which field it is.
	Password []byte `json:"w,omitempty"`

	// The login request, for the release: its URL as the browser sees it,
	// whether it was a navigation, and the page that sent it.
	URL      string `json:"u,omitempty"`
	Navigate bool   `json:"v,omitempty"`
	From     string `json:"p,omitempty"`
}

// TextID names a text at its provider.
type TextID struct {
	Provider string `json:"p"`
	ID       string `json:"i"`
}

// Purpose is what a right code does. A code for one purpose does nothing else.
type Purpose string

// The purposes.
const (
	// SignIn opens the session; the challenge of a pending one.
	SignIn Purpose = ""
	// Confirm proves the user's number once more, in a verified session.
	Confirm Purpose = "confirm"
	// NewNumber proves a number that is to take the place of the user's.
	NewNumber Purpose = "number"
)

// New starts a challenge without a code.
func New(what Purpose) State { return State{ID: rand.Text(), For: what} }

// Unsent is why there is no text on its way; "" where there is one, or where nobody
// has asked for it yet.
func (s State) Unsent() event.Reason {
	if s.Code == "" {
		return s.Marked
	}
	return s.Failed
}

// Wait is how long until another text may be asked for; more is false when
// there will be none.
func (s State) Wait(r Rules, now time.Time) (wait time.Duration, more bool) {
	if s.Sends == 0 {
		return 0, true
	}
	if s.Sends > len(r.Resend) {
		return 0, false
	}
	if s.Failed != "" {
		return 0, true // nothing is on its way: trying again costs no one a text
	}
	return max(0, s.LastSend.Add(r.Resend[s.Sends-1]).Sub(now)), true
}

// Send returns the challenge as it is once its code was handed over for
// sending. The code stays the same while it is valid, so that a late text still
// works; it is new when there is none, it has expired, or the number changed.
func (s State) Send(r Rules, now time.Time) State {
	if s.Code == "" || !now.Before(s.CodeExpires) {
		s.Code, s.Text = newCode(r.Length), nil
		s.CodeExpires = now.Add(r.Lifetime)
		if !s.Ends.IsZero() && s.Ends.Before(s.CodeExpires) {
			s.CodeExpires = s.Ends
		}
	}
	s.Sends++
	s.LastSend, s.Failed = now, ""
	return s
}

// Counted returns the challenge after a text that was counted against a client.
func (s State) Counted(client string) State {
	s.Clients = append(slices.Clip(s.Clients), client)
	return s
}

// Uncounted takes the last one back.
func (s State) Uncounted() State {
	s.Clients = s.Clients[:max(0, len(s.Clients)-1)]
	return s
}

// Unproven reports whether nobody has answered from the number yet.
func (s State) Unproven() bool { return s.Enrol || s.For == NewNumber }

// SetNumber points an enrolment to a number. The code for another number is dead.
func (s State) SetNumber(number string) State {
	if s.Number != number {
		s.Code, s.CodeExpires, s.Marked, s.Clients = "", time.Time{}, "", nil
	}
	s.Number = number
	return s
}

// Life is how long the code was still valid when it was last sent: what a text
// and a page say. It is the rules' figure while there is no code.
func (s State) Life(r Rules) time.Duration {
	if s.Code == "" {
		return r.Lifetime
	}
	return s.CodeExpires.Sub(s.LastSend)
}

// Expired reports whether there is no code that could be right.
func (s State) Expired(now time.Time) bool { return s.Code == "" || !now.Before(s.CodeExpires) }

// Right compares in constant time. The caller has counted the try.
func (s State) Right(code string) bool {
	return s.Code != "" && subtle.ConstantTimeCompare([]byte(s.Code), []byte(code)) == 1
}

func newCode(length int) string {
	bound := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(length)), nil)
	n, err := rand.Int(rand.Reader, bound)
	if err != nil {
		panic(err) // crypto/rand never fails since Go 1.24
	}
	return fmt.Sprintf("%0*d", length, n)
}

// Normalise reads a code as people type it: digits of any script, with blanks
// and dashes between them. ok is false for everything else; that is refused
// without costing a try.
func Normalise(typed string, length int) (code string, ok bool) {
	if len(typed) > 64 {
		return "", false
	}
	var b strings.Builder
	for _, c := range typed {
		switch {
		case unicode.Is(unicode.Nd, c):
			b.WriteByte(digit(c))
		case unicode.IsSpace(c), unicode.Is(unicode.Pd, c), c == '\u200e', c == '\u200f': // marks of right-to-left keyboards
		default:
			return "", false
		}
	}
	return b.String(), b.Len() == length
}

// digit gives the ASCII digit of a decimal digit. Unicode keeps the ten digits
// of a script together, in order, from zero (Unicode Standard 4.6).
func digit(c rune) byte {
	if c <= '9' {
		return byte(c) //nolint:gosec // an ASCII digit
	}
	n := 0
	for n < 9 && unicode.Is(unicode.Nd, c-1) && sameBlock(c, c-1) {
		c--
		n++
	}
	return byte('0' + n)
}

// sameBlock: mathematical digits follow each other without a gap, in tens from U+1D7CE.
func sameBlock(a, b rune) bool {
	const math, mathEnd = 0x1D7CE, 0x1D7FF
	if a >= math && a <= mathEnd {
		return b >= math && (a-math)/10 == (b-math)/10
	}
	return true
}
