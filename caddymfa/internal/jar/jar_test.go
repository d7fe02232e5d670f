package jar

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func set(t *testing.T, j Jar, path string, lines ...string) Jar {
	t.Helper()
	var sets []Set
	for _, line := range lines {
		s, ok := Parse(line, path, now)
		if !ok {
			t.Fatalf("%q was not read", line)
		}
		sets = append(sets, s)
	}
	j, _ = j.Apply(sets, now)
	return j
}

func TestParseReadsWhatBrowsersRead(t *testing.T) {
	for line, want := range map[string]Cookie{
		"a=b":                                {Name: "a", Value: "b", Path: "/dir"},
		" csrftoken = x ; Path=/ ; HttpOnly": {Name: "csrftoken", Value: "x", Path: "/", HTTPOnly: true},
		"a=b=c; path=nowhere":                {Name: "a", Value: "b=c", Path: "/dir"},
		`a="q"; PATH=/x`:                     {Name: "a", Value: `"q"`, Path: "/x"},
		"a=b; Max-Age=60; Expires=" + "Thu, 01 Jan 1970 00:00:00 GMT": {Name: "a", Value: "b", Path: "/dir", Expires: now.Add(time.Minute)},
		"a=b; Expires=Wed, 21-Oct-2026 07:28:00 GMT":                  {Name: "a", Value: "b", Path: "/dir", Expires: time.Date(2026, 10, 21, 7, 28, 0, 0, time.UTC)},
		"a=; Path=/": {Name: "a", Path: "/"},
	} {
		s, ok := Parse(line, "/dir/page", now)
		if !ok || s.Cookie != want {
			t.Errorf("%q: %+v, %v", line, s.Cookie, ok)
		}
	}
	for _, line := range []string{"", "a", "=b", ";a=b", "a\x00=b", "a=b\r\nSet-Cookie: c=d", "a b=c", "a=" + strings.Repeat("x", 5000)} {
		if s, ok := Parse(line, "/", now); ok {
			t.Errorf("%.20q was read as %+v", line, s.Cookie)
		}
	}
}

func TestDeletedAndBlankCookies(t *testing.T) {
	for line, want := range map[string][2]bool{
		"a=b; Max-Age=0": {true, true}, "a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT": {true, true}, "a=deleted": {false, true},
		"a=": {false, true}, "a=%20": {false, true}, `a=""`: {false, true}, "a=x": {false, false}, "a=0": {false, false},
	} {
		s, _ := Parse(line, "/", now)
		if s.Delete != want[0] || s.Blank != want[1] {
			t.Errorf("%q: delete %v, blank %v", line, s.Delete, s.Blank)
		}
	}
}

