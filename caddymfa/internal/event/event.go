// Package event names what the gate decides. The rooms return or emit these;
// only the outermost room writes them to a log, a metric or Caddy's events.
package event

import "context"

// Name is what happened. The names follow the OWASP logging vocabulary in
// spirit and are the label values of the metrics: a closed set.
type Name string

// The events.
const (
	LoginRecognised Name = "login_recognised" // a right password, as far as the application says
	LoginFailed     Name = "login_failed"     // the application refused the password
	LoginRefused    Name = "login_refused"    // not forwarded, or no verdict: Reason says why
	RuleUnsure      Name = "rule_unsure"      // a login rule does not fit its application: Err says what is missing
	CookiesDropped  Name = "cookies_dropped"  // the application sets more cookies than are kept: Detail names the oldest
	SpellingsMet    Name = "spellings_met"    // a known user under another spelling: Detail says which
	Challenge       Name = "challenge"        // a second factor is owed
	Send            Name = "send"             // a text: Reason sent, or why not
	Feedback        Name = "send_feedback"    // the provider could not be told that its text was answered
	Receipt         Name = "receipt"          // a provider's word on a text: Reason says what became of it, or why it was not believed
	FailedOver      Name = "failed_over"      // a sender did not accept a text and another one did: Reason says whether it may arrive twice
	SentAgain       Name = "sent_again"       // a text that did not arrive, by the next provider: Reason sent, or why not
	LimitAlarm      Name = "limit_alarm"      // a limit that many share is nearly reached, or is: Detail says whose
	Verify          Name = "verify"           // a code was given: Reason ok, or why not
	Enrolled        Name = "enrolled"         // a number was proven for the first time
	Invited         Name = "invited"          // an invitation was accepted
	Locked          Name = "locked"           // too many wrong codes in a row
	NumberChanged   Name = "number_changed"   // by the user: Reason ok, or removed
	CodesMade       Name = "recovery_codes"   // new ones were made
	Recovered       Name = "recovery"         // a recovery or a help desk's code was given: Reason ok, or why not
	Trusted         Name = "trusted_device"   // a browser needs no code for a while, or does no longer
	Operated        Name = "operator"         // an operator's act: Detail says which, By who
	Released        Name = "released"         // the withheld answer was given out
	SessionEnded    Name = "session_ended"    // logout, cancel, trap
	Refused         Name = "refused"          // a request that did not pass: Reason says why
	Trap            Name = "trap"             // an answer showed a login by an unknown door
	StoreFailed     Name = "store_failed"     // the store could not answer; everything is refused, but for what Reason says
	StoreLost       Name = "store_lost"       // the store has lost what it held, or was put back to an older state: nobody enrols until an operator confirms
	DirectoryStale  Name = "directory_stale"  // a file of numbers cannot be used as it is now: Err says why; with OK it can again
	Observed        Name = "observed"         // mode observe: Reason is the row that the request would have met
	APICall         Name = "api_call"         // a call of the API: Detail says which
)

// Reason says why. Reasons are a closed set as well; they go to logs, metrics
// and the access log, and pages are chosen by them.
type Reason string

