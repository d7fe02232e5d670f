package page

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/lang"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

//go:embed templates/*.html
var templates embed.FS

//go:embed texts/*.json
var texts embed.FS

//go:embed assets/*
var assets embed.FS

// Pages are the parsed pages in all languages. It is safe for concurrent use.
type Pages struct {
	page   *template.Template
	texts  map[string]map[string]string
	langs  *lang.Matcher
	assets map[string]asset
}

// same are texts that say what another one says.
var same = map[string]string{
	"recovered.heading": "signedin.heading", "makecodes.heading": "settings.codes", "ask.heading": "frame.heading", "title.pending": "frame.heading", "again.heading": "frame.heading",
	"title.another_user": "title.trap", "message.another_user": "message.trap",
	"title.unidentified": "title.anonymous", "title.unknown_token": "title.unknown_handle", "message.unknown_token": "message.unknown_handle",
	"title.unreadable": "title.no_answer", "title.no_verdict": "title.no_answer", "title.no_user": "title.no_answer",
	"message.unreadable": "message.no_answer", "message.no_verdict": "message.no_answer", "message.no_user": "message.no_answer",
	"title.disabled": "title.locked", "title.locked_later": "title.locked", "problem.locked_later": "problem.locked",
	"problem.store_unavailable": "problem.gateway_unavailable", "problem.enrolment_shut": "message.enrolment_shut",
	"problem.number_limit": "problem.user_limit", "problem.client_limit": "problem.user_limit", "problem.prefix_limit": "problem.user_limit", "problem.budget": "problem.user_limit",
	"problem.country_limit": "problem.user_limit", "problem.app_limit": "problem.user_limit", "problem.country_unanswered": "problem.user_limit",
}

type asset struct {
	body []byte
	kind string
	etag string
}

// New parses what is embedded.
func New() (*Pages, error) {
	p := &Pages{texts: map[string]map[string]string{}, langs: lang.NewMatcher(lang.BuiltIn), assets: map[string]asset{}}
	for _, l := range lang.BuiltIn {
		b, err := texts.ReadFile("texts/" + l + ".json")
		if err != nil {
			return nil, fmt.Errorf("pages: %w", err)
		}
		m := map[string]string{}
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("pages: %s: %w", l, err)
		}
		for key, as := range same {
			m[key] = m[as]
		}
		p.texts[l] = m
	}
	var err error
	if p.page, err = template.ParseFS(templates, "templates/*.html"); err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	return p, p.loadAssets()
}

