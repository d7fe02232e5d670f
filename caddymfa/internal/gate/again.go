package gate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// Whose session it is, is asked again (architecture, rule 8): a verified session
// belongs to the user whom the application named, and somebody may have logged in
// as another one by a way that no rule has seen (attack K4).

const (
	// askEvery is how often a changed cookie alone leads to the question after
	// requests that change nothing: some applications change it at every answer.
	askEvery = 10 * time.Second
	// maxAsked is how much of an answer is held until the question is answered, in
	// bytes.
	maxAsked = 1 << 20
)

// doubt is why it may be another user's session by now.
type doubt struct {
	// changed: the answer gives a session cookie another value.
	changed bool
	// login: the request may have been a login: it changes something, and went to
	// a login's address in some spelling, or carried a field for a password.
	login bool
	// unsafe: the request may have changed something (RFC 9110 9.2.1).
	unsafe bool
}

// any reports whether the question has to be asked.
func (d doubt) any(asked time.Time) bool {
	return d.login || d.changed && (d.unsafe || time.Since(asked) >= askEvery)
}

// unsafe reports whether a method may change something. CONNECT does not: over
// HTTP/2 it opens a WebSocket, which the application gets as a GET (RFC 8441).
func unsafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodConnect:
		return false
	}
	return true
}

// mayBeLogin reports whether a verified user's request may be a login that no rule
// has seen.
func (v *visit) mayBeLogin(g *Gate) bool {
	return v.carries || unsafe(v.r.Method) && g.rules().Near(&v.target)
}

// maxPeek is how much of a body is looked at for a field of a password, in bytes.
const maxPeek = 256 << 10

// peek reports whether a verified user's request may carry a password, as a login
// does. The body goes on as it is; what is too long to look at may.
func (g *Gate) peek(v *visit) bool {
	switch {
	case !g.rules().Forms || v.r.Method == http.MethodConnect: // the body of that one is a stream that goes both ways
		return false
	case v.form != nil:
		return g.Rules.MayCarry(v.form)
	case v.r.ContentLength == 0 || v.r.Body == nil:
		if v.r.URL.RawQuery == "" {
			return false
		}
		f, err := intake.Read(&http.Request{Method: v.r.Method, URL: v.r.URL}, intake.Limits{})
		return err == nil && g.Rules.MayCarry(f) || err != nil && unsafe(v.r.Method)
	}
	if kind := strings.ToLower(v.r.Header.Get("Content-Type")); kind != "" && !strings.Contains(kind, "form") && !strings.Contains(kind, "json") {
		return false
	}
	if v.r.ContentLength > maxPeek {
		return true
	}
	head, err := io.ReadAll(io.LimitReader(v.r.Body, maxPeek+1))
	rest := v.r.Body
	v.r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), rest}
	if err != nil || len(head) > maxPeek {
		return true
	}
	h := v.r.Header
	if h.Get("Content-Type") == "" { // some take what has no type for a form
		h = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	}
	look := &http.Request{Method: v.r.Method, URL: v.r.URL, Header: h, Body: io.NopCloser(bytes.NewReader(head)), ContentLength: int64(len(head))}
	f, err := intake.Read(look, intake.Limits{})
	return err != nil || g.Rules.MayCarry(f)
}

// doubt looks at a verified session's request and at its answer's cookies.
func (h *head) doubt(status int, hd http.Header, sets []jar.Set) (d doubt) {
	v := h.v
	d.unsafe = unsafe(v.r.Method)
	for _, s := range sets {
		d.changed = d.changed || !s.Blank && h.mayBeSession(s) && !h.s.Jar.Holds(s.Cookie)
	}
	d.changed = d.changed || h.s.Doubt // a question that was put off
	if !d.changed && len(sets) > 0 {
		// A trap's cookie that the session had before, with another value, is near.
		near, err := v.site.Traps.Any(context.Background(), &match.Answer{Status: status, Header: hd, Sets: sets, Jar: &h.s.Jar})
		for _, s := range sets {
			d.changed = d.changed || (near || err != nil) && !s.Blank && !h.s.Jar.Holds(s.Cookie)
		}
	}
	d.login = h.settle != nil
	return d
}

// mayBeSession reports whether a cookie may be the application's session. Where
// nobody has said which are, all may that say anything of a user.
func (h *head) mayBeSession(s jar.Set) bool {
	if len(h.g.Session) == 0 {
		return !h.v.site.Cookies.Bare(s.Cookie)
	}
	return h.g.session(s.Cookie.Name)
}

// asker is the rule whose page of identity says whose session it is: the one of
// this name, by which the session was opened, or any that has one. Nil for none.
func (g *Gate) asker(name string) *login.Rule {
	var other *login.Rule
	for _, r := range g.Rules {
		switch {
		case r.Identity == nil:
		case r.Name == name:
			return r
		case other == nil:
			other = r
		}
	}
	return other
}

