package intake

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestAttack_C1_EverySpellingOfTheLoginIsSeenOrNotCanonical(t *testing.T) {
	for _, p := range []string{
		"/login", "//login", "/./login", "/x/../login", "/%6cogin", "/%6Cogin", "/login/", "/login/.", "/login;x", "/login;x=1/", "/login%00", "/login%00.css",
		"/login.", "/login%20", "/login%2f", "/login%5c", "/x/..;/login", "/x;a/../login", "/%252e%252e/login", "/%256cogin", "/..%c0%aflogin", "\\login", "/\\login",
		"/%5clogin", "/％６ｃogin", "/./././login", "/login//", "/login/./", "/%2flogin", "/%2e/login", "/login%09", "/login%0a",
	} {
		if !slices.Contains(trimmed(Spellings(p)), "/login") && p != "/％６ｃogin" {
			t.Errorf("%s: %q", p, Spellings(p))
		}
		decoded, _ := url.PathUnescape(p)
		if p != "/login" && p != "/login/" && Canonical(p, decoded) {
			t.Errorf("%s counts as canonical", p)
		}
	}
	if !Canonical("/login", "/login") || !Canonical("/a/b-c_d/e.f/", "/a/b-c_d/e.f/") || !Canonical("/", "/") {
		t.Error("ordinary paths are not canonical")
	}
}

func trimmed(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, strings.TrimSuffix(s, "/"))
	}
	return out
}