func (p *Pages) loadAssets() error {
	files, err := assets.ReadDir("assets")
	if err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
	for _, f := range files {
		b, err := assets.ReadFile("assets/" + f.Name())
		if err != nil {
			return fmt.Errorf("pages: %w", err)
		}
		sum := sha256.Sum256(b)
		p.assets[f.Name()] = asset{b, kinds[path.Ext(f.Name())], `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return nil
}

// Asset serves a file of the pages.
func (p *Pages) Asset(w http.ResponseWriter, r *http.Request, name string) {
	a, ok := p.assets[name]
	if !ok {
		http.Error(w, "404 page not found", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("ETag", a.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
}

// content is what the templates see.
type content struct {
	View
	Lang, Title, Heading, Body, Problem, Notice string
	// Field says that Problem is about what was typed, not about the sending.
	Field bool
	text  map[string]string
}

// T is a text; pairs of name and value are put in for {name}.
func (c content) T(key string, pairs ...any) string {
	s := c.text[key]
	for i := 0; i+1 < len(pairs); i += 2 {
		s = strings.ReplaceAll(s, "{"+fmt.Sprint(pairs[i])+"}", fmt.Sprint(pairs[i+1]))
	}
	return s
}

// Around is a text in pieces: what stands before {name}, the value, and what
// stands after it. The template marks the value up, wherever the language has it.
func (c content) Around(key, name, value string) any {
	before, after, _ := strings.Cut(c.text[key], "{"+name+"}")
	return struct{ Before, Value, After string }{before, value, after}
}

// Join is one sentence after another.
func (c content) Join(a, b string) string {
	if strings.HasSuffix(a, "。") { // which brings its own space
		return a + b
	}
	return a + " " + b
}

// count is a number with its unit, e.g. "1 minute", in the form that the language
// has for the number.
func (c content) count(unit string, n int) string {
	return c.T(unit+"."+lang.Plural(c.Lang, n), "n", n)
}

// Dir is the direction of the language.
func (c content) Dir() string { return c.T("dir") }

// Page is the page's template.
func (c content) Page() string { return names[c.Kind] }

// FieldID is the id of the field that Problem may be about.
func (c content) FieldID() string {
	return map[Kind]string{Code: "otp", Number: "phone", Recovery: "backupcode", Invitation: "invite"}[c.Kind]
}

// Life is how long a code works, Pause the wait before another text, Trusted how
// long a browser is trusted.
func (c content) Life() string  { return c.count("minute", c.Minutes) }
func (c content) Pause() string { return c.count("second", max(1, c.Seconds())) }
func (c content) Trusted() string {
	if c.Trust < 24*time.Hour {
		return c.count("hour", max(1, int(c.Trust.Hours())))
	}
	return c.count("day", int(c.Trust.Hours()/24))
}

// Lock is how long a lock lasts, rounded up.
func (c content) Lock() string {
	if c.Until <= 90*time.Minute {
		return c.count("minute", max(1, int(math.Ceil(c.Until.Minutes()))))
	}
	return c.count("hour", int(math.Ceil(c.Until.Hours())))
}

// Ago says how long ago something was. A server knows no visitor's time zone.
func (c content) Ago(t time.Time) string {
	switch d := time.Since(t); {
	case d < time.Minute:
		return c.T("ago.now")
	case d < time.Hour:
		return c.count("ago.minute", int(d.Minutes()))
	case d < 24*time.Hour:
		return c.count("ago.hour", int(d.Hours()))
	default:
		return c.count("ago.day", int(d.Hours()/24))
	}
}

// Stamp is a time for programs that read the page.
func (c content) Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Device is a browser's name, Left how many recovery codes there are.
func (c content) Device(s Seen) string {
	if s.Browser == "" {
		return c.T("settings.unknown")
	}
	return s.Browser
}

func (c content) CodesLeft() string {
	if c.Settings.Left < 0 {
		return c.T("settings.codes.none")
	}
	return c.count("settings.codes", c.Settings.Left)
}

// Seconds is the wait before another text, rounded up.
func (c content) Seconds() int { return int(math.Ceil(c.Wait.Seconds())) }

// Countries lists the regions by their names.
func (c content) Countries() string {
	names := display.Regions(language.MustParse(c.Lang))
	var out []string
	for _, code := range c.Regions {
		name := code // what is no country is told as it was configured
		if region, err := language.ParseRegion(code); err == nil && names.Name(region) != "" {
			name = names.Name(region)
		}
		out = append(out, name)
	}
	return strings.Join(out, c.T("comma"))
}

// Another is the way on from a message that does not ask for a new sign-in:
// open our page again, or try again where signing in begins.
func (c content) Another() string { return another[c.Reason] }

// typos are the reasons that are about what was typed: the field is marked.
var typos = map[event.Reason]bool{
	event.WrongCode: true, event.MalformedCode: true, event.ExpiredCode: true,
	event.BadNumber: true, event.BadCountry: true, event.BadNumberType: true, event.NumberRefused: true,
	event.NumberDead: true, event.NoMobile: true, event.OptedOut: true,
	event.WrongRecovery: true, event.WrongInvite: true, event.NumberKnown: true,
}

const (
	openPage   = "page"
	beginAgain = "login"
)

var another = map[event.Reason]string{
	event.BadToken:        openPage,
	event.InProgress:      openPage,
	event.AlreadyUsed:     openPage,
	event.StoreDown:       beginAgain,
	event.TooManyVisitors: beginAgain,
	event.ClientLogins:    beginAgain,
	event.LoginLoop:       beginAgain,
	event.NoAnswer:        beginAgain,
	event.Unreadable:      beginAgain,
	event.NoVerdict:       beginAgain,
	event.NoUser:          beginAgain,
}

// language is the one that a request's sender reads.
func (p *Pages) language(r *http.Request) string {
	return p.langs.Match(r.Header.Get("Accept-Language"))
}

// Say puts what a provider has said of a text into words.
func (p *Pages) Say(r *http.Request, d *Delivery) {
	text := p.texts[p.language(r)]
	switch d.State {
	case sms.Delivered:
		d.Message = text["code.delivered"]
	case sms.Failed:
		d.Message = cmp.Or(text[problemKey(d.Reason)], text["problem.undelivered"])
	case sms.Sent: // the page has said so
	}
}

// problemKey is the text of a reason. Nobody is told that he looks like a fraud.
func problemKey(reason event.Reason) string {
	if reason == event.Suspected {
		reason = event.Blocked
	}
	return "problem." + string(reason)
}

func (p *Pages) content(r *http.Request, v View) content {
	l := p.language(r)
	c := content{View: v, Lang: l, text: p.texts[l]}
	say := func(prefix string, reason event.Reason) string {
		key := prefix + string(reason)
		if prefix == "problem." {
			key = problemKey(reason)
		}
		if reason == event.LockedOut && v.Until == 0 {
			key += "_later" // it ends by itself, but nobody said when
		}
		if _, ok := c.text[key]; !ok {
			key = prefix + "other"
		}
		return c.T(key, "time", c.Lock(), "digits", v.Digits, "pause", c.Pause(), "countries", c.Countries())
	}
	switch v.Kind {
	case Message:
		c.Heading, c.Body = say("title.", v.Reason), say("message.", v.Reason)
	case Code, Number, Invitation, Recovery, Confirm, Ask:
		c.Heading = c.T(c.Page() + ".heading")
		if own := "settings." + c.Page() + ".heading"; v.Step != "" && c.text[own] != "" {
			c.Heading = c.T(own)
		}
		if v.Reason != "" {
			c.Problem, c.Field = say("problem.", v.Reason), typos[v.Reason] && c.FieldID() != ""
			switch {
			case (v.Kind == Recovery || v.Kind == Invitation) && v.Reason == event.MalformedCode:
				c.Problem = c.T("problem.malformed_recovery")
			case v.Step != "" && v.Reason == event.NoMoreSends:
				c.Problem = c.T("resend.later") // there is no sign-in to begin again
			}
			// A code of the phone can be read again; a recovery code is soon used up.
			if v.Left > 0 && (v.Left <= 2 || v.Kind != Code) {
				c.Problem = c.Join(c.Problem, c.count("left", v.Left))
			}
		} else if v.Unsent != "" && !v.Sent {
			// Nobody did anything wrong here: a notice, not an error.
			c.Notice = say("problem.", v.Unsent)
		}
	default:
		c.Heading = c.T(c.Page() + ".heading")
	}
	c.Title = c.Heading
	if c.Problem != "" {
		c.Title = c.T("error") + " " + c.Title
	}
	if v.App != "" {
		c.Title += " – " + v.App
	}
	return c
}

// Write writes a page. It never says why it cannot.
func (p *Pages) Write(w http.ResponseWriter, r *http.Request, status int, v View) {
	var b bytes.Buffer
	c := p.content(r, v)
	if err := p.page.ExecuteTemplate(&b, "page", c); err != nil {
		secure(w.Header())
		http.Error(w, "The page cannot be shown.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	secure(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", c.Lang)
	ancestors := "; frame-ancestors 'none'"
	switch v.Kind {
	case Frame: // has no form, and is there for frames of any site
		ancestors = ""
		h.Del("X-Frame-Options")
	case Again: // sign-ins are renewed in hidden frames, and in windows that tell their opener
		ancestors = "; frame-ancestors 'self'"
	default:
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	// No form-action: Chromium holds it against the redirect after the code as
	// well, and the application may send its user to a host that the operator
	// allowed. The forms' targets are fixed, and there is no markup to inject.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'"+ancestors)
	h.Set("Permissions-Policy", "otp-credentials=(self)")
	h.Add("Vary", "Accept-Language, Sec-Fetch-Mode, Sec-Fetch-Dest, Accept")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes())
	}
}

// secure are the headers of everything that we say. same-origin, because
// no-referrer would turn the Origin of our forms into null. no-transform keeps
// pages that hold a token from being compressed beside attacker's text (BREACH).
func secure(h http.Header) {
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}
