// Package page writes everything that the gate itself says: pages for people,
// in their language and usable without scripts, and JSON for programs. It
// decides nothing.
package page

import (
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
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
	// Invitation asks for the code of an operator, before the number.
	Invitation
	// SignedIn is the state of a verified session, with a button to sign out.
	SignedIn
	// Frame is shown inside a frame: a link that opens the code page on top.
	Frame
	// Again posts a form once more that came from another site (View.Fields): by
	// itself where there are scripts, else by a button.
	Again
	// Ask offers to send the code: the first factor came by itself, and nobody
	// has asked for a text yet.
	Ask
	// Recovery asks for a recovery code, or one of the help desk.
	Recovery
	// Recovered is the page after it: the way on, and to the settings.
	Recovered
	// Overview is what a user may see of the second factor (View.Settings).
	Overview
	// Confirm offers to send a code before the factor is changed (View.For).
	Confirm
	// Remove and MakeCodes ask before they are done.
	Remove
	MakeCodes
	// Codes shows new recovery codes, once.
	Codes
	// Added, Changed and Removed say what has become of the number.
	Added
	Changed
	Removed
)

// names are the templates of the pages.
var names = map[Kind]string{
	Message: "message", Code: "code", Number: "number", Invitation: "invite", SignedIn: "signedin", Frame: "frame", Again: "again", Ask: "ask",
	Recovery: "recovery", Recovered: "recovered", Overview: "overview", Confirm: "confirm", Remove: "remove",
	MakeCodes: "makecodes", Codes: "codes", Added: "added", Changed: "changed", Removed: "removed",
}

// The steps of the settings that have a code of their own.
const (
	StepConfirm = "confirm" // to the user's number
	StepNumber  = "number"  // to a new one
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
	// (Code, Number, Recovery, Confirm); empty when nothing is.
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
	// Delivery is what became of that text, nil where nobody would say; Watch that
	// the page's script may ask again.
	Delivery *Delivery
	Watch    bool
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

	// Trust is how long this browser may be trusted, 0 for not at all; Trusting
	// that the box was ticked before (Code).
	Trust    time.Duration
	Trusting bool
	// Next is where the user was going (Recovered).
	Next string

	// Fields are what is posted once more, and Encoding the form's enctype (Again).
	Fields   []intake.Pair
	Encoding string

	// Step is which step of the settings a page belongs to, "" for a login's; For
	// what is wanted in the end: number, codes or remove, or "" (Code, Recovery,
	// Confirm).
	Step, For string
	// Settings are what Overview shows, and the figures of MakeCodes.
	Settings Settings
	// New are recovery codes (Codes).
	New []string
}

// Settings are what a user may see of the second factor, as a page or as JSON.
type Settings struct {
	// Ending is the last two digits of the number, "" for none.
	Ending string `json:"number_ending,omitempty"`
	// Changeable: the user may name another number. Removable: he may do without.
	Changeable bool `json:"number_changeable"`
	Removable  bool `json:"number_removable"`
	// Left is how many recovery codes there are, -1 when none were ever made.
	Left int `json:"recovery_codes"`
	// Trust: the site allows trusted browsers.
	Trust bool `json:"trusted_browsers_allowed"`
	// Proven is the change that the second factor was given for lately, "" for none.
	Proven   string `json:"proven_for"`
	Sessions []Seen `json:"sessions"`
	Devices  []Seen `json:"trusted_browsers"`
}

// Seen is a session or a trusted browser of the user.
type Seen struct {
	// ID tells it apart; it opens nothing.
	ID string `json:"id"`
	// Browser is what the browser says it is, "" for nothing.
	Browser string    `json:"browser,omitempty"`
	Since   time.Time `json:"since"`
	Used    time.Time `json:"last_used,omitzero"`
	// This is the session of the request itself.
	This bool `json:"this,omitempty"`
}
