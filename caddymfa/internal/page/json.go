package page

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// Challenge is what a program learns when the second factor is owed.
type Challenge struct {
	Token    string
	Expires  time.Time
	Number   string // E.164; only its last digits are told
	Verified bool   // the number was proven before
	Sent     bool
	Invite   bool // an invitation is needed before a number can be named
	ID       string
	Base     string
	// Waits: the text goes out when it is asked for. Unsent says why it did not go
	// out, or why it waits; "" for no such reason.
	Waits  bool
	Unsent event.Reason
}

// Mark is the header field by which our script in the application's pages tells
// our answers from the application's: Challenged is the answer to a login whose
// own answer is withheld, Released is that answer after the code.
const (
	Mark       = "X-Mfa"
	Challenged = "challenge"
	Released   = "released"
)

// zeroToken and zeroTime are what LoginRadius' clients read as "none".
const (
	zeroToken = "00000000-0000-0000-0000-000000000000"
	zeroTime  = "0001-01-01T00:00:00"
)

// SMS is LoginRadius' answer to a wish for a text. AccountSid must not be
// empty: its hosted page says "sent" only then.
type SMS struct {
	AccountSid, Sid string
}

// BackupCodes is LoginRadius' answer to a wish for recovery codes.
type BackupCodes struct {
	BackUpCodes []string
}

// Status is the state of a session.
type Status struct {
	// Level is "", pending or verified.
	Level string `json:"level"`
	// Location is where a browser should go next.
	Location string `json:"location,omitempty"`
	ExpireIn string `json:"expire_in,omitempty"`
	// Text is what became of the newest text; nil where nobody would say.
	Text *Delivery `json:"text,omitempty"`
}

// Delivery is what became of a text, as far as its provider has said.
type Delivery struct {
	// State is sent, delivered or failed.
	State sms.State `json:"state"`
	// Reason is the class of a failure.
	Reason event.Reason `json:"reason,omitempty"`
	// Message says it to a person; empty while there is nothing to say.
	Message string `json:"message,omitempty"`
}

// Time is LoginRadius' form of a time.
func Time(t time.Time) string {
	if t.IsZero() {
		return zeroTime
	}
	return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
}

// Factors is what LoginRadius tells of a user's second factors. Its typed clients
// take no null for a boolean, and lists and objects may be null.
type Factors struct {
	QRCode, ManualEntryCode                 *string
	IsGoogleAuthenticatorVerified           bool
	IsAuthenticatorVerified                 bool
	IsEmailOtpAuthenticatorVerified         bool
	IsOTPAuthenticatorVerified              bool
	OTPPhoneNo                              *string
	OTPStatus                               *SMS
	Email                                   []string
	EmailOTPStatus                          *struct{}
	IsSecurityQuestionAuthenticatorVerified bool
	SecurityQuestions                       []struct{}
}

// Owed is the second factor that a login still needs.
type Owed struct {
	SecondFactorAuthenticationToken string
	ExpireIn                        string
	Factors
}

// Login is LoginRadius' answer to a login: either Owed, with the zero token, or
// the tokens.
type Login struct {
	SecondFactorAuthentication *Owed
	Profile                    any
	Tokens
}

// Tokens open what they were made for until ExpiresIn.
type Tokens struct {
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token,omitempty"`
	ExpiresIn string `json:"expires_in"`
}

// SMSFactors are the factors of a user with this number, E.164; "" for none. sent
// is the text on its way, nil for none.
func SMSFactors(number string, verified bool, sent *SMS) Factors {
	f := Factors{IsOTPAuthenticatorVerified: verified, OTPStatus: sent}
	if masked := Masked(number); masked != "" {
		f.OTPPhoneNo = &masked
	}
	return f
}

// Masked is what is told of a number, E.164: its last two digits.
func Masked(number string) string {
	if len(number) <= 2 {
		return ""
	}
	return "XXXXXXXX" + number[len(number)-2:]
}

// Text is LoginRadius' word for a text of the challenge with this id.
func Text(id string) *SMS { return &SMS{"caddymfa", id} }

// Login is the answer to a login that owes the challenge.
func (c Challenge) Login() Login {
	var sent *SMS
	if c.Sent {
		sent = Text(c.ID)
	}
	return Login{
		SecondFactorAuthentication: &Owed{c.Token, Time(c.Expires), SMSFactors(c.Number, c.Verified, sent)},
		Tokens:                     Tokens{Access: zeroToken, ExpiresIn: zeroTime},
	}
}

// challengeCode is LoginRadius' number for "two factor authentication is
// enabled": a client that does not know the challenge sees a failed login.
const challengeCode = 1176

// WriteChallenge writes a challenge in the shape of LoginRadius' answer to a
// login that needs a second factor. It is no success to anybody: the status
// says so, ErrorCode is there, and the token is the zero UUID.
func WriteChallenge(w http.ResponseWriter, status int, c Challenge) {
	WriteJSON(w, status, struct {
		Login
		ErrorCode int
		Message   string
		Location  string `json:"location"`
		Hint      string `json:"hint"`
		Invite    bool   `json:"invitation_needed,omitempty"`
		Waits     bool   `json:"text_waits,omitempty"`
		Unsent    string `json:"text_unsent,omitempty"`
	}{c.Login(), challengeCode, problems[challengeCode].message, c.Base, hint(c), c.Invite, c.Waits, strings.TrimPrefix(problemKey(c.Unsent), "problem.")})
}

// hint says how a program goes on, for whoever reads its log.
func hint(c Challenge) string {
	if c.Sent {
		return "A code was sent. With the cookie of this answer, POST it as otp to " + c.Base + "/verify. A client that keeps no cookies cannot be used here."
	}
	return "A code is needed. With the cookie of this answer, POST to " + c.Base + "/resend, then POST the code as otp to " + c.Base + "/verify. A client that keeps no cookies cannot be used here."
}

// Readable lets the page of a listed foreign origin read what we answer (Fetch
// standard, CORS protocol); "" is for every other page. A cache keeps them apart.
func Readable(h http.Header, origin string) {
	if !slices.Contains(h["Vary"], "Origin") {
		h.Add("Vary", "Origin")
	}
	if origin == "" {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", Mark+", Retry-After, WWW-Authenticate")
}

// SignedOut lets the browser forget the pages that it keeps of this site, also those
// that its Back button would show (Clear Site Data 3.1, "cache"). What the
// application asks it to forget besides stays asked.
func SignedOut(h http.Header) { h.Add("Clear-Site-Data", `"cache"`) }

// RetryAfter says how long to wait (RFC 9110 10.2.3); whole seconds, rounded up.
func RetryAfter(h http.Header, d time.Duration) {
	h.Set("Retry-After", strconv.Itoa(int(math.Ceil(d.Seconds()))))
}

// WriteJSON writes v. Every answer is marked as not to be kept anywhere.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types
	}
	secure(w.Header())
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
