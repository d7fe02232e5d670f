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
	r, user, err := found.Judge(t.Context(), &match.Answer{Status: 200, Header: http.Header{}, Body: []byte("b")}, nil)
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
		"identity names nobody":                {identity, ok, page(200, "Hello stranger"), Failed, "", false},
		"identity leads to the login":          {identity, ok, page(302, "I am alice."), Failed, "", false},
		"identity is forbidden":                {identity, ok, page(403, "I am alice."), Failed, "", false},
		"nobody, but it looks like a login":    {identity, moved, page(200, "Hello stranger"), Failed, "", true},
		"identity names two":                   {identity, ok, page(200, "I am alice. I am bob."), Failed, "", true},
		"identity names one twice":             {identity, ok, page(200, "I am bob. I am bob."), Accepted, "bob", false},
		"identity is broken":                   {identity, ok, page(500, "I am alice."), Failed, "", true},
		"identity is away":                     {identity, ok, away, Failed, "", true},
		"name with control signs":              {identity, ok, page(200, "I am al\x00ice."), Failed, "", true},
		"name without end":                     {identity, ok, page(200, "I am "+strings.Repeat("a", 300)+"."), Failed, "", true},
		"json identity":                        {byJSON, ok, page(200, `{"user":{"name":"alice"}}`), Accepted, "alice", false},
		"json false":                           {byJSON, ok, page(200, `{"user":{"name":false}}`), Failed, "", false},
		"json null":                            {byJSON, ok, page(200, `{"user":null}`), Failed, "", false},
		"user in a cookie":                     {cookie, match.Answer{Status: 302, Header: http.Header{}, Sets: []jar.Set{set("sess", "x&u=al%20ice&y")}}, nil, Accepted, "al ice", false},
		"cookie without a user":                {cookie, match.Answer{Status: 302, Header: http.Header{}, Sets: []jar.Set{set("sess", "x")}}, nil, Failed, "", true},
		"cookies of two users":                 {cookie, match.Answer{Status: 302, Header: http.Header{}, Sets: []jar.Set{set("sess", "u=a"), set("sess", "u=b")}}, nil, Failed, "", true},
		"no cookie":                            {cookie, moved, nil, Failed, "", false},
		"user in a header":                     {header, match.Answer{Status: 200, Header: http.Header{"X-User": {"alice"}}}, nil, Accepted, "alice", false},
		"only the request names somebody":      {request, ok, nil, Accepted, "", false},
		"failure wins over success":            {request, match.Answer{Status: 200, Header: http.Header{}, Body: []byte("welcome, wrong")}, nil, Failed, "", false},
		"neither success nor failure":          {request, match.Answer{Status: 200, Header: http.Header{}, Body: []byte("?")}, nil, Failed, "", false},
		"next that cannot be asked is nothing": {Config{Paths: []string{"/l"}, User: &User{Source: Constant, Name: "x"}, Success: [][]match.Condition{{{Next: &match.Following{Status: []int{200}, Body: "x"}}}}}, moved, nil, Failed, "", true},
	} {
		v, user, err := rule(t, tc.c).Judge(t.Context(), &tc.a, tc.probe)
		if v != tc.want || user != tc.user || errors.Is(err, ErrNoVerdict) != tc.cannot || (err != nil) != tc.cannot {
			t.Errorf("%s: %v %q %v", name, v, user, err)
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
