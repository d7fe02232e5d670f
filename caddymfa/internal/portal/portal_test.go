package portal

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/keyring"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/memory"
)

// door is the portal in front of a flow that has only its keys: whoever gets to
// the store without a session of the right level panics.
func door(t *testing.T) *Portal {
	t.Helper()
	ring, err := keyring.New([]byte("a secret of the tests with at least 32 bytes"))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := page.New()
	if err != nil {
		t.Fatal(err)
	}
	f := &flow.Flow{Sessions: new(session.Table), Events: func(context.Context, event.Event) {}, Limits: limit.New(memory.New(memory.Options{}), ring, limit.Limits{})}
	f.Open(ring)
	return &Portal{Flow: f, Pages: pages, Prefix: "/mfa", Login: "/login"}
}

var site = &flow.Gate{Gate: session.Gate{ID: "app", Cookie: session.NewCookie("")}, App: "App"}

// serve sends a request of somebody whose session is at a level.
func serve(p *Portal, level session.Level, navigation bool, method, target, kind, body string, head ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	c := &flow.Call{R: r, URL: r.URL, Navigation: navigation}
	if level != session.None {
		c.State, c.Session = session.Live, &session.Session{Record: session.Record{Level: level, User: "alice"}}
	}
	w := httptest.NewRecorder()
	p.Serve(w, site, c)
	return w
}

const form, js = "application/x-www-form-urlencoded", "application/json"

func TestRoutesAndMethods(t *testing.T) {
	p := door(t)
	for name, tc := range map[string]struct {
		method, target string
		want           int
	}{
		"page":                 {"GET", "/mfa", 200},
		"head":                 {"HEAD", "/mfa", 200},
		"status":               {"GET", "/mfa/status", 200},
		"asset":                {"GET", "/mfa/assets/style.css", 200},
		"no such asset":        {"GET", "/mfa/assets/x", 404},
		"asset by POST":        {"POST", "/mfa/assets/style.css", 404},
		"post to the page":     {"POST", "/mfa", 405},
		"verify by GET":        {"GET", "/mfa/verify", 405},
		"recover, no session":  {"GET", "/mfa/recover", 401},
		"settings, no session": {"GET", "/mfa/settings", 401},
		"settings by POST":     {"POST", "/mfa/settings", 405},
		"sessions by GET":      {"GET", "/mfa/settings/sessions", 405},
		"settings, a rest":     {"GET", "/mfa/settings/x", 404},
		"settings, a slash":    {"GET", "/mfa/settings/", 404},
		"settings, capitals":   {"GET", "/mfa/Settings", 404},
		"codes with a query":   {"POST", "/mfa/settings/codes?x=1", 400},
		"number by DELETE":     {"DELETE", "/mfa/settings/number", 405},
		"verify by PUT":        {"PUT", "/mfa/verify", 405},
		"no such route":        {"GET", "/mfa/nothing", 404},
		"route with a rest":    {"POST", "/mfa/verify/x", 404},
		"route in capitals":    {"POST", "/mfa/VERIFY", 404},
		"verify, no session":   {"POST", "/mfa/verify", 401},
		"logout, no session":   {"POST", "/mfa/logout", 401},
		"resend with a query":  {"POST", "/mfa/resend?x=1", 400},
		"inside a longer path": {"POST", "/app/mfa/verify", 404},
	} {
		w := serve(p, session.None, false, tc.method, tc.target, "", "")
		if w.Code != tc.want {
			t.Errorf("%s: %d, want %d", name, w.Code, tc.want)
		}
		if w.Code == http.StatusMethodNotAllowed && w.Header().Get("Allow") == "" {
			t.Errorf("%s: which methods are allowed?", name)
		}
		if w.Code == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") != "MFA" {
			t.Errorf("%s: no challenge", name)
		}
	}
}

