package loginradius

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// email is an address in a profile.
type email struct{ Type, Value string }

// profile is what LoginRadius' widget and typed clients need of a user. Of
// passwords and numbers it says nothing.
type profile struct {
	Uid, UserName                            string //nolint:revive,staticcheck // LoginRadius' spelling
	Email                                    []email
	EmailVerified                            bool    // the widget takes no login without it
	PhoneId                                  *string //nolint:revive,staticcheck // LoginRadius' spelling
	PhoneIdVerified                          bool    //nolint:revive,staticcheck // LoginRadius' spelling
	FirstName, LastName                      *string
	FullName                                 string
	IsActive, IsDeleted, IsLoginLocked       bool
	LoginLockedType                          string
	NoOfLogins                               int
	Provider, RegistrationProvider           string
	CreatedDate, ModifiedDate, LastLoginDate string
	CustomFields                             struct{}
	Identities                               []struct{}
}

func (a *API) profile(v *visit, s *session.Session) profile {
	p := profile{
		Uid: a.Flow.UID(v.g.Users, s.User), UserName: s.User, Email: []email{}, EmailVerified: true, FullName: s.User, IsActive: true,
		LoginLockedType: "None", NoOfLogins: 1, Provider: "Email", RegistrationProvider: "Email",
		CreatedDate: page.Time(time.Time{}), ModifiedDate: page.Time(time.Time{}), LastLoginDate: page.Time(s.VerifiedAt),
	}
	if local, domain, ok := strings.Cut(s.User, "@"); ok && local != "" && strings.Contains(domain, ".") && !strings.ContainsAny(s.User, " <>\"") {
		p.Email = append(p.Email, email{"Primary", s.User})
	}
	return p
}

// tokens makes new tokens for a verified session.
func (a *API) tokens(v *visit, s *session.Session) (page.Tokens, *problem) {
	t := page.Tokens{Access: newUUID(), Refresh: newUUID(), ExpiresIn: page.Time(s.ExpiresAt)}
	for _, n := range []struct {
		kind          session.Kind
		client, token string
	}{
		{session.Access, "", t.Access}, // for the application's pages, which know no clients
		{session.Access, v.client.Key, t.Access},
		{session.Refresh, v.client.Key, t.Refresh},
	} {
		if err := a.Flow.Sessions.Note(v.c.R.Context(), &v.g.Gate, s, n.kind, n.client, n.token, time.Until(s.ExpiresAt)); err != nil {
			return page.Tokens{}, broken(err)
		}
	}
	return t, nil
}

// loggedIn is the answer to a login that is complete. A page of this very site
// gets the session's handle besides, so that it can go on to the application.
func (a *API) loggedIn(v *visit, s *session.Session) (any, *problem) {
	t, p := a.tokens(v, s)
	if p != nil {
		return nil, p
	}
	v.c.Session = s
	if err := a.Flow.Remember(v.c.R.Context(), v.g.Users, s.User); err != nil { // the profile tells the UID
		return nil, broken(err)
	}
	if v.c.R.Header.Get("Sec-Fetch-Site") == "same-origin" {
		if p := a.replace(v); p != nil {
			return nil, p
		}
		a.Flow.Sessions.SetHandle(v.w.Header(), &v.g.Gate, s, v.c.Secure)
	}
	return page.Login{Profile: a.profile(v, s), Tokens: t}, nil
}

// replace ends the session of the browser's old handle.
func (a *API) replace(v *visit) *problem {
	ctx := v.c.R.Context()
	old, state, err := a.Flow.Sessions.Load(ctx, &v.g.Gate, v.c.R, v.c.Secure)
	if err == nil && state == session.Live {
		err = a.Flow.Sessions.End(ctx, old)
	}
	if err != nil {
		return broken(err)
	}
	return nil
}

// challenge is the answer to a login that owes the code. text is the provider's id
// of a text that was sent now.
func (a *API) challenge(v *visit, s *session.Session, text string) (any, *problem) {
	st, err := a.Flow.Challenge(s)
	if err != nil {
		return nil, broken(err)
	}
	token := a.Flow.Token(v.g, s)
	if err := a.Flow.Sessions.Note(v.c.R.Context(), &v.g.Gate, s, session.Second, v.client.Key, token, time.Until(s.ExpiresAt)); err != nil {
		return nil, broken(err)
	}
	return page.Challenge{
		Token: token, Expires: s.ExpiresAt, Number: st.Number, Verified: !st.Enrol, Sent: st.Sends > 0 && st.Failed == "", ID: cmp.Or(text, st.ID),
	}.Login(), nil
}