// still reports whether the session is its user's after this answer, whose head
// and body are hd and body. Another user, or nobody, ends it, and nothing of the
// answer leaves. Nobody is no harm where the application shows that it has merely
// forgotten its session: then people sign in again (attack J18).
func (h *head) still(d doubt, hd http.Header, body []byte, sets []jar.Set) bool {
	ctx, cancel := h.detached()
	defer cancel()
	if h.settle != nil {
		defer h.settle()
	}
	v := h.v
	after, _ := h.s.Jar.Apply(sets, time.Now())
	rule := h.g.asker(h.s.Rule)
	if rule == nil {
		return h.stillWithout(ctx, d, sets)
	}
	token := ""
	if v.site.Bearer.On() {
		plain, err := upstream.Plain(hd, body, maxAsked)
		if err != nil {
			return h.taken(ctx, err)
		}
		if given := v.site.Bearer.Given(hd, plain); len(given) > 0 {
			token = given[0]
		} else if v.bearer == released {
			token = v.site.Bearer.InHeader(v.r)
		}
		if token == "" && !d.changed {
			return true // the application knows this client by a token that it has not sent
		}
	}
	user, stranger, err := h.g.Flow.Whose(ctx, v.site, h.g.asking(v), rule, h.s.User, &after, token)
	switch {
	case err == nil && intake.FoldUser(user) == intake.FoldUser(h.s.User):
		h.confirmed = true
		return true
	case err == nil && user == "" && stranger && !d.unsafe:
		h.confirmed = true
		return true
	case err == nil && user == "" && stranger:
		// The application has signed its user out. The answer is nobody's.
		h.release()
		if err := h.g.Flow.End(ctx, v.site, h.s, event.AppLogout); err != nil {
			return h.drop(event.StoreDown, err)
		}
		h.g.Flow.Sessions.ClearHandle(hd, &v.site.Gate, v.call.Secure)
		h.over = true
		return true
	case err != nil && !d.unsafe:
		// Nobody can say just now. Nothing has changed that could not be asked about
		// later: this answer does not pass, and its cookies are not kept.
		return h.drop(event.NoVerdict, nil)
	}
	return h.taken(ctx, err)
}

// stillWithout is still where no page names the user: what the answer itself says
// of him counts, and a session that changes with a request that may be a login is
// over.
func (h *head) stillWithout(ctx context.Context, d doubt, sets []jar.Set) bool {
	for _, r := range h.g.Rules {
		if named, user := r.CookieUser(sets); named {
			if intake.FoldUser(user) == intake.FoldUser(h.s.User) {
				return true
			}
			return h.taken(ctx, nil)
		}
	}
	if d.changed && d.login {
		return h.taken(ctx, nil)
	}
	return true
}

// lost reports whether a login has taken the anonymous session meanwhile: what its
// cookies open may be a user's by now (attack A1).
func (h *head) lost() (event.Reason, error) {
	if h.s == nil || len(h.s.Jar.Cookies) == 0 {
		return "", nil
	}
	ctx, cancel := h.detached()
	defer cancel()
	cur, err := h.g.Flow.Sessions.Current(ctx, &h.v.site.Gate, h.s)
	switch {
	case errors.Is(err, session.ErrGone), err == nil && cur.Level != session.Anonymous:
		return event.UnknownHandle, nil
	case err != nil:
		return event.StoreDown, err
	}
	return "", nil
}

// mayLogIn is the rule by which the application is asked whether an answer at an
// open entry has logged somebody in; nil where there is no reason to ask.
func (h *head) mayLogIn(sets []jar.Set) *login.Rule {
	if h.tap == nil || !unsafe(h.v.r.Method) {
		return nil
	}
	changed := h.v.form != nil && h.g.Rules.MayCarry(h.v.form)
	for _, s := range sets {
		changed = changed || !s.Blank && h.g.session(s.Cookie.Name) && (h.s == nil || !h.s.Jar.Holds(s.Cookie))
	}
	if !changed {
		return nil
	}
	return h.g.asker("")
}

// nobody reports whether nobody is logged in after an answer at an open entry. A
// login there is one by a door that no rule knows.
func (h *head) nobody(rule *login.Rule, hd http.Header, sets []jar.Set) bool {
	ctx, cancel := h.detached()
	defer cancel()
	var before jar.Jar
	if h.s != nil {
		before = h.s.Jar
	}
	after, _ := before.Apply(sets, time.Now())
	user, _, err := h.g.Flow.Whose(ctx, h.v.site, h.g.asking(h.v), rule, "", &after, "")
	switch {
	case err != nil:
		return h.drop(event.NoVerdict, nil)
	case user != "":
		h.g.Flow.Trap(ctx, h.v.site, h.s, event.TrapHit, nil)
		h.g.Flow.Sessions.ClearHandle(hd, &h.v.site.Gate, h.v.call.Secure)
		return h.drop(event.TrapHit, nil)
	}
	return true
}

// his are the bearer tokens of a verified session's answer that are its user's: one
// that is another's, by a login that no rule has seen, ends the session, and one of
// which nobody can say whose it is opens nothing.
func (h *head) his(hd http.Header, body []byte) (tokens []string, ok bool) {
	ctx, cancel := h.detached()
	defer cancel()
	rule := h.g.asker(h.s.Rule)
	for _, token := range h.v.site.Bearer.Given(hd, body) {
		if s, err := h.g.Flow.Sessions.Noted(ctx, &h.v.site.Gate, session.Released, "", token, h.s); err == nil && s.ID == h.s.ID || h.confirmed {
			tokens = append(tokens, token)
			continue
		}
		var user string
		var err error
		if rule != nil {
			user, _, err = h.g.Flow.Whose(ctx, h.v.site, h.g.asking(h.v), rule, h.s.User, &h.s.Jar, token)
		} else {
			user = h.g.Rules.Named(&match.Answer{Header: hd, Body: body})
		}
		switch {
		case err != nil || user == "":
		case intake.FoldUser(user) == intake.FoldUser(h.s.User):
			tokens = append(tokens, token)
		default:
			return nil, h.taken(ctx, nil)
		}
	}
	return tokens, true
}

// taken ends the session: it is another user's, or nobody can say whose.
func (h *head) taken(ctx context.Context, err error) bool {
	h.release()
	h.g.Flow.Trap(ctx, h.v.site, h.s, event.AnotherUser, err)
	h.g.Flow.Sessions.ClearHandle(h.v.w.Header(), &h.v.site.Gate, h.v.call.Secure)
	return h.drop(event.AnotherUser, nil)
}