func TestAttack_F1_F7_NobodyActsWithoutSessionAndToken(t *testing.T) {
	p := door(t)
	other := *site
	other.ID = "other app"
	s := &session.Session{}
	right, foreign := p.Flow.Token(site, s), p.Flow.Token(&other, s)
	if right == foreign {
		t.Fatal("two applications have one token")
	}
	fields := func(token string) string {
		return url.Values{"otp": {"123456"}, "phoneno2fa": {"+447400123456"}, "secondfactorauthenticationtoken": {token}}.Encode()
	}
	for route, act := range routes {
		if act.post == nil {
			continue
		}
		for name, tc := range map[string]struct {
			level      session.Level
			kind, body string
			head       []string
			want       int
		}{
			"no session":      {session.None, form, fields(right), nil, 401},
			"anonymous":       {session.Anonymous, form, fields(right), nil, 401},
			"no token":        {session.Pending, form, "otp=123456", nil, 403},
			"empty token":     {session.Pending, form, fields(""), nil, 403},
			"foreign token":   {session.Pending, form, fields(foreign), nil, 403},
			"cut token":       {session.Pending, form, fields(right[:35]), nil, 403},
			"two tokens":      {session.Pending, form, fields(right) + "&secondfactorauthenticationtoken=" + right, nil, 403},
			"json, bad token": {session.Pending, js, `{"secondfactorauthenticationtoken":"x"}`, nil, 403},
			"foreign page":    {session.Pending, form, fields(right), []string{"Sec-Fetch-Site", "cross-site"}, 403},
			"sibling site":    {session.Pending, form, fields(right), []string{"Sec-Fetch-Site", "same-site"}, 403},
			"foreign origin":  {session.Pending, form, fields(right), []string{"Origin", "https://evil.example"}, 403},
			"too much":        {session.Pending, form, "x=" + strings.Repeat("x", 20<<10), nil, 400},
			"unreadable":      {session.Pending, js, "{", nil, 400},
		} {
			if w := serve(p, tc.level, true, "POST", "/mfa/"+route, tc.kind, tc.body, tc.head...); w.Code != tc.want {
				t.Errorf("%s, %s: %d, want %d", route, name, w.Code, tc.want)
			}
		}
	}
}

func TestPagesForPersonsJSONForPrograms(t *testing.T) {
	p := door(t)
	for _, level := range []session.Level{session.None, session.Anonymous, session.Verified} {
		if w := serve(p, level, true, "GET", "/mfa", "", ""); !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || w.Header().Get("Cache-Control") == "" {
			t.Errorf("%q: %v", level, w.Header())
		}
		if w := serve(p, level, false, "GET", "/mfa", "", ""); !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") || strings.Contains(w.Body.String(), "alice") {
			t.Errorf("%q: %v %s", level, w.Header(), w.Body)
		}
	}
	w := serve(p, session.Verified, true, "GET", "/mfa", "", "", "Sec-Fetch-Dest", "iframe")
	if strings.Contains(w.Body.String(), "alice") || strings.Contains(w.Body.String(), "secondfactorauthenticationtoken") {
		t.Errorf("inside a frame: %s", w.Body)
	}
	// A second tap on the button: the session is verified already.
	token := p.Flow.Token(site, &session.Session{})
	w = serve(p, session.Verified, true, "POST", "/mfa/verify", form, "otp=123456&secondfactorauthenticationtoken="+token)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/mfa" {
		t.Errorf("verified already: %d %v", w.Code, w.Header())
	}
}

// TestAttack_F6_PagesAreForTheirLevel: whoever is at another level gets nothing of
// them, by no method. door has no store: who gets through panics.
func TestAttack_F6_PagesAreForTheirLevel(t *testing.T) {
	p := door(t)
	token := p.Flow.Token(site, &session.Session{})
	levels := []session.Level{session.None, session.Anonymous, session.Pending, session.Verified}
	for name, act := range routes {
		for _, level := range levels {
			if act.level == session.None || act.level == level {
				continue
			}
			for _, navigation := range []bool{true, false} {
				if act.get != nil {
					expectRefusal(t, name, level, serve(p, level, navigation, "GET", "/mfa/"+name, "", ""))
				}
				if act.post != nil {
					expectRefusal(t, name, level, serve(p, level, navigation, "POST", "/mfa/"+name, form, "secondfactorauthenticationtoken="+token))
					expectRefusal(t, name, level, serve(p, level, navigation, "POST", "/mfa/"+name, js, "{}"))
				}
			}
		}
	}
}

func expectRefusal(t *testing.T, name string, level session.Level, w *httptest.ResponseRecorder) {
	t.Helper()
	again := level == session.Verified && w.Code == http.StatusOK // a second tap on the button
	back := w.Code == http.StatusSeeOther && w.Header().Get("Location") == "/mfa"
	if !again && !back && w.Code != http.StatusUnauthorized && w.Code != http.StatusForbidden {
		t.Errorf("%s at %q: %d %v", name, level, w.Code, w.Header())
	}
}

func TestWhatIsWantedIsOfAClosedList(t *testing.T) {
	for asked, want := range map[string]string{
		"number": "number", "codes": "codes", "remove": "remove", "": "", "sessions": "", "/": "", "//evil.example": "",
		"https://evil.example": "", "Number": "", "codes/..": "", "confirm/verify": "",
	} {
		r := httptest.NewRequest("GET", "/mfa/settings/confirm?for="+url.QueryEscape(asked), nil)
		if got := (&visit{c: &flow.Call{R: r, URL: r.URL}}).wanted(); got != want {
			t.Errorf("%q leads to %q", asked, got)
		}
	}
}
