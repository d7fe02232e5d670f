// Package page writes everything that the gate itself says: pages for people,
// in their language and usable without scripts, and JSON for programs. It
// decides nothing.
package page

import (
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
)

// Kind is which page it is.
type Kind int

const (
	// Message says what happened (View.Reason) and offers one way on.
	Message Kind = iota
	// Code asks for the code.
	Code
	// Number asks for a phone number, at the first login of a user.
	Number
	// SignedIn is the state of a verified session, with a button to sign out.
	SignedIn
	// Frame is shown inside a frame: a link that opens the code page on top.
	Frame
	// Ask offers to send the code: the first factor came by itself, and nobody
	// has asked for a text yet.
	Ask
)

// View is the content of one page. Strings in it are text, never markup.
type View struct {
	Kind Kind
	// App names the application.
	App string
	// Base is the prefix of our own routes, e.g. /mfa.
	Base string
	// Login is where signing in begins: the target of "sign in" links.
	Login string
	// Token goes into every form.
	Token string
	// User is who is signed in (SignedIn).
	User string
	// Reason says what happened (Message), or what is wrong with what was typed
	// (Code, Number); empty when nothing is.
	Reason event.Reason

	// Ending is the last two digits of the number that the code went to.
	Ending string
	// Digits is the length of a code, Minutes its life.
	Digits, Minutes int
	// Left is how many tries are left, where Reason is WrongCode.
	Left int
	// Wait is how long until another text may be asked for; Resend whether
	// another one will be sent at all.
	Wait   time.Duration
	Resend bool
	// Unsent says why the last text did not go out; empty when it did.
	Unsent event.Reason
	// Sent is true right after another text was sent.
	Sent bool
	// Change is true where the number may still be changed (first login).
	Change bool
	// Until is how long a lock or limit lasts; 0 when it does not end by itself.
	Until time.Duration
	// Regions are the ISO codes of the countries that numbers may be of (Number).
	Regions []string
	// Typed is what was typed into the field before (Number).
	Typed string
}