func TestHeaderTakesTheLongestPath(t *testing.T) {
	j := set(t, Jar{}, "/", "S=root; Path=/", "S=admin; Path=/admin", "T=x; Path=/other", "U=y; Path=/; Max-Age=10")
	for path, want := range map[string]string{"/": "S=root; U=y", "/admin": "S=admin; U=y", "/admin/x": "S=admin; U=y", "/administrator": "S=root; U=y", "/other/": "S=root; T=x; U=y"} {
		got := strings.Split(j.Header(path, now), "; ")
		slices.Sort(got)
		if strings.Join(got, "; ") != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if got := j.Header("/", now.Add(time.Minute)); strings.Contains(got, "U=") {
		t.Errorf("an expired cookie: %s", got)
	}
}

func TestApplyAndBounds(t *testing.T) {
	j := set(t, Jar{}, "/", "a=1; Path=/; HttpOnly", "a=2; Path=/; HttpOnly")
	if j.Header("/", now) != "a=2" {
		t.Fatalf("the last one wins: %s", j.Header("/", now))
	}
	s, _ := Parse("a=2; Path=/; HttpOnly", "/", now)
	if _, changes := j.Apply([]Set{s}, now); len(changes) != 0 {
		t.Errorf("an unchanged cookie: %v", changes)
	}
	k := set(t, j, "/", "a=x; Path=/; Max-Age=0")
	if len(k.Cookies) != 0 || !slices.Contains(k.Guarded, "a") || len(j.Cookies) != 1 {
		t.Errorf("deleted: %+v; the jar before: %+v", k, j)
	}
}

// What browsers keep at least, RFC 6265 6.1 asks for, and the newest of more.
func TestPeople_P9_AsManyCookiesAsABrowserKeeps(t *testing.T) {
	cookies := func(n, size int) (sets []Set) {
		for i := range n {
			s, ok := Parse(fmt.Sprintf("c%03d=%s", i, strings.Repeat("x", size)), "/", now)
			if !ok {
				t.Fatal("no cookie")
			}
			sets = append(sets, s)
		}
		return sets
	}
	for _, tc := range []struct{ n, size, kept int }{
		{5, 4000, 5}, {60, 10, 60}, {50, 4091, 50}, {MaxCookies, 1, MaxCookies}, {MaxCookies + 7, 1, MaxCookies}, {60, 4091, 50},
	} {
		j, changes := (Jar{}).Apply(cookies(tc.n, tc.size), now)
		if len(j.Cookies) != tc.kept || j.Cookies[tc.kept-1].Name != fmt.Sprintf("c%03d", tc.n-1) {
			t.Errorf("%d of %d bytes: %d kept", tc.n, tc.size, len(j.Cookies))
		}
		evicted := slices.DeleteFunc(changes, func(c Change) bool { return !c.Evicted })
		if len(evicted) != tc.n-tc.kept || len(evicted) > 0 && evicted[0].Name != "c000" {
			t.Errorf("%d of %d bytes: evicted %v", tc.n, tc.size, evicted)
		}
		if v, _ := j.Bound(VisitorBytes); len(v.Cookies) > 0 && v.Cookies[len(v.Cookies)-1] != j.Cookies[tc.kept-1] || len(v.Cookies) > tc.kept {
			t.Errorf("of a visitor: %d", len(v.Cookies))
		}
	}
	one, _ := (Jar{}).Apply(cookies(1, 1), now)
	full, _ := one.Apply(cookies(MaxCookies, 1)[1:], now)
	both := Merge(one, full, set(t, one, "/", "other=1; Path=/"))
	if len(both.Cookies) != MaxCookies || !both.Has("other") {
		t.Errorf("merged: %d", len(both.Cookies))
	}
}

func policy() *Policy {
	return &Policy{Own: "mfa", Session: []*regexp.Regexp{regexp.MustCompile("^SID$")}, Script: map[string]bool{"tz": true}}
}

func TestBrowsersCookiesBeforeAndAfterVerification(t *testing.T) {
	j := set(t, Jar{}, "/", "APP=jar; Path=/", "gone=x; Path=/; HttpOnly")
	j = set(t, j, "/", "gone=; Path=/; Max-Age=0")
	p := policy()
	lines := []string{`tz=Berlin; SID=evil; s.id=x; APP=evil; app=evil; "APP"=x; gone=back; color=red; theme=dark; auth_token=x; remember_me=x; __Host-mfa=h; mfa=h; mfa-x=h; $Version=1; a="b; c; color=second; XSRF-TOKEN=t`, "late=1; A%50P=x"}
	if got := p.Up(lines, &j, "/", false, now); got != "APP=jar; tz=Berlin" {
		t.Errorf("before: %s", got)
	}
	if got := p.Up(lines, &j, "/", true, now); got != "APP=jar; tz=Berlin; color=red; theme=dark; XSRF-TOKEN=t; late=1" {
		t.Errorf("verified: %s", got)
	}
}

func TestCopiesForScripts(t *testing.T) {
	p := policy()
	for line, want := range map[string]bool{
		"csrftoken=x": true, "XSRF-TOKEN=x": true, "csrftoken=x; HttpOnly": false, "lang=de": true, "theme=dark": true, "tz=x; HttpOnly": true,
		"SID=x": false, "sessionid=x": false, "foo=x": false, "auth=x": false, "lang_session=x": false,
	} {
		s, _ := Parse(line, "/", now)
		if got := p.Down(s); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

func TestPropertyMergeKeepsBothWriters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		jar := func(label string) Jar {
			var j Jar
			for _, n := range rapid.SliceOfDistinct(rapid.StringMatching(`[a-d]`), rapid.ID).Draw(t, label) {
				j.Cookies = append(j.Cookies, Cookie{Name: n, Value: rapid.StringMatching(`[xyz]`).Draw(t, "v"), Path: "/"})
			}
			return j
		}
		base, ours := jar("base"), jar("ours")
		if got := Merge(base, ours, base); !same(got, ours) {
			t.Fatalf("nobody else wrote: %v, want %v", got, ours)
		}
		theirs := jar("theirs")
		if got := Merge(base, base, theirs); !same(got, theirs) {
			t.Fatalf("we changed nothing: %v, want %v", got, theirs)
		}
	})
}

func same(a, b Jar) bool {
	key := func(j Jar) []string {
		var out []string
		for _, c := range j.Cookies {
			out = append(out, c.Name+"="+c.Value)
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(key(a), key(b))
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a=b; Path=/; HttpOnly; Max-Age=1", "=", ";;;", "a=b; Expires=x", "a=b; Max-Age=99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		s, ok := Parse(line, "/x", now)
		if !ok {
			return
		}
		j, _ := (Jar{}).Apply([]Set{s}, now)
		h := j.Header(s.Path, now)
		if strings.ContainsAny(h, "\r\n\x00") || strings.Count(h, ";") > 0 {
			t.Fatalf("%q became the header %q", line, h)
		}
	})
}

func FuzzUp(f *testing.F) {
	f.Add(`tz=1; SID=2; a="b; c=d`)
	p := policy()
	j := Jar{Cookies: []Cookie{{Name: "SID", Value: "jar", Path: "/"}}}
	f.Fuzz(func(t *testing.T, line string) {
		h := p.Up([]string{line}, &j, "/", true, now)
		r := http.Request{Header: http.Header{"Cookie": {h}}}
		seen := map[string]bool{}
		for _, c := range r.Cookies() {
			if seen[c.Name] || c.Name == "SID" && c.Value != "jar" || strings.HasPrefix(strings.ToLower(c.Name), "mfa") {
				t.Fatalf("%q became %q", line, h)
			}
			seen[c.Name] = true
		}
	})
}

func BenchmarkUp(b *testing.B) {
	j := Jar{Cookies: []Cookie{{Name: "SID", Value: "0123456789", Path: "/"}, {Name: "lang", Value: "en", Path: "/"}}}
	p, lines := policy(), []string{"__Host-mfa=" + strings.Repeat("x", 114) + "; theme=dark"}
	b.ReportAllocs()
	for b.Loop() {
		p.Up(lines, &j, "/a/b", true, now)
	}
}
