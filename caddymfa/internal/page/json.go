package page

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
)

// Challenge is what a program learns when the second factor is owed.
type Challenge struct {
	Token    string
	Expires  time.Time
	Number   string // E.164; only its last digits are told
	Verified bool   // the number was proven before
	Sent     bool
	ID       string
	Base     string
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
}

// Time is LoginRadius' form of a time.
func Time(t time.Time) string {
	if t.IsZero() {
		return zeroTime
	}
	return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
}

// challengeCode is LoginRadius' number for "two factor authentication is
// enabled": a client that does not know the challenge sees a failed login.
const challengeCode = 1176

// WriteChallenge writes a challenge in the shape of LoginRadius' answer to a
// login that needs a second factor. It is no success to anybody: the status
// says so, ErrorCode is there, and the token is the zero UUID.
func WriteChallenge(w http.ResponseWriter, status int, c Challenge) {
	type second struct {
		SecondFactorAuthenticationToken         string
		ExpireIn                                string
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
	s := second{
		SecondFactorAuthenticationToken: c.Token, ExpireIn: Time(c.Expires),
		IsOTPAuthenticatorVerified: c.Verified,
	}
	if len(c.Number) > 2 {
		masked := "XXXXXXXX" + c.Number[len(c.Number)-2:]
		s.OTPPhoneNo = &masked
	}
	if c.Sent {
		s.OTPStatus = &SMS{"caddymfa", c.ID}
	}
	WriteJSON(w, status, struct {
		SecondFactorAuthentication second
		Profile                    *struct{}
		Token                      string `json:"access_token"`
		Expires                    string `json:"expires_in"`
		ErrorCode                  int
		Message                    string
		Location                   string `json:"location"`
		Hint                       string `json:"hint"`
	}{s, nil, zeroToken, zeroTime, challengeCode, "Two factor authentication is enabled", c.Base, hint(c)})
}

// hint says how a program goes on, for whoever reads its log.
func hint(c Challenge) string {
	if c.Sent {
		return "A code was sent. With the cookie of this answer, POST it as otp to " + c.Base + "/verify. A client that keeps no cookies cannot be used here."
	}
	return "A code is needed. With the cookie of this answer, POST to " + c.Base + "/resend, then POST the code as otp to " + c.Base + "/verify. A client that keeps no cookies cannot be used here."
}

// codes are LoginRadius' numbers and messages for our reasons; what it has no
// number for is 971, an invalid request.
var codes = map[event.Reason]struct {
	code    int
	message string
}{
	event.WrongCode:       {1067, "Invalid OTP Code"},
	event.MalformedCode:   {1067, "Invalid OTP Code"},
	event.AlreadyUsed:     {1068, "The OTP has already been used"},
	event.ExpiredCode:     {1069, "Verification OTP has expired"},
	event.UsedUp:          {1264, "Account has been locked"},
	event.LockedOut:       {1264, "Account has been locked"},
	event.Disabled:        {1264, "Account has been locked"},
	event.BadToken:        {1103, "Two factor authentication token is invalid"},
	event.UnknownHandle:   {1104, "Two factor authentication token has expired"},
	event.Anonymous:       {906, "Sign in first"},
	event.BadNumber:       {1096, "Invalid phone number"},
	event.BadCountry:      {1043, "Phone number is invalid or does not exist"},
	event.BadNumberType:   {1043, "Phone number is invalid or does not exist"},
	event.NumberRefused:   {1072, "The Verification code (OTP) send failed"},
	event.GatewayDown:     {1072, "The Verification code (OTP) send failed"},
	event.TooSoon:         {1179, "You have reached a limit for generating OTP"},
	event.NoMoreSends:     {1179, "You have reached a limit for generating OTP"},
	event.UserLimit:       {1123, "You have reached a limit for sending SMS"},
	event.NumberLimit:     {1123, "You have reached a limit for sending SMS"},
	event.ClientLimit:     {1123, "You have reached a limit for sending SMS"},
	event.PrefixLimit:     {1123, "You have reached a limit for sending SMS"},
	event.Budget:          {1123, "You have reached a limit for sending SMS"},
	event.CountryLimit:    {1123, "You have reached a limit for sending SMS"},
	event.AppLimit:        {1123, "You have reached a limit for sending SMS"},
	event.Unanswered:      {1123, "You have reached a limit for sending SMS"},
	event.StoreDown:       {950, "Operation failed due to an unknown error"},
	event.NoNumber:        {1101, "Two-factor authentication is not configured for this profile"},
	event.Denied:          {1143, "Access Unauthorized"},
	event.TooManyVisitors: {1123, "Too many requests"},
}

// WriteError writes a refusal for a program, in LoginRadius' shape with the
// reason beside it.
func WriteError(w http.ResponseWriter, status int, reason event.Reason) {
	c, ok := codes[reason]
	if !ok {
		c.code, c.message = 971, "Invalid request"
	}
	WriteJSON(w, status, struct {
		Description           string
		ErrorCode             int
		Message               string
		IsProviderError       bool
		ProviderErrorResponse *string
		Reason                event.Reason `json:"reason"`
	}{c.message, c.code, c.message, false, nil, reason})
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