// The reasons.
const (
	OK Reason = "ok"

	// Requests.
	Anonymous       Reason = "anonymous"           // no session; to the login page
	Pending         Reason = "pending"             // the code is owed
	Denied          Reason = "denied"              // shut for everybody
	Ambiguous       Reason = "ambiguous"           // could be read in two ways
	UnknownHandle   Reason = "unknown_handle"      // a session that has ended
	NotSent         Reason = "not_sent"            // a form was posted without a session
	BodyTooLarge    Reason = "body_too_large"      // longer than what may be read of it
	NoRoom          Reason = "no_room"             // for a long body, beside those of others
	CrossSite       Reason = "cross_site"          // posted from a foreign page
	LoginByGet      Reason = "login_by_get"        // a password in the address
	Upgrade         Reason = "upgrade"             // a protocol switch before verification
	StoreDown       Reason = "store_unavailable"   // closed on error
	Unwritten       Reason = "store_read_only"     // the store can be read and not written: pages go on
	LoginLoop       Reason = "login_page_loop"     // the login page leads to a gated page
	TooManyVisitors Reason = "too_many_visitors"   // the bound on anonymous sessions
	TooManyPending  Reason = "too_many_pending"    // a user's older sign-ins made room for newer ones
	InProgress      Reason = "attempt_in_progress" // the session is taken by a login
	TrapHit         Reason = "trap"                // see Trap
	AnotherUser     Reason = "another_user"        // a verified session is another user's by now, or nobody's
	UnknownToken    Reason = "unknown_token"       // a bearer token that was not released to this session
	Unidentified    Reason = "unidentified"        // Caddy has identified nobody
	Framed          Reason = "framed"              // the code page inside a frame

	// Observing: what a request of a stranger would have been.
	OwnRoute    Reason = "own_route" // ours: the application could not use this address
	IsLogin     Reason = "login"
	IsLoginFlow Reason = "login_flow"
	IsPublic    Reason = "public"
	Gated       Reason = "gated"

	// Judging a login.
	NoAnswer      Reason = "no_answer"     // the application died or did not answer
	Unreadable    Reason = "unreadable"    // too large, an unknown encoding, an upgrade
	NoVerdict     Reason = "no_verdict"    // the probe failed or contradicts the answer
	NoUser        Reason = "no_user"       // nobody says who it is
	NoNumber      Reason = "no_number"     // no number on file and none may be given
	NoForm        Reason = "no_form"       // the API found no login form that it could fill in
	ClientLogins  Reason = "client_logins" // too many wrong passwords from one network
	UserLogins    Reason = "user_logins"   // too many of them for one user
	WrongPassword Reason = "wrong_password"

	// Sending.
	Sent          Reason = "sent"
	UserLimit     Reason = "user_limit"
	NumberLimit   Reason = "number_limit"
	ClientLimit   Reason = "client_limit"
	PrefixLimit   Reason = "prefix_limit"
	Budget        Reason = "budget"
	CountryLimit  Reason = "country_limit"
	AppLimit      Reason = "app_limit"
	TwoCopies     Reason = "two_copies"         // the first one may have sent it all the same
	Unanswered    Reason = "country_unanswered" // texts to this country are answered by nobody
	TooSoon       Reason = "too_soon"           // the wait before a resend is not over
	NoMoreSends   Reason = "no_more_sends"      // of this challenge
	GatewayDown   Reason = "gateway_unavailable"
	NumberRefused Reason = "number_refused"    // by the provider
	NumberDead    Reason = "number_dead"       // by a provider: unknown, or no longer in use
	NoMobile      Reason = "number_landline"   // by a provider
	OptedOut      Reason = "opted_out"         // by a provider: until the person texts START
	Blocked       Reason = "blocked"           // by the carrier, the phone or a filter
	Suspected     Reason = "suspected_fraud"   // by the provider's protection against pumping
	PhoneOff      Reason = "phone_unreachable" // or without reception
	Undelivered   Reason = "undelivered"       // for another reason
	Delivered     Reason = "delivered"
	Forged        Reason = "forged"    // a report that no provider has signed
	TooLarge      Reason = "too_large" // a report
	TooLate       Reason = "too_late"  // a report of a text that nobody waits for any more
	Known         Reason = "known"     // a report that says nothing new
	BadNumber     Reason = "bad_number"
	BadCountry    Reason = "country_not_allowed"
	BadNumberType Reason = "number_type_not_allowed"

	// Verifying.
	WrongCode     Reason = "wrong_code"
	MalformedCode Reason = "malformed_code"
	ExpiredCode   Reason = "expired_code"
	UsedUp        Reason = "tries_used_up"
	AlreadyUsed   Reason = "already_used"
	LockedOut     Reason = "locked"
	Disabled      Reason = "disabled"
	Repeated      Reason = "repeated"  // the same form, sent once more: it has the outcome of the first
	BadToken      Reason = "bad_token" // the form is of another session

	// What a user may do for himself.
	ProofNeeded   Reason = "proof_needed"    // the second factor must be given once more
	Required      Reason = "factor_required" // the last factor cannot be taken away
	CodesExist    Reason = "codes_exist"     // recovery codes were made before
	NumberKnown   Reason = "number_known"    // it is the user's already
	WrongRecovery Reason = "wrong_recovery"  // no such recovery code, or used
	Removed       Reason = "removed"
	NotInvited    Reason = "not_invited"      // the user has no number, and no invitation to give one
	WrongInvite   Reason = "wrong_invitation" // no such code, or used
	ByDirectory   Reason = "by_directory"     // the directory names another number
	CopiedDevice  Reason = "copied_device"    // a trusted browser's cookie was used a second time
	TrustedDevice Reason = "trusted_browser"  // let in without a code
	UnknownText   Reason = "unknown_template" // no template of that name

	// What was found of the store; and what a person is told who cannot enrol then.
	StoreForgotten Reason = "store_forgotten" // another store, or one without content
	StoreRestored  Reason = "store_restored"  // an older copy
	StoreSealed    Reason = "store_sealed"    // its birth record is sealed with a secret that is not configured
	EnrolmentShut  Reason = "enrolment_shut"

	// Of a file of numbers that cannot be used as it is now.
	LastGood Reason = "last_good_version"

	// Endings.
	Logout       Reason = "logout"
	AppLogout    Reason = "application_logout"
	Cancelled    Reason = "cancelled"
	ChangedHands Reason = "changed_hands"    // Caddy has identified somebody else in this browser
	SameUser     Reason = "same_user"        // signed in again, no new code
	NoFactor     Reason = "no_second_factor" // let in by policy
)

// Client says who sent a request, as far as an observer can know.
type Client string

// The clients.
const (
	Stranger    Client = "stranger"     // no session of the application
	WithSession Client = "with_session" // one that nobody was seen to sign in with
	SignedIn    Client = "signed_in"
)

// Verdict is what an observer makes of the answer to a login.
type Verdict string

// The verdicts.
const (
	Accepted Verdict = "accepted"
	Rejected Verdict = "rejected"
	Unasked  Verdict = "unasked" // only a question to the application could tell
)

// Seen is what an observer has seen of a request and its answer. It holds no
// value of a parameter, a field or a cookie.
type Seen struct {
	Client     Client
	Status     int
	Navigation bool
	// Params are the names of the query's parameters.
	Params []string
	// Credentials: the request carried Authorization. NewSession: the answer
	// gave a session's cookie.
	Credentials, NewSession bool
	Verdict                 Verdict // of a login
}

// Event is one decision. It never holds a code, number, token, cookie or password.
type Event struct {
	Name   Name
	Reason Reason
	// App names the gate; Rule the login rule; User the application's name of
	// the user; Session a keyed hash that tells sessions apart.
	App, Rule, User, Session string
	// By names the operator of an Operated, or of a help desk's code.
	By string
	// Detail is for the operator, e.g. the masked number or the provider.
	Detail string
	Err    error
	// Seen is set in Observed only.
	Seen *Seen
}

// Sink takes events. The request's context carries what a log line needs.
type Sink func(ctx context.Context, e Event)