func TestAttack_A13_K15_PathParametersAreCut(t *testing.T) {
	for in, want := range map[string]string{
		"/a;jsessionid=1": "/a", "/a;JSESSIONID=x.y!1": "/a", "/a;jsessionid=1/b": "/a/b", "/a": "/a", "/a;x=1": "/a;x=1", "/a;jsessionid=": "/a",
		"/a;x=1;jsessionid=1;y=2/b;JSessionID=3": "/a;x=1;y=2/b", "/a%3Bjsessionid=1/b": "/a/b", "/a%3bjsessionid%3d1": "/a", "/a;jsessionid": "/a",
		"/a;%6asessionid=1": "/a", "/a;sid=1/b": "/a/b", "/a%20b;x": "/a%20b;x", "/;jsessionid=1": "/",
	} {
		if got := CutParams(in, "jsessionid", "sid"); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestAttack_K13_DropParams(t *testing.T) {
	for in, want := range map[string]string{
		"a=1&key=2&b=3": "a=1&b=3", "a=1;key=2": "a=1", "KEY=1": "", "key[]=1&a=": "a=", "%6bey=1": "", "%zz=1&a=2": "a=2", "a=key": "a=key", "": "", "key": "",
		"a=1&;&b=2": "a=1&;&b=2", " key=1": "",
	} {
		if got := DropParams(in, []string{"key"}); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestAttack_K14_Local(t *testing.T) {
	for target, want := range map[string]bool{
		"/": true, "/a/b?c=//d": true, "/a//b": true, "//evil.example": false, "///x": false, `/\evil.example`: false, "/a\\b": false, "https://x": false, "": false, "a": false,
		"/a\nb": false, "/ a": false, "/\t/evil": false, "/%5cevil": true, "/a?b=\\c": true,
	} {
		if got := Local(target); got != want {
			t.Errorf("%q: %t", target, got)
		}
	}
}

func TestAttack_J4_AmbiguousTargets(t *testing.T) {
	for target, ok := range map[string]bool{
		"/a?b=c&d=%20e": true, "/a": true, "/a?a=1;b=2": false, "/a?x=%zz": false, "/a?x=%00": false, "/a?x=%ff": false, "/a?" + strings.Repeat("a&", 300): false,
		"/a?" + strings.Repeat("a", 9000): false, "/a?x=%0a": true,
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckTarget(&http.Request{URL: u, RequestURI: target}); (err == nil) != ok {
			t.Errorf("%.40s: %v", target, err)
		}
	}
}

func TestAttack_J3_NamesThatApplicationsTakeForOne(t *testing.T) {
	for wanted, names := range map[string][]string{
		"user": {
			"user", "USER", " user", ".user", "user\x00x", "user[]", "user[a][b]", "ｕser", "\u200buser", "[user]", "user]", "[[user]]", "user[", "user\xff", "user[]x",
			"User[Login]", "\tuser", "user[0]", "[user]x", "user]x",
		},
		"login.username": {"login.username", "login_username", "login username", "login[username", "login[username]", "Login.Username", "login[username]x", "login[ username]", "login[username][]"},
		"user[login]":    {"user[login]", "user[login]x", "USER[LOGIN]", "user.login", "user_login", "user[login][]", "user[login][x]", "[user][login]", "user[login]]", "user[[login", "user[[login]]"},
	} {
		for _, name := range names {
			if !Means(name, wanted) {
				t.Errorf("%q is not taken for %q", name, wanted)
			}
		}
	}
	for wanted, names := range map[string][]string{
		"user":        {"users", "_user", "user_login", "u", "x[user]", "username"},
		"user[login]": {"user", "user[password]", "login", "user[logins]", "x[user][login]", "user[]"},
		"_username":   {"username", "__username"},
	} {
		for _, name := range names {
			if Means(name, wanted) {
				t.Errorf("%q is taken for %q", name, wanted)
			}
		}
	}
}

func TestAttack_K9_TypedNames(t *testing.T) {
	for name, want := range map[string]string{"alice": "alice", " Alice ": "alice", "Anna Maria": "anna maria", "a.b@example.com": "a.b@example.com", "": ""} {
		if got, ok := TypedUser(name); !ok || got != want {
			t.Errorf("%q: %q %t", name, got, ok)
		}
	}
	for _, name := range []string{"jos\u00e9", "ali\u017fe", "\u212aelly", "a\u200blice", "alice\x00", "alice\t", "\talice", "anna  maria", "ａlice", "a\u00adlice", "alice\n", "stra\u00dfe", "alice\xff"} {
		if got, ok := TypedUser(name); ok {
			t.Errorf("%q is taken for %q", name, got)
		}
	}
}

func TestAttack_F3_F4_FoldUser(t *testing.T) {
	for _, name := range []string{"alice", "Alice", " ALICE\t", "ａｌｉｃｅ", "a\u200blice", "\u202ealice"} {
		if got := FoldUser(name); got != "alice" {
			t.Errorf("%q folds to %q", name, got)
		}
	}
	if FoldUser("Anna  Maria") != "anna maria" || FoldUser("straße") != FoldUser("STRASSE") || FoldUser("bob") == FoldUser("b0b") {
		t.Error("folding of blanks, case or distinct names")
	}
}

func request(kind, target, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	return r
}

func TestReadGivesTheBodyBack(t *testing.T) {
	big := strings.Repeat("x", 3<<20)
	for name, tc := range map[string]struct {
		kind, body string
		limits     Limits
		status     int
	}{
		"form":             {"application/x-www-form-urlencoded", "user=a%20b&password=c", Limits{}, 0},
		"json":             {"application/json; charset=utf-8", `{"user":{"name":"a"},"n":1.50}`, Limits{}, 0},
		"opaque":           {"application/octet-stream", "\x00\x01", Limits{}, 0},
		"none":             {"", "", Limits{}, 0},
		"a large one":      {"application/octet-stream", big, Limits{}, 0},
		"too large":        {"application/json", big, Limits{}, http.StatusRequestEntityTooLarge},
		"beyond the spool": {"application/json", big, Limits{Spool: &Spool{Size: 2 << 20}}, http.StatusRequestEntityTooLarge},
		"json spooled":     {"application/json", `"` + big + `"`, Limits{Spool: &Spool{Size: 8 << 20}, Text: 8 << 20}, 0},
	} {
		r := request(tc.kind, "/x", tc.body)
		_, err := Read(r, tc.limits)
		if e, ok := errors.AsType[*Error](err); ok {
			if e.Status != tc.status {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		got, _ := io.ReadAll(r.Body)
		if err != nil || tc.status != 0 || string(got) != tc.body || r.Body.Close() != nil {
			t.Errorf("%s: %v, %d bytes", name, err, len(got))
		}
	}
}

func TestAttack_F5_LookupIsStrict(t *testing.T) {
	for name, tc := range map[string]struct {
		target, body string
		want         State
	}{
		"once":           {"/", "user=a", Exact},
		"twice":          {"/", "user=a&user=b", Ambiguous},
		"query and body": {"/?user=a", "user=b", Ambiguous},
		"query only":     {"/?user=a", "x=y", Ambiguous},
		"folded":         {"/", "User=a", Ambiguous},
		"array":          {"/", "user[]=a", Ambiguous},
		"absent":         {"/", "users=a", Absent},
	} {
		f, err := Read(request("application/x-www-form-urlencoded", tc.target, tc.body), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if v, got := f.Lookup(Body, "user"); got != tc.want || got != Exact && v != "" {
			t.Errorf("%s: %q, %v", name, v, got)
		}
	}
}

func TestJSONPaths(t *testing.T) {
	f, err := Read(request("application/json", "/", `{"a":{"b":["x",{"c":1250}]},"t":true,"z":null,"n":[1e3,1.0,-0,9007199254740993]}`), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"a.b.0": "x", "a.b.1.c": "1250", "t": "true"} {
		if got, ok := f.JSONText(path); !ok || got != want {
			t.Errorf("%s = %q, %v", path, got, ok)
		}
	}
	for i := range 4 { // numbers that readers write in several ways
		if got, ok := f.JSONText(fmt.Sprint("n.", i)); ok {
			t.Errorf("number %d is %q", i, got)
		}
	}
	for path, want := range map[string]State{"a": Exact, "A": Ambiguous, "a.B": Ambiguous, "x": Absent, "a.b.7": Absent, "t.x": Absent} {
		if got := f.JSONState(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestAttack_B9_HalvesOfLettersAreRefused(t *testing.T) {
	for text, ok := range map[string]bool{
		`{"a":"\ud800"}`: false, `{"a":"\udc00"}`: false, `{"a":"\ud83d\ude00"}`: true, `{"a":"\ud83dx"}`: false, `{"\ud800":1}`: false, `{"a":"\\ud800"}`: true, `{"a":"\uD83D\ude00\ude00"}`: false,
		`{"a":"\\\ud800"}`: false,
	} {
		if _, err := Read(request("application/json", "/", text), Limits{}); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzReadForm(f *testing.F) {
	for _, s := range []string{"user=a&password=b", "a%00=b", "user[]=1&user=2", "%", "=&=&", "a=%c0%af"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, query, body string) {
		r := request("application/x-www-form-urlencoded", "/", body)
		r.URL.RawQuery = query
		form, err := Read(r, Limits{Memory: 4096})
		if err != nil {
			return
		}
		v, state := form.Lookup(Any, "user")
		if state == Exact && strings.Count(query+"&"+body, "ser") == 0 && v != "" && !strings.Contains(query+body, "%") {
			t.Fatalf("a user out of nothing: %q", v)
		}
		sameAgain(t, r, form)
	})
}

// sameAgain holds what is forwarded against what was read: whoever reads it finds
// the same fields.
func sameAgain(t *testing.T, r *http.Request, f *Form) {
	t.Helper()
	f.Forward(r)
	again, err := Read(r, Limits{Memory: 1 << 20})
	if err != nil {
		t.Fatalf("what is forwarded is refused: %v", err)
	}
	if len(again.fields) != len(f.fields) {
		t.Fatalf("%d fields became %d", len(f.fields), len(again.fields))
	}
	for i, x := range again.fields {
		was := f.fields[i]
		if x.source == Query && strings.Contains(was.pair, ";") {
			continue // "a;b" is one field of that name, and is written so
		}
		if x.name != was.name || x.unread != was.unread || !x.unread && x.value != was.value {
			t.Fatalf("%+v became %+v", was, x)
		}
	}
}

func FuzzReadMultipart(f *testing.F) {
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\na\r\n--b--\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := request("multipart/form-data; boundary=b", "/", string(body))
		form, err := Read(r, Limits{Memory: 1 << 16})
		if err != nil {
			return
		}
		sameAgain(t, r, form)
	})
}

func FuzzReadJSON(f *testing.F) {
	for _, s := range []string{`{"a":{"b":1}}`, `{"a":1,"A":2}`, `[[[]]]`, `"x"`, `{"a":1} `, "\ufeff{}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		form, err := Read(request("application/json", "/", body), Limits{Memory: 1 << 16})
		if err != nil {
			return
		}
		form.JSONText("a.b.0")
		if form.JSONState("user") == Exact && !strings.Contains(body, "user") && !strings.Contains(body, `\u`) {
			t.Fatal("a key out of nothing")
		}
	})
}

func FuzzSpellings(f *testing.F) {
	for _, s := range []string{"/a/../b", "/%2e%2e;/x", "/%c0%af", "//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list := Spellings(s)
		if len(list) == 0 || len(list) > 64 {
			t.Fatalf("%d spellings", len(list))
		}
		for _, p := range list {
			if !strings.HasPrefix(p, "/") || strings.Contains(p, "//") || strings.Contains(p, "/../") {
				t.Fatalf("%q is not clean", p)
			}
		}
	})
}

func BenchmarkReadLoginForm(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		f, err := Read(request("application/x-www-form-urlencoded", "/login", "user=alice&password=secret&next=%2F"), Limits{})
		if err != nil {
			b.Fatal(err)
		}
		f.Lookup(Body, "user")
	}
}

func TestAttack_D1_D2_C7_Strip(t *testing.T) {
	h := http.Header{}
	for _, name := range []string{
		"Authorization", "Proxy-Authorization", "Remote-User", "Remote_User", "Remote.User", "Remote~User", "X-Forwarded-User", "X_Forwarded_User", "X-Original-Url", "X_Original_Url",
		"X-Key", "X_Key", "x-KEY", "X-Auth-Request-User", "X+Webauth+User",
	} {
		h[name] = []string{"x"}
	}
	kept := []string{"Accept", "User-Agent", "X-Requested-With", "X-User", "X-Forwarded-For", "X-Csrf-Token", "Webhook_x", "Remote-Users", ":protocol"}
	for _, name := range kept {
		h[name] = []string{"x"}
	}
	if Strip(h, []string{"x-key"}); len(h) != len(kept) {
		t.Fatalf("left: %v", h)
	}
	for _, name := range kept {
		if len(h[name]) != 1 {
			t.Errorf("%s is gone", name)
		}
	}
	for name := range told {
		if http.CanonicalHeaderKey(name) != name {
			t.Errorf("%s could never be met", name)
		}
	}
}

// A page of a wiki that a verified user saves is longer than any name.
func TestLongFieldsPassAndAreNotRead(t *testing.T) {
	part := func(name, value string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	text := part("page", strings.Repeat("x", 300<<10)) + part("user", "alice") + part("long", strings.Repeat("y", 65<<10)) + "--b--\r\n"
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(text))
	r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	f, err := Read(r, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if v, state := f.Lookup(Body, "user"); v != "alice" || state != Exact {
		t.Errorf("user: %q, %v", v, state)
	}
	for _, name := range []string{"page", "long"} {
		if v, state := f.Lookup(Any, name); v != "" || state != Ambiguous {
			t.Errorf("%s: %d bytes, %v", name, len(v), state)
		}
	}
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != text {
		t.Errorf("the body was not put back: %d bytes, %v", len(body), err)
	}
}

// TestNamesWithoutCase: each is there once, whatever its case, and where it belongs.
func TestNamesWithoutCase(t *testing.T) {
	read := func(query, kind, body string) *Form {
		r := httptest.NewRequest(http.MethodPut, "/x?"+query, strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		f, err := Read(r, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	const form, js = "application/x-www-form-urlencoded", "application/json"
	for name, tc := range map[string]struct {
		form   *Form
		source Source
		value  string
		state  State
	}{
		"query":           {read("Api_Key=x", js, "{}"), Query, "x", Exact},
		"not in the body": {read("api_key=x", js, "{}"), Body, "", Absent},
		"form":            {read("", form, "API_KEY=x"), Body, "x", Exact},
		"form, as query":  {read("", form, "API_KEY=x"), Query, "", Absent},
		"json":            {read("", js, `{"Api_key":"x"}`), Body, "x", Exact},
		"json, as query":  {read("", js, `{"Api_key":"x"}`), Query, "", Absent},
		"json number":     {read("", js, `{"api_key":12}`), Body, "12", Exact},
		"json null":       {read("", js, `{"api_key":null}`), Body, "", Absent},
		"json array":      {read("", js, `{"api_key":["x"]}`), Body, "", Ambiguous},
		"twice":           {read("api_key=x&API_KEY=x", js, "{}"), Query, "", Ambiguous},
		"deep":            {read("", js, `{"a":{"api_key":"x"}}`), Body, "", Absent},
	} {
		if value, state := tc.form.Named(tc.source, "api_key"); value != tc.value || state != tc.state {
			t.Errorf("%s: %q %v", name, value, state)
		}
	}
}
