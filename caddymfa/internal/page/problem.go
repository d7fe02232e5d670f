package page

import (
	"net/http"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
)

// problem is one of LoginRadius' errors.
type problem struct {
	status  int
	message string
}

// problems are LoginRadius' errors by their numbers, as its documentation has
// them (customer-identity-api-codes).
var problems = map[int]problem{
	901:           {403, "The API key is unauthorized"},
	902:           {401, "API secret is unauthorized"},
	905:           {403, "Access token is invalid"},
	906:           {403, "Access token has expired"},
	908:           {403, "A parameter is not formatted correctly"},
	920:           {400, "API key is invalid"},
	921:           {400, "API secret is invalid"},
	922:           {400, "API key is missing"},
	923:           {400, "API secret is missing"},
	950:           {500, "Operation failed due to an unknown error"},
	965:           {400, "The post body is invalid"},
	966:           {401, "Invalid user ID and/or password"},
	971:           {400, "Invalid request"},
	1043:          {403, "Phone number is invalid or does not exist"},
	1060:          {400, "Access token is missing"},
	1067:          {403, "Invalid OTP Code"},
	1068:          {403, "The OTP has already been used"},
	1069:          {403, "Verification OTP has expired"},
	1072:          {403, "The Verification code (OTP) send failed"},
	1074:          {403, "Phone number login is not enabled"},
	1076:          {400, "Phone number is required"},
	1096:          {400, "Invalid phone number"},
	1100:          {403, "OTP two factor authentication is not enabled"},
	1101:          {403, "Two-factor authentication is not configured for this profile"},
	1103:          {403, "Two factor authentication token is invalid"},
	1104:          {403, "Two factor authentication token has expired"},
	1105:          {403, "At least one verification code is required"},
	1106:          {403, "This phone number is already registered"},
	1121:          {403, "This is not valid request for removing two factor authentication"},
	1123:          {403, "You have reached a limit for sending SMS"},
	1127:          {403, "Two factor authentication backup code is already generated"},
	1129:          {403, "Two factor authentication backup code is not valid or has already been used"},
	1130:          {403, "Login services have been disabled for your account"},
	1143:          {403, "Access Unauthorized"},
	challengeCode: {403, "Two factor authentication is enabled"},
	1179:          {403, "You have reached a limit for generating OTP"},
	1192:          {403, "At least one verification code is required"},
	1193:          {403, "Two factor validation token is invalid"},
	1198:          {403, "Your account has been locked"},
	1250:          {403, "Invalid request to update the phone number for two-factor authentication."},
	1264:          {403, "Account has been locked"},
	1292:          {403, "A phone number is not currently linked to your account"},
}

// invalid is the number for what LoginRadius has no number for.
const invalid = 971

// codes are LoginRadius' numbers for our reasons.
var codes = map[event.Reason]int{
	event.WrongCode: 1067, event.MalformedCode: 1067, event.AlreadyUsed: 1068, event.ExpiredCode: 1069,
	event.UsedUp: 1264, event.LockedOut: 1264, event.Disabled: 1264,
	event.BadToken: 1103, event.UnknownHandle: 1104, event.Anonymous: 906,
	event.BadNumber: 1096, event.BadCountry: 1043, event.BadNumberType: 1043,
	event.NumberRefused: 1072, event.GatewayDown: 1072, event.TooSoon: 1179, event.NoMoreSends: 1179,
	event.NumberDead: 1072, event.NoMobile: 1072, event.OptedOut: 1072, event.Blocked: 1072, event.Suspected: 1072, event.PhoneOff: 1072, event.Undelivered: 1072,
	event.UserLimit: 1123, event.NumberLimit: 1123, event.ClientLimit: 1123, event.PrefixLimit: 1123, event.Budget: 1123, event.TooManyVisitors: 1123,
	event.CountryLimit: 1123, event.AppLimit: 1123, event.Unanswered: 1123,
	event.StoreDown: 950, event.NoAnswer: 950, event.Unreadable: 950, event.NoVerdict: 950, event.NoUser: 950,
	event.NoNumber: 1101, event.NoForm: 1130, event.Denied: 1143, event.WrongPassword: 966,
	event.ProofNeeded: 1143, event.Required: 1121, event.CodesExist: 1127, event.WrongRecovery: 1129, event.NumberKnown: 1106,
	event.UnknownText: 908, event.NotInvited: 1143, event.WrongInvite: 1129, event.EnrolmentShut: 1143,
}

// own are messages that say more than LoginRadius' do.
var own = map[event.Reason]string{
	event.Anonymous: "Sign in first", event.TooManyVisitors: "Too many requests", event.ClientLogins: "Too many wrong passwords from this network",
	event.ProofNeeded: "Prove the second factor again first", event.NotInvited: "An invitation is needed first", event.WrongInvite: "Invalid invitation",
	event.EnrolmentShut: "Nobody can add a first phone number at the moment",
}

// ErrorCode is LoginRadius' number for a reason: 971, an invalid request, for what it
// has no number for.
func ErrorCode(reason event.Reason) int {
	if code, ok := codes[reason]; ok {
		return code
	}
	return invalid
}

// Error is LoginRadius' error object.
type Error struct {
	Description           string
	ErrorCode             int
	Message               string
	IsProviderError       bool
	ProviderErrorResponse *string
	// Data says when a lock ends.
	Data   *Lock        `json:",omitempty"`
	Reason event.Reason `json:"reason,omitempty"`
}

// Lock is LoginRadius' word for the end of a lock, see [Time].
type Lock struct{ LoginLockedTimeout string }

// NewError is the error of a number, with its HTTP status.
func NewError(code int) (status int, e Error) {
	p, ok := problems[code]
	if !ok {
		code, p = invalid, problems[invalid]
	}
	return p.status, Error{Description: p.message, ErrorCode: code, Message: p.message}
}

// Say adds what the reason says more than the number does.
func (e *Error) Say(reason event.Reason) {
	if text := own[reason]; text != "" {
		e.Description, e.Message = text, text
	}
}

// WriteError writes a refusal for a program, in LoginRadius' shape with the
// reason beside it.
func WriteError(w http.ResponseWriter, status int, reason event.Reason) {
	WriteErrorUntil(w, status, reason, 0)
}

// WriteErrorUntil is WriteError where the refusal ends by itself after that time.
func WriteErrorUntil(w http.ResponseWriter, status int, reason event.Reason, left time.Duration) {
	_, e := NewError(ErrorCode(reason))
	e.Say(reason)
	e.Reason = reason
	if left > 0 {
		e.Data = &Lock{LoginLockedTimeout: Time(time.Now().Add(left))}
	}
	WriteJSON(w, status, e)
}
