package login

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

func filler(t *testing.T, change func(*Config)) Rules {
	t.Helper()
	c := Config{
		Name: "form", Paths: []string{"/login"}, User: &User{Source: Form, Name: "user"}, Password: &Field{Source: Form, Name: "pw"},
		Identity: &Identity{Path: "/me", Pattern: "I am (.)"},
	}
	if change != nil {
		change(&c)
	}
	r, err := c.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return Rules{r}
}

// TestFillsForms: what a browser would send of a page that nobody has touched, with
// name and password.
func TestFillsForms(t *testing.T) {
	const fields = `<input name=user value=old><input name=pw type=password>`
	anyPath := func(c *Config) { c.Paths, c.AnyPath, c.Fields = nil, true, []string{"user", "pw"} }
	for name, tc := range map[string]struct {
		change func(*Config)
		page   string
		want   string // target and body; "" where there is nothing to fill in
	}{
		"plain":                   {nil, `<form method=post action=/login>` + fields + `</form>`, "/login user=alice&pw=p%26w"},
		"no action: the page":     {nil, `<form method=POST>` + fields + `</form>`, "/login?next=%2F user=alice&pw=p%26w"},
		"relative":                {nil, `<form method=post action="login?x=1">` + fields + `</form>`, "/login?x=1 user=alice&pw=p%26w"},
		"absolute, inner port":    {nil, `<form method=post action="http://APP.example:8080/login">` + fields + `</form>`, "/login user=alice&pw=p%26w"},
		"base":                    {nil, `<base href="/x/"><form method=post action="../login">` + fields + `</form>`, "/login user=alice&pw=p%26w"},
		"another host":            {nil, `<form method=post action="http://evil.example/login">` + fields + `</form>`, ""},
		"another path":            {nil, `<form method=post action="/search">` + fields + `</form>`, ""},
		"any path":                {anyPath, `<form method=post action="/search">` + fields + `</form>`, "/search user=alice&pw=p%26w"},
		"by GET":                  {nil, `<form action="/login">` + fields + `</form>`, ""},
		"by GET, as the rule":     {func(c *Config) { c.Methods = []string{"GET"} }, `<form action="/login?gone=1">` + fields + `</form>`, "/login?user=alice&pw=p%26w "},
		"without a password":      {nil, `<form method=post action="/login"><input name=user></form>`, ""},
		"the second form":         {nil, `<form method=post action="/login"><input name=q></form><form method=post action="/login">` + fields + `</form>`, "/login user=alice&pw=p%26w"},
		"hidden, and the button":  {nil, `<form method=post action=/login><input type=hidden name=csrf value="a b">` + fields + `<button name=go value=1>Go</button><input type=submit name=other value=2></form>`, "/login csrf=a+b&user=alice&pw=p%26w&go=1"},
		"input as the button":     {nil, `<form method=post action=/login>` + fields + `<button type=button name=no value=1></button><input type=submit name=go value=in></form>`, "/login user=alice&pw=p%26w&go=in"},
		"boxes":                   {nil, `<form method=post action=/login>` + fields + `<input type=checkbox name=a value=1><input type=checkbox name=b checked><input type=radio name=r value=1><input type=radio name=r value=2 checked></form>`, "/login user=alice&pw=p%26w&b=on&r=2"},
		"disabled, file, reset":   {nil, `<form method=post action=/login>` + fields + `<input name=d value=1 disabled><input type=file name=f><input type=reset name=x value=1></form>`, "/login user=alice&pw=p%26w"},
		"select and textarea":     {nil, `<form method=post action=/login>` + fields + `<select name=s><option value=1>A<option value=2 selected>B</select><select name=t><option> A  x </select><textarea name=u>` + "\n" + `hi</textarea></form>`, "/login user=alice&pw=p%26w&s=2&t=A+x&u=hi"},
		"outside, by its name":    {nil, `<input name=user form=f><form id=f method=post action=/login><input name=pw><input name=no form=g></form>`, "/login user=alice&pw=p%26w"},
		"a field more":            {func(c *Config) { c.Fill = &Fill{Fields: []match.Pair{{Name: "realm", Value: "x"}}} }, `<form method=post action=/login>` + fields + `<input name=realm></form>`, "/login user=alice&pw=p%26w&realm=x"},
		"a field more, not there": {func(c *Config) { c.Fill = &Fill{Fields: []match.Pair{{Name: "realm", Value: "x"}}} }, `<form method=post action=/login>` + fields + `</form>`, ""},
		"the name is the answer's": {func(c *Config) {
			c.User, c.Fill = &User{Source: AnswerCookie, Name: "u"}, &Fill{Fields: []match.Pair{{Name: "user", Value: "{user}"}}}
		}, `<form method=post action=/login>` + fields + `</form>`, "/login user=alice&pw=p%26w"},
		"nothing": {nil, ``, ""},
	} {
		t.Run(name, func(t *testing.T) {
			at := &url.URL{Host: "app.example", Path: "/login", RawQuery: "next=%2F"}
			f, err := filler(t, tc.change).Fill(at, &upstream.Reply{Status: 200, Body: []byte(tc.page)}, "alice", "p&w")
			if tc.want == "" {
				if !errors.Is(err, ErrNoForm) || strings.Contains(err.Error(), "p&w") {
					t.Fatalf("%v %v", f, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Target + " " + string(f.Body); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestFillsJSON(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"paths": {func(c *Config) { c.User, c.Password = &User{Source: JSON, Name: "a.user"}, &Field{JSON, "a.pw"} }, `/login {"a":{"pw":"p\u0026w","user":"alice"}}`},
		"an array, and what the rule matches": {func(c *Config) {
			c.User, c.Password, c.JSON = &User{Source: Constant, Name: "one"}, &Field{JSON, "params.0"}, &match.Pair{Name: "method", Value: "auth"}
			c.Fill = &Fill{Fields: []match.Pair{{Name: "id", Value: "1"}}}
		}, `/login {"id":"1","method":"auth","params":["p\u0026w"]}`},
		"a pattern for a path": {func(c *Config) { c.Paths, c.Password = []string{"/x/*/login"}, &Field{JSON, "pw"} }, ""},
		"and the path of it": {func(c *Config) {
			c.Paths, c.Password, c.Fill = []string{"/x/*/login"}, &Field{JSON, "pw"}, &Fill{Path: "/x/y/login", Fields: []match.Pair{{Name: "id", Value: "{user}"}}}
		}, `/x/y/login {"id":"alice","pw":"p\u0026w"}`},
		"two in one place": {func(c *Config) { c.User, c.Password = &User{Source: JSON, Name: "a"}, &Field{JSON, "a.pw"} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := filler(t, tc.change).Fill(&url.URL{Path: "/"}, &upstream.Reply{}, "alice", "p&w")
			if tc.want == "" {
				if !errors.Is(err, ErrNoForm) {
					t.Fatal(err)
				}
				return
			}
			if err != nil || f.Method != http.MethodPost || f.ContentType != "application/json" || f.Target+" "+string(f.Body) != tc.want {
				t.Errorf("%v %s %s, want %s", err, f.Target, f.Body, tc.want)
			}
		})
	}
}
