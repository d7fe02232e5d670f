// Package flow is the way of a login: begin, judge, issue, verify, release,
// end. Each transition is one function. The doors (gate, portal) call them and
// write what they return.
package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/account"
	"github.com/caddymfa/caddymfa/caddymfa/internal/birth"
	"github.com/caddymfa/caddymfa/caddymfa/internal/challenge"
	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/lang"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// Flow is what all gates share. It is safe for concurrent use.
type Flow struct {
	Sessions *session.Table
	Store    store.Store
	// Birth knows whether the store is the one that it was; nil: nobody asks.
	Birth     *birth.Watch
	Accounts  *account.Book
	Limits    *limit.Counter
	Directory Directory // nil when none is configured
	SMS       sms.Sender
	// Receipts are the senders of SMS, where any of them is a [sms.Reporter]; else nil,
	// and nothing of numbers and texts is asked for or kept.
	Receipts *sms.Chain
	Texts    *sms.Templates
	// Named are further texts, chosen by name.
	Named  map[string]*sms.Templates
	Phones phone.Policy
	Codes  challenge.Rules
	Events event.Sink

	attempts, tokens, refs, basics *keyring.Key
	outcomes                       *keyring.Key
	confirming                     chan struct{} // as many as providers are being told something
	overdue                        *overdue
	strangers                      views
	told                           sync.Map // when an operator was told of a rule
}

// Directory finds a user's number. The name is compared folded.
type Directory interface {
	// Number returns the E.164 number of a user, or "" when it knows none.
	Number(ctx context.Context, user string) (string, error)
}

// Open derives the flow's own keys. Close ends what it does besides.
func (f *Flow) Open(ring *keyring.Ring) {
	f.attempts, f.tokens, f.refs, f.basics = ring.Key("request"), ring.Key("token"), ring.Key("ref"), ring.Key("basic")
	f.outcomes = ring.Key("outcome")
	f.confirming = make(chan struct{}, maxConfirming)
	f.overdue = newOverdue(f.sendAgain)
	f.Sessions.OnUnwritten(func(ctx context.Context, g *session.Gate, err error) {
		app, _, _ := strings.Cut(g.ID, "\x00")
		f.Events(ctx, event.Event{
			Name: event.StoreFailed, Reason: event.Unwritten, App: app, Err: err,
			Detail: "the last use of sessions cannot be written: who is signed in stays so until the end that was written last, and nobody signs in",
		})
	})
	f.Limits.Alarm = func(ctx context.Context, a limit.Alarm) {
		f.Events(ctx, event.Event{Name: event.LimitAlarm, Reason: a.Reason, Detail: strings.TrimSpace(fmt.Sprintf("%d %% %s", a.Percent, a.Of))})
	}
}

// Policy says who owes a second factor.
type Policy string

// The policies.
const (
	Required Policy = "required" // everybody
	Optional Policy = "optional" // who has a number
	Off      Policy = "off"      // nobody: the gate still keeps the cookies
)

// Enroll says where numbers come from.
type Enroll string

// The ways to enrol.
const (
	Self          Enroll = "self"      // the user names the number at the first login
	FromDirectory Enroll = "directory" // only the directory's numbers
	Invite        Enroll = "invite"    // who has a code from an operator names the number
)

// Gate is the configuration of one gate, as far as the flow needs it, for one
// host.
type Gate struct {
	session.Gate
	// App names the application on pages and in texts; Users scopes accounts: users
	// of one name and one scope are one person.
	App, Users string
	// Host is the name by which the client asks for the site, without port.
	Host string
	// Origin is the same name where the configuration knows it, else "": the one
	// that texts are bound to. A text never names what a client made up.
	Origin string
	// Home are paths that the application leads to when nobody asked for another page.
	Home    []string
	Policy  Policy
	Enroll  Enroll
	Cookies *jar.Policy
	// Credentials are request headers that stand for a login.
	Credentials []string
	// Bearer says where the application's bearer tokens are.
	Bearer match.Bearer
	// Traps show a login by a door that no rule knows.
	Traps match.Lines
	// AllowRedirect are foreign hosts that a withheld redirect may name.
	AllowRedirect []string
	// MaxReply bounds a withheld answer in bytes.
	MaxReply int64
	// TrustedDevice is how long a browser may need no code, 0 for never.
	TrustedDevice time.Duration
}

// Call is one request as the flow sees it.
type Call struct {
	R *http.Request
	// URL is the address as the browser sees it.
	URL *url.URL
	// ClientIP is the client's address behind trusted proxies.
	ClientIP string
	// Secure: the browser sees TLS.
	Secure bool
	// Navigation: the answer will be a page, not the result of a script's call.
	Navigation bool
	// Origin is the listed foreign origin whose page has sent the request, "" for none.
	Origin string
	// Closed: the address of a login is not open before a login, so that the
	// application's answer to a wrong password does not leave there.
	Closed bool
	// Session and State are what the request's handle is worth.
	Session *session.Session
	State   session.State
	// Next is the application.
	Next *upstream.Own
	// Basic is the credential of a request that is a login by HTTP Basic.
	Basic *login.Credential
	// Template names the text of the codes that this request asks for, "" for the
	// default. The caller has asked HasTemplate.
	Template string
	// Aim is what a recovery code in a verified session is to prove the second factor for.
	Aim Aim
	// Twice: the code comes by a form, which a browser may send twice.
	Twice bool
	// Trust: the person wants this browser to need no code for a while.
	Trust bool
}