// sent is the answer to a wish for a text.
func (a *API) sent(v *visit, s *session.Session, sending flow.Sending, err error) (any, *problem) {
	if err != nil {
		return nil, broken(err)
	}
	v.c.Session = s
	if sending.Reason != event.Sent {
		p := refused(sending.Reason)
		p.after = sending.After
		return nil, p
	}
	return page.Text(cmp.Or(sending.Receipt.ID, newUUID())), nil
}

// newUUID is a random UUID (RFC 9562 5.4): 122 bits.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// uuid reads a token: a UUID, in small letters.
func uuid(s string) (string, bool) {
	if len(s) != 36 {
		return "", false
	}
	s = strings.ToLower(s)
	for i, c := range []byte(s) {
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash && c != '-' || !dash && !hex {
			return "", false
		}
	}
	return s, true
}

// tree is a wish for a part of an answer: the fields, and what is wanted of each.
// nil is everything.
type tree map[string]tree

// projection reads the parameter fields: a,b or a(b,c) or a/b, and * for all.
func (v *visit) projection() (tree, *problem) {
	text := v.param("fields")
	if text == "" {
		return nil, nil
	}
	r := &reader{text: strings.ToLower(text)}
	t, ok := r.list(0)
	if !ok || r.text != "" {
		return nil, fail(badParameter, event.Ambiguous)
	}
	return t, nil
}

type reader struct{ text string }

func (r *reader) list(depth int) (tree, bool) {
	t, all := tree{}, false
	for {
		end := strings.IndexAny(r.text, ",()/")
		if end < 0 {
			end = len(r.text)
		}
		name := r.text[:end]
		r.text = r.text[end:]
		if name == "" || depth > 4 {
			return nil, false
		}
		inner, ok := r.inner(depth)
		if !ok {
			return nil, false
		}
		if had, again := t[name]; again {
			inner = join(had, inner)
		}
		t[name], all = inner, all || name == "*"
		if !strings.HasPrefix(r.text, ",") || depth > 0 && all {
			break
		}
		r.text = r.text[1:]
	}
	if all {
		return nil, true
	}
	return t, true
}

// join is what either of two wishes asks for: the widget names an object once for
// each of its fields.
func join(a, b tree) tree {
	if a == nil || b == nil {
		return nil
	}
	for name, inner := range b {
		if had, again := a[name]; again {
			inner = join(had, inner)
		}
		a[name] = inner
	}
	return a
}

// inner reads what is wanted of a field.
func (r *reader) inner(depth int) (tree, bool) {
	switch {
	case strings.HasPrefix(r.text, "("):
		r.text = r.text[1:]
		t, ok := r.list(depth + 1)
		if !ok || !strings.HasPrefix(r.text, ")") {
			return nil, false
		}
		r.text = r.text[1:]
		return t, true
	case strings.HasPrefix(r.text, "/"):
		r.text = r.text[1:]
		end := strings.IndexAny(r.text, ",()/")
		if end < 0 {
			end = len(r.text)
		}
		name := r.text[:end]
		if r.text = r.text[end:]; name == "" || depth > 4 {
			return nil, false
		}
		inner, ok := r.inner(depth + 1)
		if name == "*" {
			return nil, ok
		}
		return tree{name: inner}, ok
	}
	return nil, true
}

// project leaves of an answer what was asked for.
func project(answer any, fields tree) any {
	if fields == nil || answer == nil {
		return answer
	}
	text, err := json.Marshal(answer)
	if err != nil {
		panic(err) // our own types
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		panic(err) // our own text
	}
	return cut(v, fields)
}

func cut(v any, fields tree) any {
	if fields == nil {
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, inner := range v {
			if want, ok := fields[strings.ToLower(name)]; ok {
				out[name] = cut(inner, want)
			}
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			out = append(out, cut(e, fields))
		}
		return out
	}
	return v
}
