package login

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

func rule(t *testing.T, c Config) *Rule {
	t.Helper()
	r, err := c.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ask holds a request against rules.
func ask(t *testing.T, rs Rules, method, target, kind, body string) (Rules, event.Reason) {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	q := &Request{Request: r, Path: strings.ToLower(r.URL.Path), Canonical: intake.Canonical(r.URL.EscapedPath(), r.URL.Path), Spellings: intake.Spellings(r.URL.EscapedPath())}
	if !rs.Candidate(q) {
		return nil, ""
	}
	f, err := intake.Read(r, intake.Limits{})
	if err != nil {
		return nil, event.Ambiguous // as the gate does
	}
	return rs.Match(q, f)
}

const form, js = "application/x-www-form-urlencoded", "application/json"

func TestWhatIsALogin(t *testing.T) {
	identity := &Identity{Path: "/me", Pattern: "(.*)"}
	byPath := rule(t, Config{Name: "path", Paths: []string{"/login"}, User: &User{Source: Form, Name: "user"}, Identity: identity})
	byFields := rule(t, Config{Name: "fields", AnyPath: true, Fields: []string{"u", "p"}, User: &User{Source: Form, Name: "u"}, Identity: identity})
	byJSON := rule(t, Config{Name: "json", Paths: []string{"/rpc"}, JSON: &match.Pair{Name: "method", Value: "auth.login"}, User: &User{Source: JSON, Name: "params.user"}, Identity: identity})
	byGet := rule(t, Config{Name: "get", Methods: []string{"GET"}, Paths: []string{"/enter"}, Fields: []string{"key"}, User: &User{Source: Query, Name: "key"}, Identity: identity})
	rules := Rules{byPath, byFields, byJSON, byGet}
	for name, tc := range map[string]struct {
		method, target, kind, body string
		want                       string
		reason                     event.Reason
	}{
		"form":                     {"POST", "/login", form, "user=alice", "path", ""},
		"case of the path":         {"POST", "/LOGIN", form, "user=alice", "path", ""},
		"login without a name":     {"POST", "/login", form, "x=1", "path", ""},
		"empty login":              {"POST", "/login", "", "", "path", ""},
		"login page":               {"GET", "/login", "", "", "", ""},
		"login page with a query":  {"GET", "/login?next=/x", "", "", "", ""},
		"J5 name in the query":     {"GET", "/login?user=alice", "", "", "", event.LoginByGet},
		"J5 folded name":           {"GET", "/login?USER=alice", "", "", "", event.LoginByGet},
		"F5 two names":             {"POST", "/login", form, "user=a&User=b", "", event.Ambiguous},
		"F5 query and body":        {"POST", "/login?user=b", form, "user=a", "", event.Ambiguous},
		"C1 another spelling":      {"POST", "/%6cogin", form, "user=a", "", event.Ambiguous},
		"C1 double slash":          {"POST", "//login", form, "user=a", "", event.Ambiguous},
		"B9 text":                  {"POST", "/login", "text/plain", "user=a", "", event.Ambiguous},
		"another page":             {"POST", "/other", form, "user=a", "", ""},
		"fields anywhere":          {"POST", "/a/b", form, "u=alice&p=x", "fields", ""},
		"one field only":           {"POST", "/a/b", form, "u=alice", "", ""},
		"J3 folded fields":         {"POST", "/a/b", form, "U=alice&p[]=x", "", event.Ambiguous},
		"J5 fields in the query":   {"GET", "/a/b?u=alice&p=x", "", "", "", event.LoginByGet},
		"json":                     {"POST", "/rpc", js, `{"method":"auth.login","params":{"user":"alice"}}`, "json", ""},
		"json escape":              {"POST", "/rpc", js, `{"method":"\u0061uth.login"}`, "json", ""},
		"another method":           {"POST", "/rpc", js, `{"method":"auth.check"}`, "", ""},
		"B9 json names that fold":  {"POST", "/rpc", js, `{"method":"auth.check","METHOD":"auth.login"}`, "", event.Ambiguous},
		"F5 two users in the json": {"POST", "/rpc", js, `{"method":"auth.login","params":{"user":"a","User":"b"}}`, "", event.Ambiguous},
		"declared login by GET":    {"GET", "/enter?key=k", "", "", "get", ""},
	} {
		found, reason := ask(t, rules, tc.method, tc.target, tc.kind, tc.body)
		got := ""
		if len(found) > 0 {
			got = found[0].Name
		}
		if got != tc.want || reason != tc.reason {
			t.Errorf("%s: %q %q, want %q %q", name, got, reason, tc.want, tc.reason)
		}
	}
}

func TestAllRulesOfAnAddressAreFound(t *testing.T) {
	a := rule(t, Config{Name: "a", Paths: []string{"/login"}, User: &User{Source: Constant, Name: "x"}, Success: [][]match.Condition{{{Body: "a"}}}})
	b := rule(t, Config{Name: "b", Paths: []string{"/login"}, User: &User{Source: Constant, Name: "y"}, Success: [][]match.Condition{{{Body: "b"}}}})
	found, reason := ask(t, Rules{a, b}, "POST", "/login", form, "u=1")
	if len(found) != 2 || reason != "" {
		t.Fatalf("%v %q", found, reason)
	}
	// What the first takes for a wrong password is the second's success.
	r, user, err := found.Judge(t.Context(), &match.Answer{Status: 200, Header: http.Header{}, Body: []byte("b")}, Ask{})
	if err != nil || r != b || user != "y" {
		t.Fatalf("%v %q %v", r, user, err)
	}
}

func TestJudge(t *testing.T) {
	page := func(status int, body string) func(context.Context, string) (*upstream.Reply, error) {
		return func(context.Context, string) (*upstream.Reply, error) {
			return &upstream.Reply{Status: status, Header: http.Header{}, Body: []byte(body)}, nil
		}
	}
	away := func(context.Context, string) (*upstream.Reply, error) { return nil, errors.New("away") }
	identity := Config{Paths: []string{"/l"}, Identity: &Identity{Path: "/me", Pattern: `I am ([^.]*)\.`}, Success: [][]match.Condition{{{Status: []int{302}}}}}
	byJSON := Config{Paths: []string{"/l"}, Identity: &Identity{Path: "/me", JSON: "user.name"}}
	cookie := Config{Paths: []string{"/l"}, User: &User{Source: AnswerCookie, Name: "^sess$", Pattern: "u=([^&]+)"}, Success: [][]match.Condition{{{Cookie: &match.Pair{Name: "^sess$"}}}}}
	header := Config{Paths: []string{"/l"}, User: &User{Source: AnswerHeader, Name: "X-User"}, Success: [][]match.Condition{{{Header: &match.Pair{Name: "X-User", Value: "."}}}}}
	request := Config{
		Paths: []string{"/l"}, User: &User{Source: Form, Name: "u"},
		Success: [][]match.Condition{{{Body: "welcome"}}}, Failure: [][]match.Condition{{{Body: "wrong"}}},
	}
	failing := identity
	failing.Success, failing.Failure = nil, request.Failure
	const form1 = `<form action=/l><input name=u><input name=p type=password></form>`
	moved, ok := match.Answer{Status: 302, Header: http.Header{"Location": {"/x"}}}, match.Answer{Status: 200, Header: http.Header{}, Body: []byte("welcome")}
	set := func(name, value string) jar.Set { return jar.Set{Cookie: jar.Cookie{Name: name, Value: value}} }
	for name, tc := range map[string]struct {
		c      Config
		a      match.Answer
		probe  func(context.Context, string) (*upstream.Reply, error)
		want   Verdict
		user   string
		cannot bool
	}{
		"identity names somebody":              {identity, ok, page(200, "I am alice."), Accepted, "alice", false},
		"entities":                             {identity, ok, page(200, "I am O&#39;Neil."), Accepted, "O'Neil", false},
		"identity names nobody":                {identity, ok, page(200, "Hello stranger"), Failed, "", true},
		"identity asks for a password":         {identity, match.Answer{Status: 200, Header: http.Header{}, Body: []byte(form1)}, page(200, form1), Failed, "", false},
		"a login form, but not in the answer":  {identity, ok, page(200, form1), Failed, "", true},
		"identity is forbidden":                {identity, ok, page(403, "I am alice."), Failed, "", true},
		"identity does not know him":           {identity, ok, page(401, ""), Failed, "", false},
		"identity leads nowhere":               {identity, ok, page(302, "I am alice."), Failed, "", true},
		"nobody, but it looks like a login":    {identity, moved, page(200, "Hello stranger"), Failed, "", true},
		"identity names two":                   {identity, ok, page(200, "I am alice. I am bob."), Failed, "", true},
		"identity names one twice":             {identity, ok, page(200, "I am bob. I am bob."), Accepted, "bob", false},
		"identity is broken":                   {identity, ok, page(500, "I am alice."), Failed, "", true},
		"identity is away":                     {identity, ok, away, Failed, "", true},
		"name with control signs":              {identity, ok, page(200, "I am al\x00ice."), Failed, "", true},
		"name without end":                     {identity, ok, page(200, "I am "+strings.Repeat("a", 300)+"."), Failed, "", true},
		"json identity":                        {byJSON, ok, page(200, `{"user":{"name":"alice"}}`), Accepted, "alice", false},
		"json false":                           {byJSON, ok, page(200, `{"user":{"name":false}}`), Failed, "", true},
		"json null":                            {byJSON, ok, page(200, `{"user":null}`), Failed, "", true},
		"user in a cookie":                     {cookie, match.Answer{Status: 302, Header: http.Header{}, Sets: []jar.Set{set("sess", "x&u=al%20ice&y")}}, nil, Accepted, "al ice", false},
		"cookie without a user":                {cookie, match.Answer{Status: 302, Header: http.Header{}, Sets: []jar.Set{set("sess", "x")}}, nil, Failed, "", true},
		"cookies of two users":                 {cookie, match.Answer{Status: 302, Header: http.Header{}, Sets: []jar.Set{set("sess", "u=a"), set("sess", "u=b")}}, nil, Failed, "", true},
		"no cookie":                            {cookie, moved, nil, Failed, "", true},
		"no cookie, and 401":                   {cookie, match.Answer{Status: 401, Header: http.Header{}}, nil, Failed, "", false},
		"another cookie, and 401":              {cookie, match.Answer{Status: 401, Header: http.Header{}, Sets: []jar.Set{set("x", "y")}}, nil, Failed, "", true},
		"user in a header":                     {header, match.Answer{Status: 200, Header: http.Header{"X-User": {"alice"}}}, nil, Accepted, "alice", false},
		"only the request names somebody":      {request, ok, nil, Accepted, "", false},
		"failure wins over success":            {request, match.Answer{Status: 200, Header: http.Header{}, Body: []byte("welcome, wrong")}, nil, Failed, "", false},
		"neither success nor failure":          {request, match.Answer{Status: 200, Header: http.Header{}, Body: []byte("?")}, nil, Failed, "", true},
		"failure alone":                        {request, match.Answer{Status: 200, Header: http.Header{}, Body: []byte("wrong")}, nil, Failed, "", false},
		"failure where identity names nobody":  {failing, match.Answer{Status: 200, Header: http.Header{}, Body: []byte("wrong")}, page(200, "?"), Failed, "", false},
		"failure where identity names one":     {failing, match.Answer{Status: 200, Header: http.Header{}, Body: []byte("wrong")}, page(200, "I am bob."), Accepted, "bob", false},
		"next that cannot be asked is nothing": {Config{Paths: []string{"/l"}, User: &User{Source: Constant, Name: "x"}, Success: [][]match.Condition{{{Next: &match.Following{Path: "/x", Status: []int{200}, Body: "x"}}}}}, moved, nil, Failed, "", true},
	} {
		v, user, err := rule(t, tc.c).Judge(t.Context(), &tc.a, Ask{As: tc.probe, Stranger: tc.probe})
		if v != tc.want || user != tc.user || errors.Is(err, ErrNoVerdict) != tc.cannot || (err != nil) != tc.cannot {
			t.Errorf("%s: %v %q %v", name, v, user, err)
		}
	}
}

// TestAttack_K29_WrongNeedsEvidence: what the page of identity shows to him who
// has just tried, and what it shows to a stranger. Only an application that still
// asks for the password has shown that it knows nobody.
func TestAttack_K29_WrongNeedsEvidence(t *testing.T) {
	to := func(status int, location, body string) *upstream.Reply {
		return &upstream.Reply{Status: status, Header: http.Header{"Location": {location}}, Body: []byte(body)}
	}
	const login = `<title>x</title><form action="/l?t=1" method=post><input name=u><input type=password name=p><input type=hidden name=csrf value=%s></form>`
	const profile = `<form action="/l"><input type=password name=old><input type=password name=new></form>`
	type pages map[string]*upstream.Reply
	for name, tc := range map[string]struct {
		his, strangers pages
		wrong          bool
	}{
		"401 as to a stranger":               {pages{"/me": to(401, "", "")}, pages{"/me": to(401, "", "")}, true},
		"401, a stranger is redirected":      {pages{"/me": to(401, "", "")}, pages{"/me": to(302, "/l", "")}, false},
		"to the login, as a stranger":        {pages{"/me": to(302, "/l?x=8f3a92", ""), "/l": to(200, "", login)}, pages{"/me": to(302, "/l?x=77ab01", "")}, true},
		"to the login by two steps":          {pages{"/me": to(302, "/l", ""), "/l": to(302, "http://host/l/", ""), "/l/": to(200, "", login)}, pages{"/me": to(302, "/l", "")}, true},
		"everybody is led to /me/":           {pages{"/me": to(301, "/me/", ""), "/me/": to(200, "", "Hello")}, pages{"/me": to(301, "/me/", "")}, false},
		"to another page than a stranger":    {pages{"/me": to(302, "/change-password", ""), "/change-password": to(200, "", login)}, pages{"/me": to(302, "/l", "")}, false},
		"to another place of the same page":  {pages{"/me": to(302, "/i?a=home", ""), "/i?a=home": to(200, "", login)}, pages{"/me": to(302, "/i?a=login", "")}, false},
		"to another host":                    {pages{"/me": to(302, "https://sso.example/", "")}, pages{"/me": to(302, "https://sso.example/", "")}, false},
		"round and round":                    {pages{"/me": to(302, "/me", "")}, pages{"/me": to(302, "/me", "")}, false},
		"the same page for everybody":        {pages{"/me": to(200, "", "<div id=app></div>")}, pages{"/me": to(200, "", "<div id=app></div>")}, false},
		"the login form, as a stranger":      {pages{"/me": to(200, "", strings.Replace(login, "%s", "1", 1)+"<p>wrong!")}, pages{"/me": to(200, "", login)}, true},
		"a form of his own":                  {pages{"/me": to(200, "", profile)}, pages{"/me": to(200, "", login)}, false},
		"forbidden, as to a stranger":        {pages{"/me": to(403, "", "no")}, pages{"/me": to(403, "", "no")}, false},
		"not there, as for a stranger":       {pages{"/me": to(404, "", "no")}, pages{"/me": to(404, "", "no")}, false},
		"forbidden, with the login form":     {pages{"/me": to(403, "", login)}, pages{"/me": to(403, "", login)}, true},
		"redirected, a stranger sees a page": {pages{"/me": to(302, "/l", ""), "/l": to(200, "", login)}, pages{"/me": to(200, "", login)}, false},
	} {
		asked := func(p pages) func(context.Context, string) (*upstream.Reply, error) {
			return func(_ context.Context, target string) (*upstream.Reply, error) {
				if rep := p[target]; rep != nil {
					return rep, nil
				}
				if path, _, _ := strings.Cut(target, "?"); p[path] != nil {
					return p[path], nil
				}
				return nil, errors.New("not expected: " + target)
			}
		}
		r := rule(t, Config{Paths: []string{"/l"}, Identity: &Identity{Path: "/me", Pattern: `I am ([^.]*)\.`}})
		v, _, err := r.Judge(t.Context(), &match.Answer{Status: 200, Header: http.Header{}, Body: []byte("wrong " + login)}, Ask{As: asked(tc.his), Stranger: asked(tc.strangers), Host: "host"})
		if v != Failed || (err == nil) != tc.wrong || err != nil && !errors.Is(err, ErrNoEvidence) {
			t.Errorf("%s: %v", name, err)
		}
		// The same where the answer leads to the form, or to where none is.
		for location, leads := range map[string]bool{"/l?error=1": true, "/welcome": false} {
			if len(tc.his) < 2 || !tc.wrong {
				continue
			}
			_, _, err := r.Judge(t.Context(), &match.Answer{Status: 302, Header: http.Header{"Location": {location}}}, Ask{As: asked(tc.his), Stranger: asked(tc.strangers), Host: "host"})
			if (err == nil) != leads {
				t.Errorf("%s, and %s: %v", name, location, err)
			}
		}
	}
}

func TestRequestUserIsFoldedAndStrict(t *testing.T) {
	identity := &Identity{Path: "/me", Pattern: "(.*)"}
	for name, tc := range map[string]struct {
		user         User
		target, kind string
		body, want   string
	}{
		"form":            {User{Source: Form, Name: "u"}, "/l", form, "u=+ALICE+", "alice"},
		"pattern":         {User{Source: Form, Name: "u", Pattern: `^[^\\]+\\(.+)$`}, "/l", form, `u=DOM\alice`, "alice"},
		"no match":        {User{Source: Form, Name: "u", Pattern: `^x(.+)$`}, "/l", form, "u=alice", ""},
		"query":           {User{Source: Query, Name: "u"}, "/l?u=Alice", form, "", "alice"},
		"form, not query": {User{Source: Form, Name: "u"}, "/l?u=Alice", form, "x=1", ""},
		"json":            {User{Source: JSON, Name: "a.0"}, "/l", js, `{"a":["Alice"]}`, "alice"},
		"json object":     {User{Source: JSON, Name: "a"}, "/l", js, `{"a":{}}`, ""},
		"of the answer":   {User{Source: AnswerHeader, Name: "X"}, "/l", form, "X=alice", ""},
	} {
		r := httptest.NewRequest("POST", tc.target, strings.NewReader(tc.body))
		r.Header.Set("Content-Type", tc.kind)
		f, err := intake.Read(r, intake.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if got := rule(t, Config{Paths: []string{"/l"}, User: &tc.user, Identity: identity}).RequestUser(f); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