// who is the user of a login: whom the application names, and where only those
// whom a directory or an operator knows have a number, else whom the request names.
func (g *Gate) who(said, asked string) string {
	if said == "" && g.Enroll != Self {
		return asked
	}
	return said
}

// HasTemplate reports whether there is a text of this name; "" is the default.
func (f *Flow) HasTemplate(name string) bool { return name == "" || f.Named[name] != nil }

// texts are the wordings of a name. One that has left the configuration
// meanwhile is the default.
func (f *Flow) texts(name string) *sms.Templates {
	if t := f.Named[name]; t != nil {
		return t
	}
	return f.Texts
}

// TextWarnings says what will be costly or odd about the texts for an application at
// a host, which may be unknown.
func (f *Flow) TextWarnings(app, host string) []string {
	out := f.Texts.Warnings("default", app, host)
	for _, name := range slices.Sorted(maps.Keys(f.Named)) {
		for _, w := range f.Named[name].Warnings(name, app, host) {
			if !slices.Contains(out, w) { // what is said of the application is said once
				out = append(out, w)
			}
		}
	}
	return out
}

// language is what the caller reads, as it is kept: a value of Accept-Language, "" for
// no word.
func (c *Call) language() string { return lang.Keep(c.R.Header.Get("Accept-Language")) }

// network is where the client comes from, see limit.Network.
func (c *Call) network() string { return limit.Network(c.ClientIP) }

// emit completes an event and hands it on.
func (f *Flow) emit(ctx context.Context, g *Gate, s *session.Session, e event.Event) {
	e.App = g.App
	if s != nil {
		e.Session = f.refs.Ref("session", string(s.ID[:]))
		if e.User == "" {
			e.User = s.User
		}
	}
	f.Events(ctx, e)
}

// Token is the SecondFactorAuthenticationToken of a session, in the form of a
// UUID because typed clients insist on it. It is derived from the session's id,
// which only the browser's handle holds: 122 bits that are not stored.
func (f *Flow) Token(g *Gate, s *session.Session) string {
	m := f.tokens.MAC("second factor", g.ID, string(s.ID[:]))
	m[6], m[8] = m[6]&0x0f|0x80, m[8]&0x3f|0x80 // RFC 9562 5.8: version 8, the variant of the RFC
	return fmt.Sprintf("%x-%x-%x-%x-%x", m[:4], m[4:6], m[6:8], m[8:10], m[10:16])
}

// Challenge reads the challenge of a session: the code that a pending one owes,
// or the one by which a verified one proves a number. It is session.ErrGone
// where there is none.
func (f *Flow) Challenge(s *session.Session) (challenge.State, error) {
	if s.Level != session.Pending && s.Level != session.Verified {
		return challenge.State{}, session.ErrGone
	}
	return challengeOf(s.Record)
}

func challengeOf(r session.Record) (c challenge.State, err error) {
	if len(r.Challenge) == 0 {
		return c, session.ErrGone
	}
	if err := json.Unmarshal(r.Challenge, &c); err != nil {
		return c, fmt.Errorf("challenge: %w", err)
	}
	return c, nil
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types
	}
	return b
}

// detached runs a transition to its end although the client has hung up: what
// was counted or taken must be written all the same.
func detached(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

// Trap ends the session in which the application has logged somebody in by a
// door that no rule knows. why is TrapHit, or AnotherUser where the application was
// asked; err says why nobody can tell, nil where it was told. s may be nil. A store
// that cannot answer changes nothing: what the application gave stays here.
func (f *Flow) Trap(ctx context.Context, g *Gate, s *session.Session, why event.Reason, err error) {
	ctx, cancel := detached(ctx, verifyTime)
	defer cancel()
	f.emit(ctx, g, s, event.Event{Name: event.Trap, Reason: why, Err: err})
	if s == nil {
		return
	}
	if err := f.Sessions.End(ctx, s); err != nil {
		f.emit(ctx, g, s, event.Event{Name: event.StoreFailed, Reason: event.StoreDown, Err: err})
	}
}

// Whose asks the application whose session it is, with the cookies in after and a
// bearer token, "" for none. user is the known person; "" is nobody, and stranger
// says that the application has shown that.
func (f *Flow) Whose(ctx context.Context, g *Gate, c *Call, rule *login.Rule, owner string, after *jar.Jar, token string) (user string, stranger bool, err error) {
	ask := f.ask(g, c, owner, after, nil, nil)
	if token != "" {
		ask.As = func(ctx context.Context, target string) (*upstream.Reply, error) {
			return c.Next.Get(ctx, c.R, target, g.Cookies.Up(nil, after, pathOf(target), false, time.Now()), g.Bearer.Field(token))
		}
	}
	if user, stranger, err = rule.WhoIs(ctx, ask); err != nil || user == "" {
		return "", stranger, err
	}
	user, err = f.person(ctx, g, user, nil)
	return user, false, err
}
