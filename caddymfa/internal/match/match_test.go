package match

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
)

func TestPathsThatCouldNeverMatchAreRefused(t *testing.T) {
	for _, p := range []string{"", "x", "/x?y=1", "/x#y", "/%61", "/a\\b", "/a;b", "//x", "/a/../b", "/a/./b", "/{host}", "/[", "/a[b*c*"} {
		if _, err := ParsePath(p); err == nil {
			t.Errorf("%q is accepted", p)
		}
	}
}

func sets(t *testing.T, lines ...string) (out []jar.Set) {
	t.Helper()
	for _, line := range lines {
		s, ok := jar.Parse(line, "/", time.Now())
		if !ok {
			t.Fatalf("%q is no cookie", line)
		}
		out = append(out, s)
	}
	return out
}

func TestConditions(t *testing.T) {
	had, _ := (jar.Jar{}).Apply(sets(t, "old=1; Path=/"), time.Now())
	answer := func() *Answer {
		return &Answer{
			Status: 302, Header: http.Header{"Location": {"/home"}, "X-User": {"alice", "bob"}}, Body: []byte(`{"ok":true,"a":{"b":[null,"x",2]},"no":false,"nil":null,"empty":"","zero":0}`),
			Sets: sets(t, "old=2; Path=/", "new=1; Path=/", "gone=deleted; Path=/", "out=x; Max-Age=0; Path=/"), Jar: &had,
		}
	}
	for name, tc := range map[string]struct {
		c    Condition
		want bool
	}{
		"status":                 {Condition{Status: []int{200, 302}}, true},
		"another status":         {Condition{Status: []int{200}}, false},
		"not":                    {Condition{Status: []int{200}, Not: true}, true},
		"location":               {Condition{Location: "^/home$"}, true},
		"another location":       {Condition{Location: "login"}, false},
		"cookie":                 {Condition{Cookie: &Pair{Name: "^new$"}}, true},
		"cookie of a value":      {Condition{Cookie: &Pair{Name: "^new$", Value: "^1$"}}, true},
		"cookie, another value":  {Condition{Cookie: &Pair{Name: "^new$", Value: "^2$"}}, false},
		"blank cookie":           {Condition{Cookie: &Pair{Name: "^gone$"}}, false},
		"deleted cookie":         {Condition{Cookie: &Pair{Name: "^out$"}}, false},
		"changed cookie":         {Condition{CookieChanged: "^old$"}, true},
		"header":                 {Condition{Header: &Pair{Name: "x-user", Value: "^bob$"}}, true},
		"no header":              {Condition{Header: &Pair{Name: "x-user", Value: "^carol$"}}, false},
		"body":                   {Condition{Body: `"ok":true`}, true},
		"json":                   {Condition{JSON: &Pair{Name: "ok"}}, true},
		"json text":              {Condition{JSON: &Pair{Name: "a.b.1", Value: "x"}}, true},
		"json number":            {Condition{JSON: &Pair{Name: "a.b.2", Value: "2"}}, true},
		"json false":             {Condition{JSON: &Pair{Name: "no"}}, false},
		"json null":              {Condition{JSON: &Pair{Name: "nil"}}, false},
		"json empty":             {Condition{JSON: &Pair{Name: "empty"}}, false},
		"json missing":           {Condition{JSON: &Pair{Name: "a.c"}}, false},
		"json object is no text": {Condition{JSON: &Pair{Name: "a", Value: "map"}}, false},
	} {
		l, err := Compile([][]Condition{{tc.c}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := l.Any(t.Context(), answer()); got != tc.want || err != nil {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
	// A trap asks who was logged in that was not before: a cookie that the
	// session had is none, whatever its value.
	trap := answer()
	trap.Trap = true
	for name, want := range map[string]bool{"^old$": false, "^new$": true} {
		l, _ := Compile([][]Condition{{{Cookie: &Pair{Name: name}}}})
		if got, _ := l.Any(t.Context(), trap); got != want {
			t.Errorf("trap on %s: %t", name, got)
		}
	}
}

func TestNextIsNoVerdictWhenItFails(t *testing.T) {
	l, err := Compile([][]Condition{{{Status: []int{302}}, {Next: &Following{Path: "/home", Status: []int{200}, Body: "welcome"}}}})
	if err != nil {
		t.Fatal(err)
	}
	next := func(n *Answer, err error) func(context.Context, string) (*Answer, error) {
		return func(_ context.Context, target string) (*Answer, error) {
			if target != "/home" { // and nothing that the redirect names (attack K5)
				t.Errorf("%s was asked for", target)
			}
			return n, err
		}
	}
	moved := http.Header{"Location": {"/transfer?to=mallory"}}
	for name, tc := range map[string]struct {
		a    Answer
		want bool
		bad  bool
	}{
		"welcome":         {Answer{Status: 302, Header: moved, Next: next(&Answer{Status: 200, Body: []byte("welcome")}, nil)}, true, false},
		"login again":     {Answer{Status: 302, Header: moved, Next: next(&Answer{Status: 200, Body: []byte("password")}, nil)}, false, false},
		"another status":  {Answer{Status: 302, Header: moved, Next: next(&Answer{Status: 500, Body: []byte("welcome")}, nil)}, false, false},
		"no redirect":     {Answer{Status: 302, Header: http.Header{}}, false, false},
		"no answer":       {Answer{Status: 302, Header: moved, Next: next(nil, errors.New("away"))}, false, true},
		"cannot be asked": {Answer{Status: 302, Header: moved}, false, true},
		"first fails":     {Answer{Status: 200, Header: moved, Next: next(nil, errors.New("never asked"))}, false, false},
	} {
		if got, err := l.Any(t.Context(), &tc.a); got != tc.want || (err != nil) != tc.bad {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
}

func TestAttack_J9_WeakConditionsAreNotSound(t *testing.T) {
	for _, c := range []Condition{
		{Status: []int{302}},
		{Location: "/home"},
		{CookieChanged: "sid"},
		{Next: &Following{Status: []int{200}}},
		{Cookie: &Pair{Name: "x"}, Not: true},
		{Body: "wrong", Not: true},
		{JSON: &Pair{Name: "x"}, Not: true},
		{Header: &Pair{Name: "x"}, Not: true},
	} {
		if c.Sound() {
			t.Errorf("%+v proves a login", c)
		}
	}
	for _, c := range []Condition{{Cookie: &Pair{Name: "x"}}, {Body: "x"}, {JSON: &Pair{Name: "x"}}, {Header: &Pair{Name: "x"}}, {Next: &Following{Status: []int{200}, Body: "x"}}} {
		if !c.Sound() {
			t.Errorf("%+v proves none", c)
		}
	}
}

// reference is the meaning of an entry that opens something, written down once
// more in the plainest way.
func reference(q Request, method, p string, query url.Values) bool {
	methods := q.Methods
	if len(methods) == 0 {
		methods = []string{"GET", "HEAD"}
	}
	if !slices.Contains(methods, method) && methods[0] != "*" {
		return false
	}
	if !slices.ContainsFunc(q.Paths, func(pattern string) bool {
		pattern, lower := strings.ToLower(pattern), strings.ToLower(p)
		switch {
		case strings.HasSuffix(pattern, "*"):
			return strings.HasPrefix(lower, strings.TrimSuffix(pattern, "*"))
		case strings.HasPrefix(pattern, "*"):
			return strings.HasSuffix(lower, strings.TrimPrefix(pattern, "*"))
		}
		return lower == pattern
	}) {
		return false
	}
	for _, want := range q.Query {
		if v := query[want.Name]; len(v) != 1 || want.Value != nil && *want.Value != v[0] {
			return false
		}
	}
	return true
}

// TestAttack_C6_FirstMatchIsTheReferences: rules of random words, in order,
// against random requests.
func TestAttack_C6_FirstMatchIsTheReferences(t *testing.T) {
	n, hits := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var rules []Request
		var entries []*Entry
		for range rapid.IntRange(1, 8).Draw(t, "rules") {
			q := Request{
				Methods: rapid.SampledFrom([][]string{nil, {"GET"}, {"POST"}, {"POST", "PUT"}, {"*"}}).Draw(t, "methods"),
				Paths:   rapid.SliceOfN(rapid.SampledFrom([]string{"/", "/a", "/A/b", "/a/*", "/ab*", "*.css", "*/b", "/b/", "/*"}), 1, 3).Draw(t, "paths"),
			}
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y"}), 0, 2, rapid.ID[string]).Draw(t, "query") {
				q.Query = append(q.Query, Param{name, rapid.SampledFrom([]*string{nil, new(""), new("1"), new("2")}).Draw(t, "value")})
			}
			e, err := q.Compile()
			if err != nil {
				t.Fatal(err)
			}
			rules, entries = append(rules, q), append(entries, e)
		}
		for range 1000 {
			p := path.Clean("/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "A", "ab", "b", "B", "x.css"}), 0, 3).Draw(t, "path"), "/"))
			method := rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT", "DELETE", "get"}).Draw(t, "method")
			query := url.Values{}
			for _, pair := range rapid.SliceOfN(rapid.SampledFrom([]string{"x=", "x=1", "x=2", "y=1", "X=1", "z=1"}), 0, 3).Draw(t, "pairs") {
				k, v, _ := strings.Cut(pair, "=")
				query.Add(k, v)
			}
			got := slices.IndexFunc(entries, func(e *Entry) bool { return e.Method(method) && e.Path(strings.ToLower(p)) && e.Strict(query) })
			want := slices.IndexFunc(rules, func(q Request) bool { return reference(q, method, p, query) })
			if got != want {
				t.Fatalf("%s %s %v: rule %d, the reference says %d of %+v", method, p, query, got, want, rules)
			}
			if n++; got >= 0 {
				hits++
			}
		}
	})
	if n < 100_000 || hits < n/20 {
		t.Fatalf("only %d comparisons, %d hits", n, hits)
	}
}

// TestPropertyLooseCoversStrict: what an entry would open in the strict reading,
// the same entry shuts in the loose one; and more.
func TestPropertyLooseCoversStrict(t *testing.T) {
	r := &http.Request{Header: http.Header{}}
	rapid.Check(t, func(t *rapid.T) {
		q := Request{Paths: []string{"/*"}}
		for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y.z", "Q"}), 0, 2).Draw(t, "names") {
			q.Query = append(q.Query, Param{name, rapid.SampledFrom([]*string{nil, new("1"), new("On")}).Draw(t, "value")})
		}
		e, err := q.CompileShut()
		if err != nil {
			t.Fatal(err)
		}
		query := url.Values{}
		for _, pair := range rapid.SliceOfN(rapid.SampledFrom([]string{"x=1", "x=On", "X=1", "y.z=1", "y_z=1", "q=on", "Q=On"}), 0, 4).Draw(t, "pairs") {
			k, v, _ := strings.Cut(pair, "=")
			query.Add(k, v)
		}
		r.URL = &url.URL{RawQuery: query.Encode()}
		if e.Strict(query) && !e.Shuts(r, "/", nil) {
			t.Fatalf("%v holds strictly and not loosely for %+v", query, q.Query)
		}
	})
}

func TestKeepForwardsOnlyWhatIsNamed(t *testing.T) {
	e, err := Request{Paths: []string{"/x"}, Query: []Param{{Name: "do"}}}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Keep(url.Values{"do": {"login"}, "evil": {"1"}, "next": {"/a b"}}, "next"); got != "do=login&next=%2Fa+b" {
		t.Fatal(got)
	}
}
