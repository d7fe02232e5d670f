package gate_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/limit"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/loginradius"
)

const (
	apiKey    = "11111111-2222-4333-8444-555555555555"
	apiSecret = "a-secret-of-the-tests"
	otherKey  = "99999999-2222-4333-8444-555555555555"
)

// withAPI turns the API on, with two clients.
func withAPI(g *gate.Gate, rule *login.Config) {
	compiled, err := rule.Compile()
	if err != nil {
		panic(err)
	}
	api := &loginradius.API{
		Flow: g.Flow, Prefix: "/identity/v2", Rules: login.Rules{compiled}, LoginPage: "/login",
		Clients: []*loginradius.Client{
			{Key: apiKey, Secret: apiSecret, Logins: limit.Rate{N: 1000, Window: time.Hour}, Origins: []string{"https://www.example.com"}},
			{Key: otherKey, Secret: "another-secret-of-the-tests", Logins: limit.Rate{N: 3, Window: time.Hour}},
		},
	}
	g.API, g.APIPrefix = api.Serve, api.Prefix
}

// selfEnrolled lets users name their numbers.
func selfEnrolled(g *gate.Gate, _ *login.Config) {
	g.Site.Enroll, g.Flow.Directory = flow.Self, nil
}

// form is an application with a login form as they are: it refuses a post without
// the page's token and the button's value.
type form struct {
	*legacy
	posts int
}

func (f *form) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/login" && r.Method == http.MethodGet:
		rec := httptest.NewRecorder()
		f.legacy.ServeHTTP(rec, r)
		for _, line := range rec.Header()["Set-Cookie"] {
			w.Header().Add("Set-Cookie", line)
		}
		http.SetCookie(w, &http.Cookie{Name: "csrf", Value: "c1", Path: "/"})
		_, _ = fmt.Fprint(w, `<form action="/search"><input name=q></form><form method=post action="/login"><input type=hidden name=token value="t&amp;1">
			<input name=user><input name=password type=password><input type=checkbox name=remember value=1><button name=go value=in>Sign in</button></form>`)
	case r.URL.Path == "/login":
		f.posts++
		c, err := r.Cookie("csrf")
		if err != nil || c.Value != "c1" || r.PostFormValue("token") != "t&1" || r.PostFormValue("go") != "in" || r.PostForm.Has("remember") || r.Header.Get("Origin") == "" {
			http.Error(w, "where do you come from?", http.StatusBadRequest)
			return
		}
		if r.PostFormValue("password") == "pw-b" {
			r.PostForm.Set("user", "bob") // the application goes by the password, whatever the name
		}
		f.legacy.ServeHTTP(w, r)
	default:
		http.SetCookie(w, &http.Cookie{Name: "csrf", Value: "c2", Path: "/"})
		f.legacy.ServeHTTP(w, r)
	}
}

func apiWorld(t *testing.T, b backend, nodes int, cfg ...config) *world {
	t.Helper()
	return newWorld(t, b, nodes, &form{legacy: newLegacy()}, append(cfg, withAPI)...)
}

// eachAPI runs a test in a world with the API, over every store.
func eachAPI(t *testing.T, f func(t *testing.T, w *world), cfg ...config) {
	t.Helper()
	stores(t, func(t *testing.T, open func(t *testing.T) backend) { f(t, apiWorld(t, open(t), 1, cfg...)) })
}

type object = map[string]any

// call makes a call of the API. body is JSON, "" for none.
func (c *client) call(method, path, query, body string, head ...string) object {
	c.w.t.Helper()
	if !strings.Contains(strings.ToLower(query), "apikey=") {
		query = "apikey=" + apiKey + "&" + query
	}
	head = append([]string{"Accept", "application/json", "Content-Type", "application/json"}, head...)
	c.do(method, "/identity/v2"+path+"?"+strings.TrimSuffix(query, "&"), body, head...)
	var out object
	if c.body != "" {
		if err := json.Unmarshal([]byte(c.body), &out); err != nil {
			c.w.t.Fatalf("%s %s: %d %q", method, path, c.status, c.body)
		}
	}
	return out
}

// ok is a call that must succeed.
func (c *client) ok(method, path, query, body string, head ...string) object {
	c.w.t.Helper()
	out := c.call(method, path, query, body, head...)
	if c.status != http.StatusOK || strings.Contains(strings.ToLower(c.body), "description") {
		c.w.t.Fatalf("%s %s: %d %s\n%s", method, path, c.status, c.body, c.w.events)
	}
	return out
}

// no is a call that must be refused with this number of LoginRadius'.
func (c *client) no(code int, method, path, query, body string, head ...string) {
	c.w.t.Helper()
	out := c.call(method, path, query, body, head...)
	if out["ErrorCode"] != float64(code) || c.status < 400 || out["Message"] == "" || out["Description"] == "" || out["IsProviderError"] != false {
		c.w.t.Fatalf("%s %s: %d %s, want %d\n%s", method, path, c.status, c.body, code, c.w.events)
	}
}

// password is the first factor by the API; it returns the second-factor token.
func (c *client) password(user string, head ...string) string {
	c.w.t.Helper()
	out := c.ok("POST", "/auth/login/2fa", "", fmt.Sprintf(`{"username":%q,"password":%q}`, user, passwords[user]), head...)
	second, ok := out["SecondFactorAuthentication"].(object)
	if !ok || out["access_token"] != "00000000-0000-0000-0000-000000000000" {
		c.w.t.Fatalf("first factor of %s: %s", user, c.body)
	}
	return second["SecondFactorAuthenticationToken"].(string) //nolint:forcetypeassert // a test may panic
}

// stepUp proves the second factor once more, for what the query says.
func (c *client) stepUp(user, query string, access ...string) {
	c.w.t.Helper()
	c.ok("GET", "/auth/account/reauth/2fa", query, "", access...)
	c.ok("PUT", "/auth/account/reauth/2fa/otp", "", `{"otp":"`+c.w.phones.last(c.w.t, user)+`"}`, access...)
}

// tokens signs a user in by the API.
func (c *client) tokens(user string) (access, refresh string) {
	c.w.t.Helper()
	second := c.password(user)
	out := c.ok("PUT", "/auth/login/2fa/verification/otp", "secondfactorauthenticationtoken="+second, `{"otp":"`+c.w.phones.last(c.w.t, user)+`"}`)
	return out["access_token"].(string), out["refresh_token"].(string) //nolint:forcetypeassert // a test may panic
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func TestAPILogin(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		for i, word := range []string{"email", "UserName", "phone"} {
			out := c.ok("POST", "/Auth/Login/2FA/", "smsTemplate2FA=&isVoiceOtp=", `{"`+word+`":"alice","Password":"pw-a","stayLogin":true}`)
			s, _ := out["SecondFactorAuthentication"].(object)
			status, _ := s["OTPStatus"].(object)
			if s["IsOTPAuthenticatorVerified"] != true || s["OTPPhoneNo"] != "XXXXXXXX56" || status["AccountSid"] == "" || s["IsGoogleAuthenticatorVerified"] != false {
				t.Fatalf("%s: %s", word, c.body)
			}
			second := fmt.Sprint(s["SecondFactorAuthenticationToken"])
			if i == 0 {
				c.no(1067, "PUT", "/auth/login/2fa/verification/otp", "secondFactorAuthenticationToken="+second, `{"Otp":"000000"}`)
			}
			out = c.ok("PUT", "/auth/login/2FA/Verification/otp/", "secondFactorAuthenticationToken="+second, `{"OTP":"`+w.phones.last(t, "alice")+`"}`)
			profile, _ := out["Profile"].(object)
			if profile["UserName"] != "alice" || len(fmt.Sprint(profile["Uid"])) != 32 || out["SecondFactorAuthentication"] != nil || len(c.cookies) > 0 {
				t.Fatalf("%s: %s %v", word, c.body, c.cookies)
			}
			access := fmt.Sprint(out["access_token"])
			if c.get("/home", bearer(access)...); c.body != marker+" of alice" || len(c.cookies) > 0 {
				t.Fatalf("%d %s %v", c.status, c.body, c.cookies)
			}
			if h := w.app.head().Get("Authorization"); h != "" {
				t.Fatalf("the application saw %q", h)
			}
			w.browser().out()
		}
		if n := w.events.count(event.LoginRecognised, event.OK); n != 3 {
			t.Fatalf("%d logins", n)
		}
	})
}

// TestAPISameOrigin: a page of the site gets the handle, no other caller does.
func TestAPISameOrigin(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		second := c.password("alice", "Sec-Fetch-Site", "same-origin")
		if len(c.cookies) > 0 {
			t.Fatal("a handle before the code")
		}
		c.ok("PUT", "/auth/login/2fa/verification/otp", "secondfactorauthenticationtoken="+second, `{"otp":"`+w.phones.last(t, "alice")+`"}`, "Sec-Fetch-Site", "same-origin")
		c.in("alice")

		// Bob signs in on the same page: alice's handle is over.
		old := c.copy()
		second = c.password("bob", "Sec-Fetch-Site", "same-origin")
		c.in("alice")
		c.ok("PUT", "/auth/login/2fa/verification/otp", "secondfactorauthenticationtoken="+second, `{"otp":"`+w.phones.last(t, "bob")+`"}`, "Sec-Fetch-Site", "same-origin")
		c.in("bob")
		old.out()
	})
}

// TestAPIOverBasic: where HTTP Basic is the first factor, the API proves the
// password by the probe, and the call itself is the wish for a text.
func TestAPIOverBasic(t *testing.T) {
	eachApp(t, guarded, func(t *testing.T, w *world) {
		c := w.browser()
		c.no(966, "POST", "/auth/login/2fa", "", `{"username":"alice","password":"pw-b"}`)
		c.no(966, "POST", "/auth/login/2fa", "", `{"username":"alice:pw-a","password":"x"}`)
		if w.phones.count() != 0 {
			t.Fatal("a text for a wrong password")
		}
		c.tokens("alice")
		if n := w.phones.count(); n != 1 {
			t.Fatalf("%d texts", n)
		}
		for _, seen := range w.app.requests() {
			if seen != "GET /probe" {
				t.Fatalf("the application saw %s", seen)
			}
		}
	}, overBasic, withAPI)
}

func TestAPITokens(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		access, refresh := c.tokens("alice")
		for _, q := range []struct {
			query string
			head  []string
		}{
			{"access_token=" + access, nil}, {"", bearer(access)}, {"access_token=" + access, bearer(access)}, {"access_token=" + strings.ToUpper(access), bearer(access)},
		} {
			if out := c.ok("GET", "/auth/access_token/Validate", q.query, "", q.head...); out["access_token"] != access || out["expires_in"] == "" {
				t.Fatalf("%s", c.body)
			}
		}
		c.ok("GET", "/auth/access_token", "", "", bearer(access)...)
		for _, other := range []string{access, "Token " + access, "Basic " + access, "Bearer " + refresh} {
			if c.get("/home", "Authorization", other); strings.Contains(c.body, marker) {
				t.Fatalf("%s opens the application", other)
			}
		}
		c.no(905, "GET", "/auth/access_token/validate", "access_token="+refresh, "", bearer(access)...)
		c.no(1060, "GET", "/auth/access_token/validate", "", "")
		c.no(905, "GET", "/auth/access_token/validate", "", "", "Authorization", "Basic YTpi")
		c.no(905, "GET", "/auth/access_token/validate", "access_token="+access[:35], "")
		c.no(906, "GET", "/auth/access_token/validate", "access_token="+refresh, "")

		c.no(923, "GET", "/manage/account/access_token/refresh", "refresh_token="+refresh, "")
		secret := []string{"X-LoginRadius-ApiSecret", apiSecret}
		c.no(906, "GET", "/manage/account/access_token/refresh", "refresh_token="+access, "", secret...)
		out := c.ok("GET", "/manage/account/access_token/refresh", "refresh_Token="+refresh, "", secret...)
		c.no(906, "GET", "/manage/account/access_token/refresh", "refresh_token="+refresh, "", secret...)
		fresh := fmt.Sprint(out["access_token"])
		if c.get("/home", bearer(fresh)...); c.body != marker+" of alice" {
			t.Fatalf("%d %s", c.status, c.body)
		}
		c.ok("GET", "/auth/access_token/InValidate", "", "", bearer(fresh)...)
		for _, token := range []string{access, fresh} {
			c.no(906, "GET", "/auth/access_token/validate", "", "", bearer(token)...)
			if c.get("/home", bearer(token)...); strings.Contains(c.body, marker) {
				t.Fatal("a token of an ended session opens the application")
			}
		}
		c.no(906, "GET", "/manage/account/access_token/refresh", "refresh_token="+fmt.Sprint(out["refresh_token"]), "", secret...)
	})
}

// TestAttack_F8_TokensOfTheAPI: whatever a token is but the one that was given to
// this client for this purpose at this site, it opens nothing and costs no text.
func TestAttack_F8_TokensOfTheAPI(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		second := c.password("alice")
		code := w.phones.last(t, "alice")
		texts := w.phones.count()
		otp, body := "/auth/login/2fa/verification/otp", `{"otp":"`+code+`"}`
		c.no(1103, "PUT", otp, "", body)
		for token, want := range map[string]int{
			second[:35]: 1103, second + "0": 1103, "x" + second[1:]: 1103, strings.ReplaceAll(second, "-", ""): 1103, "{" + second[1:]: 1103,
			"00000000-0000-0000-0000-000000000000": 1104, "32ba53ff-0000-4000-8000-000000000000": 1104, flip(second): 1104,
		} {
			c.no(want, "PUT", otp, "secondfactorauthenticationtoken="+url.QueryEscape(token), body)
			c.no(want, "GET", "/auth/login/2fa/resend", "secondfactorauthenticationtoken="+url.QueryEscape(token), "")
			c.no(want, "PUT", "/auth/login/2fa", "secondfactorauthenticationtoken="+url.QueryEscape(token), `{"phoneno2fa":"+447400999999"}`)
		}
		// Another client, another site, another purpose.
		c.no(1104, "PUT", otp, "apikey="+otherKey+"&secondfactorauthenticationtoken="+second, body)
		c.no(1104, "PUT", otp, "secondfactorauthenticationtoken="+second, body, "Host", "other.example")
		c.no(906, "GET", "/auth/access_token/validate", "access_token="+second, "")
		for _, head := range [][]string{bearer(second), {"Authorization", second}, {"Cookie", w.cookie() + "=" + second}} {
			if c.get("/home", head...); strings.Contains(c.body, marker) {
				t.Fatalf("%v opens the application", head)
			}
		}
		// A browser's pending session is not the API's, and the other way round.
		b := w.browser()
		b.get("/login")
		if b.post("/login", url.Values{"user": {"bob"}, "password": {"pw-b"}, "token": {"t&1"}, "go": {"in"}}, "Origin", "http://"+w.nodes[0].Listener.Addr().String()); b.head.Get("Location") != "/mfa" {
			t.Fatalf("bob by the browser: %d %s", b.status, b.body)
		}
		c.no(1104, "PUT", otp, "secondfactorauthenticationtoken="+b.token(), `{"otp":"`+w.phones.last(t, "bob")+`"}`)
		if b.post("/mfa/verify", url.Values{"otp": {code}, "secondfactorauthenticationtoken": {second}}); b.status == http.StatusSeeOther {
			t.Fatal("the API's token and code open a browser's session")
		}
		if n := w.phones.count() - texts; n != 1 {
			t.Fatalf("%d texts", n)
		}
		access := fmt.Sprint(c.ok("PUT", otp, "secondfactorauthenticationtoken="+second, body)["access_token"])
		c.no(1104, "PUT", otp, "secondfactorauthenticationtoken="+second, body)
		c.no(906, "GET", "/auth/access_token/validate", "apikey="+otherKey, "", bearer(access)...)
		c.no(906, "GET", "/auth/access_token/validate", "", "", append(bearer(access), "Host", "other.example")...)
		if c.get("/home", append(bearer(access), "Host", "other.example")...); strings.Contains(c.body, marker) {
			t.Fatal("a token of another site opens the application")
		}
		// A handle beside the token must be the same session's.
		b.code(w.phones.last(t, "bob"))
		if b.in("bob").get("/home", bearer(access)...); b.status != http.StatusUnauthorized {
			t.Fatalf("alice's token beside bob's handle: %d %s", b.status, b.body)
		}
	})
}

// flip changes a token's last digit.
func flip(token string) string {
	last := "0"
	if strings.HasSuffix(token, "0") {
		last = "1"
	}
	return token[:len(token)-1] + last
}

func TestAttack_F7_KeysAndSecretsOfTheAPI(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		body := `{"username":"alice","password":"pw-a"}`
		for query, want := range map[string]int{
			"apikey=": 922, "apiKey=short": 920, "apikey=" + apiKey + "%00": 908, "apikey=" + strings.Repeat("a", 300): 920, "apikey=" + flip(apiKey): 901,
			"apikey=" + apiKey + "&APIKEY=" + apiKey: 908, "apikey=" + apiKey + ";x=1": 908, "apikey=" + apiKey + "&x=%zz": 908,
		} {
			c.no(want, "POST", "/auth/login/2fa", query, body)
		}
		c.no(920, "POST", "/auth/login/2fa", "", body, "X-LoginRadius-ApiKey", otherKey)
		c.ok("POST", "/auth/login/2fa", "apikey=&", body, "X-LoginRadius-ApiKey", apiKey)
		uid := strings.Repeat("0", 32)
		for _, head := range [][]string{
			{"X-LoginRadius-ApiSecret", "another-secret-of-the-tests"}, {"X-LoginRadius-ApiSecret", apiSecret + "x"}, {"X-LoginRadius-ApiSecret", apiKey},
		} {
			c.no(902, "GET", "/manage/account/2fa/backupcode", "uid="+uid, "", head...)
		}
		c.no(902, "GET", "/manage/account/2fa/backupcode", "apisecret=wrong-secret&uid="+uid, "", "X-LoginRadius-ApiSecret", apiSecret)
		c.no(921, "GET", "/manage/account/2fa/backupcode", "uid="+uid, "", "X-LoginRadius-ApiSecret", "x")
		c.no(923, "GET", "/manage/account/2fa/backupcode", "uid="+uid, "")
		c.no(1292, "GET", "/manage/account/2fa/backupcode", "apiSecret="+apiSecret+"&uid="+uid, "")
		if n := w.phones.count(); n != 1 {
			t.Fatalf("%d texts", n)
		}
	})
}

// TestAPIRequests: what can be read in two ways, and the ways that the clients of
// LoginRadius have.
func TestAPIRequests(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		login := "/auth/login/2fa"
		for _, body := range []string{
			``, `{}`, `[]`, `{`, `"x"`, `{"username":"alice"}`, `{"password":"pw-a"}`, `{"username":"alice","password":"pw-a","Password":"pw-a"}`,
			`{"username":"alice","email":"alice","password":"pw-a"}`, `{"username":["alice"],"password":"pw-a"}`, `{"username":"alice","password":{}}`,
			`{"username":"alice","password":"pw-a"} {}`, `{"username":"al\u0000ice","password":"pw-a"}`, `{"username":"` + strings.Repeat("a", 300) + `","password":"pw-a"}`,
			`{"username":"alice","password":"` + strings.Repeat("a", 20<<10) + `"}`,
		} {
			c.no(965, "POST", login, "", body)
		}
		c.no(965, "POST", login, "", `{"username":"alice","password":"pw-a"}`, "Content-Type", "text/plain")
		for _, method := range []string{"GET", "DELETE", "PATCH", "OPTIONS"} {
			if c.call(method, login, "", ""); c.status != http.StatusMethodNotAllowed || c.head.Get("Allow") != "POST, PUT" {
				t.Fatalf("%s: %d %s", method, c.status, c.body)
			}
		}
		for _, path := range []string{"", "/", "/auth", "/auth/login", "/auth/login/2fa/x", "/manage/account/a/b/reauth/2fa"} {
			if c.call("GET", path, "", ""); c.status != http.StatusNotFound && c.status != http.StatusUnauthorized {
				t.Fatalf("%s: %d %s", path, c.status, c.body)
			}
		}
		// A strange spelling is no call: it is gated, and so nothing is tried.
		for _, target := range []string{"//identity/v2/auth/login/2fa", "/identity/v2/./auth/login/2fa", "/%69dentity/v2/auth/login/2fa", "/x/../identity/v2/auth/login/2fa", "/identity/v2/auth%2flogin/2fa", "/identity/v2/auth/login/2fa;x=1"} {
			c.do("POST", target+"?apikey="+apiKey, `{"username":"alice","password":"pw-a"}`, "Content-Type", "application/json", "Accept", "application/json")
			if c.status < 400 || strings.Contains(c.body, "SecondFactorAuthenticationToken\":\"") {
				t.Fatalf("%s: %d %s", target, c.status, c.body)
			}
		}
		if n := w.phones.count(); n != 0 {
			t.Fatalf("%d texts", n)
		}
		c.ok("POST", login, "", "username=alice&password=pw-a", "Content-Type", "application/x-www-form-urlencoded")
		access, _ := c.tokens("bob")
		// Go's client sends a body with GET, and says that it is a form.
		c.ok("GET", "/auth/account", "", "\"\"\n", append(bearer(access), "Content-Type", "application/x-www-form-urlencoded")...)
		for fields, want := range map[string]string{
			"Uid,username": "Uid UserName", "*": "", "Email/Type,uid": "Email Uid", "email(value),Uid": "Email Uid", "Uid(": "no", "Uid,,x": "no", "/": "no", "nothing": "none",
		} {
			if want == "no" {
				c.no(908, "GET", "/auth/account", "fields="+url.QueryEscape(fields), "", bearer(access)...)
				continue
			}
			out := c.ok("GET", "/auth/account", "fields="+url.QueryEscape(fields), "", bearer(access)...)
			for name := range strings.FieldsSeq(want) {
				if _, ok := out[name]; !ok && name != "none" {
					t.Fatalf("%s: %s", fields, c.body)
				}
			}
			if want != "" && want != "none" && len(out) != len(strings.Fields(want)) || want == "none" && len(out) > 0 || want == "" && len(out) < 10 {
				t.Fatalf("%s: %s", fields, c.body)
			}
		}
		c.no(908, "GET", "/auth/account/reauth/2fa", "smstemplate2fa=nope", "", bearer(access)...)
		c.no(908, "POST", login, "smstemplate2fa=nope", `{"username":"alice","password":"pw-a"}`)
	})
}

func TestAPICORS(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		login, body := "/auth/login/2fa", `{"username":"alice","password":"pw-a"}`
		pre := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type"}
		if c.call("OPTIONS", login, "", "", append(pre, "Origin", "https://www.example.com")...); c.status != http.StatusNoContent ||
			c.head.Get("Access-Control-Allow-Origin") != "https://www.example.com" || c.head.Get("Access-Control-Allow-Credentials") != "" || !strings.Contains(c.head.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Fatalf("%d %v", c.status, c.head)
		}
		for _, origin := range []string{"https://evil.example", "null", "http://www.example.com", "https://www.example.com.evil.example", "https://www.example.com:8443"} {
			c.no(1143, "OPTIONS", login, "", "", append(pre, "Origin", origin)...)
			if c.head.Get("Access-Control-Allow-Origin") != "" {
				t.Fatalf("%s: %v", origin, c.head)
			}
			c.no(1143, "POST", login, "", body, "Origin", origin)
		}
		c.no(1143, "POST", login, "apikey="+otherKey, body, "Origin", "https://www.example.com")
		if n := w.phones.count(); n != 0 {
			t.Fatalf("%d texts", n)
		}
		c.ok("POST", login, "", body, "Origin", "https://www.example.com")
		if c.head.Get("Access-Control-Allow-Origin") != "https://www.example.com" {
			t.Fatalf("%v", c.head)
		}
	})
}

// TestAttack_H1_APasswordIsNoOracleOfTheAPI: a key that anybody may read gives few
// tries, counted before the application is asked.
func TestAttack_H1_APasswordIsNoOracleOfTheAPI(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		asked := func() int { w.app.mu.Lock(); defer w.app.mu.Unlock(); return w.app.Handler.(*form).posts } //nolint:forcetypeassert // it is
		wrong := `{"username":"%s","password":"guess-%d"}`
		for i := range 10 {
			c.no(966, "POST", "/auth/login/2fa", "", fmt.Sprintf(wrong, []string{"alice", "ALICE", " alice "}[i%3], i))
		}
		before := asked()
		c.no(1198, "POST", "/auth/login/2fa", "", `{"username":"alice","password":"pw-a"}`)
		if asked() != before || w.phones.count() != 0 || c.head.Get("Retry-After") == "" {
			t.Fatalf("asked %d times more, %d texts, %v", asked()-before, w.phones.count(), c.head)
		}
		// A network has its own count, a forged address does not change it.
		c.addr = "203.0.113.99"
		for i := range 3 {
			c.no(966, "POST", "/auth/login/2fa", "apikey="+otherKey, fmt.Sprintf(wrong, fmt.Sprint("somebody", i), i), "X-Origin-IP", fmt.Sprint("198.51.100.", i))
		}
		before = asked()
		if c.call("POST", "/auth/login/2fa", "apikey="+otherKey, `{"username":"bob","password":"pw-b"}`, "X-Origin-IP", "198.51.100.77"); c.status != http.StatusTooManyRequests || asked() != before {
			t.Fatalf("%d %s", c.status, c.body)
		}
		c.call("POST", "/auth/login/2fa", "apikey="+otherKey, `{"username":"bob","password":"pw-b"}`, "X-Origin-IP", "198.51.100.77", "X-LoginRadius-ApiSecret", apiSecret)
		if c.status != http.StatusTooManyRequests {
			t.Fatalf("with another's secret: %d %s", c.status, c.body)
		}
		c.ok("POST", "/auth/login/2fa", "apikey="+otherKey, `{"username":"bob","password":"pw-b"}`, "X-Origin-IP", "198.51.100.77", "X-LoginRadius-ApiSecret", "another-secret-of-the-tests")
		// Right passwords are not counted against the user.
		c.addr = "203.0.113.100"
		for range 12 {
			c.ok("POST", "/auth/login/2fa", "", `{"username":"bob","password":"pw-b"}`)
		}
	})
}

func TestAttack_E9_LockedByTheAPI(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		tried := 0
		for range 3 {
			second := c.password("alice", "User-Agent", fmt.Sprint("client ", tried))
			right := w.phones.last(t, "alice")
			for range 5 {
				wrong := "111111"
				if right == wrong {
					wrong = "222222"
				}
				out := c.call("PUT", "/auth/login/2fa/verification/otp", "secondfactorauthenticationtoken="+second, `{"otp":"`+wrong+`"}`)
				if tried++; out["ErrorCode"] == 1264.0 {
					break
				} else if out["ErrorCode"] != 1067.0 {
					t.Fatalf("%s", c.body)
				}
			}
			c.no(1104, "PUT", "/auth/login/2fa/verification/otp", "secondfactorauthenticationtoken="+second, `{"otp":"`+right+`"}`)
			if w.events.count(event.Locked, "") > 0 {
				break
			}
		}
		if tried != 10 {
			t.Fatalf("%d tries", tried)
		}
		c.no(1198, "POST", "/auth/login/2fa", "", `{"username":"alice","password":"pw-a"}`, "User-Agent", "one more")
		if !strings.Contains(c.body, "LoginLockedTimeout") {
			t.Fatal(c.body)
		}
	})
}

func TestAttack_E11_CodesOfTheAPI(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		second := c.password("alice")
		otp, q := "/auth/login/2fa/verification/otp", "secondfactorauthenticationtoken="+second
		code := w.phones.last(t, "alice")
		for body, want := range map[string]int{
			`{}`: 1105, `{"otp":""}`: 1105, `{"otp":null}`: 1105, `{"otp":["` + code + `"]}`: 965, `{"otp":{}}`: 965, `{"otp":"` + code + `","OTP":"` + code + `"}`: 965,
			`{"otp":"` + strings.Repeat("1", 10<<10) + `"}`: 1067, `{"otp":"+12345"}`: 1067, `{"otp":"1e5000"}`: 1067, `{"otp":-12345}`: 1067, `{"otp":true}`: 1067, `{"otp":"12345"}`: 1067,
		} {
			c.no(want, "PUT", otp, q, body)
		}
		c.no(908, "PUT", otp, q+"&SecondFactorAuthenticationToken="+second, `{"otp":"`+code+`"}`)
		if c.call("GET", otp, q, ""); c.status != http.StatusMethodNotAllowed {
			t.Fatal(c.status)
		}
		if n := w.events.count(event.Verify, event.WrongCode); n != 0 {
			t.Fatalf("%d tries counted", n)
		}
		c.ok("PUT", otp, q, `{"otp":"`+code+`"}`)
	})
}

func TestAttack_E4_OneWinnerByTheAPI(t *testing.T) {
	stores(t, func(t *testing.T, open func(t *testing.T) backend) {
		w := apiWorld(t, open(t), 1)
		c := w.browser()
		second := c.password("alice")
		code := w.phones.last(t, "alice")
		var mu sync.Mutex
		var wg sync.WaitGroup
		won := 0
		for range 20 {
			wg.Go(func() {
				d := c.copy()
				d.call("PUT", "/auth/login/2fa/verification/otp", "secondfactorauthenticationtoken="+second, `{"otp":"`+code+`"}`)
				mu.Lock()
				defer mu.Unlock()
				if d.status == http.StatusOK {
					won++
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Fatalf("%d winners", won)
		}
		w.phones.texts = nil
		_, refresh := w.browser().tokens("bob")
		won = 0
		for range 20 {
			wg.Go(func() {
				d := c.copy()
				d.call("GET", "/manage/account/access_token/refresh", "refresh_token="+refresh, "", "X-LoginRadius-ApiSecret", apiSecret)
				mu.Lock()
				defer mu.Unlock()
				if d.status == http.StatusOK {
					won++
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Fatalf("%d refreshed", won)
		}
		access, _ := w.browser().tokens("alice")
		out := c.ok("PUT", "/auth/account/reauth/password", "", `{"password":"pw-a"}`, bearer(access)...)
		proof := `{"secondfactorvalidationtoken":"` + fmt.Sprint(out["SecondFactorValidationToken"]) + `"}`
		uid := fmt.Sprint(c.ok("GET", "/auth/account", "", "", bearer(access)...)["Uid"])
		won = 0
		for range 20 {
			wg.Go(func() {
				d := c.copy()
				d.call("POST", "/manage/account/"+uid+"/reauth/password", "", proof, "X-LoginRadius-ApiSecret", apiSecret)
				mu.Lock()
				defer mu.Unlock()
				if d.status == http.StatusOK {
					won++
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Fatalf("%d proofs", won)
		}
	})
}

// TestAttack_E10_ExpiredCodeOfTheAPI and the tokens of both factors.
func TestAttack_E10_ExpiredCodeOfTheAPI(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		second := c.password("alice")
		code := w.phones.last(t, "alice")
		w.store.ahead.Store(int64(6 * time.Minute))
		c.no(1069, "PUT", "/auth/login/2fa/verification/otp", "secondfactorauthenticationtoken="+second, `{"otp":"`+code+`"}`)
	})
}

func TestAttack_E8_StoreDownAtTheAPI(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		second := c.password("alice")
		access, _ := w.browser().tokens("bob")
		code := w.phones.last(t, "alice")
		texts := w.phones.count()
		for after := range int64(12) { // the n-th step of each call fails, and all that follow
			for _, call := range [][3]string{
				{"PUT", "/auth/login/2fa/verification/otp?secondfactorauthenticationtoken=" + second, `{"otp":"` + code + `"}`},
				{"POST", "/auth/login/2fa?x=", `{"username":"alice","password":"pw-a"}`},
				{"GET", "/auth/account/2fa?access_token=" + access, ""},
			} {
				if after > 0 && call[0] == "PUT" {
					continue // what follows a right code would be its success
				}
				w.store.down.Store(after == 0)
				w.store.after.Store(after)
				path, query, _ := strings.Cut(call[1], "?")
				out := c.call(call[0], path, query, call[2])
				failed := w.store.down.Load()
				w.store.down.Store(false)
				w.store.after.Store(0)
				if failed && (c.status != http.StatusServiceUnavailable || out["ErrorCode"] != 950.0) && c.status != http.StatusOK {
					t.Fatalf("step %d of %s %s: %d %s", after, call[0], path, c.status, c.body)
				}
				if after == 0 && c.status == http.StatusOK {
					t.Fatalf("%s %s: %s", call[0], path, c.body)
				}
			}
		}
		if n := w.phones.count() - texts; n > 2 {
			t.Fatalf("%d texts", n)
		}
	})
}

// TestAPIEnrols: the number by the second-factor token, and what may be changed
// afterwards by the access token.
func TestAPIEnrols(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		out := c.ok("POST", "/auth/login/2fa", "", `{"username":"alice","password":"pw-a"}`)
		s, _ := out["SecondFactorAuthentication"].(object)
		if s["IsOTPAuthenticatorVerified"] != false || s["OTPPhoneNo"] != nil || s["OTPStatus"] != nil || w.phones.count() != 0 {
			t.Fatalf("%s", c.body)
		}
		q := "secondfactorauthenticationtoken=" + fmt.Sprint(s["SecondFactorAuthenticationToken"])
		c.no(1101, "GET", "/auth/login/2fa/resend", q, "")
		c.no(1076, "PUT", "/auth/login/2fa", q, `{}`)
		c.no(1096, "PUT", "/auth/login/2fa", q, `{"phoneno2fa":"12"}`)
		c.no(1043, "PUT", "/auth/login/2fa", q, `{"phoneno2fa":"+4915112345678"}`)
		if out = c.ok("PUT", "/auth/login/2fa", q, `{"phoneNo2FA":"+447400123456"}`); out["AccountSid"] == "" || out["Sid"] == "" {
			t.Fatal(c.body)
		}
		c.no(1179, "GET", "/auth/login/2fa/resend", q, "")
		c.no(1179, "PUT", "/auth/login/2fa", q, `{"phoneno2fa":"XXXXXXXX56"}`) // the stored number, never dialled as it stands
		if w.phones.count() != 1 {
			t.Fatal("texts")
		}
		out = c.ok("PUT", "/auth/login/2fa/verification/otp", q, `{"otp":"`+w.phones.last(t, "alice")+`"}`)
		access := bearer(fmt.Sprint(out["access_token"]))
		profile, _ := out["Profile"].(object)
		uid := fmt.Sprint(profile["Uid"])
		if out = c.ok("GET", "/auth/account/2fa", "", "", access...); out["OTPPhoneNo"] != "XXXXXXXX56" || out["IsOTPAuthenticatorVerified"] != true || out["OTPStatus"] != nil {
			t.Fatal(c.body)
		}

		// Recovery codes, once, and not by the code of the login.
		c.no(1143, "GET", "/auth/account/2fa/backupcode", "", "", access...)
		c.stepUp("alice", "for=number", access...)
		c.no(1143, "GET", "/auth/account/2fa/backupcode", "", "", access...)
		c.no(908, "GET", "/auth/account/reauth/2fa", "for=anything", "", access...)
		c.stepUp("alice", "for=codes", access...)
		list, _ := c.ok("GET", "/auth/account/2fa/backupcode", "", "", access...)["BackUpCodes"].([]any)
		if len(list) != 10 {
			t.Fatal(c.body)
		}
		c.no(1127, "GET", "/auth/account/2fa/backupcode", "", "", access...)
		c.no(1143, "GET", "/auth/account/2fa/backupcode/reset", "", "", access...)
		c.stepUp("alice", "", access...) // LoginRadius' clients cannot say what it is for
		again, _ := c.ok("GET", "/auth/account/2fa/backupcode/reset", "", "", access...)["BackUpCodes"].([]any)
		secret := []string{"X-LoginRadius-ApiSecret", apiSecret}
		c.no(1127, "GET", "/manage/account/2fa/backupcode", "uid="+uid, "", secret...)

		// Step-up: by code, and its proof counts once, for this user and client.
		b := w.browser()
		q2 := "secondfactorauthenticationtoken=" + b.password("alice")
		b.no(1129, "PUT", "/auth/login/2fa/verification/backupcode", q2, `{"backupcode":"`+fmt.Sprint(list[0])+`"}`)
		out = b.ok("PUT", "/auth/login/2fa/verification/BackupCode", q2, `{"BackupCode":"`+fmt.Sprint(again[0])+`"}`)
		mine := bearer(fmt.Sprint(out["access_token"]))
		out = b.ok("PUT", "/auth/account/reauth/2fa/BackupCode", "", `{"backupcode":"`+fmt.Sprint(again[1])+`"}`, mine...)
		proof := `{"secondfactorvalidationtoken":"` + fmt.Sprint(out["SecondFactorValidationToken"]) + `"}`
		b.no(1129, "PUT", "/auth/account/reauth/2fa/backupcode", "", `{"backupcode":"`+fmt.Sprint(again[1])+`"}`, mine...)
		b.no(923, "POST", "/manage/account/"+uid+"/reauth/2fa", "", proof)
		b.no(1193, "POST", "/manage/account/"+uid+"/reauth/2fa", "apikey="+otherKey, proof, "X-LoginRadius-ApiSecret", "another-secret-of-the-tests")
		b.no(1193, "POST", "/manage/account/"+strings.Repeat("0", 32)+"/reauth/2fa", "", proof, secret...)
		b.no(1193, "POST", "/manage/account/"+uid+"/reauth/password", "", proof, secret...)
		if out = b.ok("POST", "/manage/account/"+uid+"/reAuth/2fa", "", proof, secret...); out["IsValid"] != true {
			t.Fatal(b.body)
		}
		b.no(1193, "POST", "/manage/account/"+uid+"/reauth/2fa", "", proof, secret...)
		b.no(966, "PUT", "/auth/account/reauth/password", "", `{"password":"pw-b"}`, mine...)
		out = b.ok("PUT", "/auth/account/reauth/password", "", `{"password":"pw-a"}`, mine...)
		proof = `{"secondfactorvalidationtoken":"` + fmt.Sprint(out["SecondFactorValidationToken"]) + `"}`
		b.no(1193, "POST", "/manage/account/"+uid+"/reauth/2fa", "", proof, secret...) // a password is no second factor
		b.ok("POST", "/manage/account/"+uid+"/reauth/password", "", proof, secret...)

		// Another number: the old one's code does not prove it, other sessions end.
		if c.no(1143, "PUT", "/auth/account/2fa", "", `{"phoneno2fa":"+447400654321"}`, access...); !w.phones.told(numbers["alice"], "new recovery codes") {
			t.Error("the owner was not told of recovery codes")
		}
		c.stepUp("alice", "for=number", access...)
		c.no(1106, "PUT", "/auth/account/2fa", "", `{"phoneno2fa":"+447400123456"}`, access...)
		c.ok("PUT", "/auth/account/2fa", "", `{"phoneno2fa":"+447400654321"}`, access...)
		c.no(1069, "PUT", "/auth/account/reauth/2fa/otp", "", `{"otp":"`+w.phones.last(t, "bob")+`"}`, access...)
		if out = c.ok("PUT", "/auth/account/2fa/verification/otp", "", `{"otp":"`+w.phones.last(t, "bob")+`"}`, access...); out["Uid"] != uid || out["access_token"] != nil {
			t.Fatal(c.body)
		}
		b.no(906, "GET", "/auth/account", "", "", mine...)
		c.no(1121, "DELETE", "/auth/account/2fa/authenticator", "", `{}`, access...)
		c.no(1121, "DELETE", "/auth/account/2fa/authenticator", "", `{"otpauthenticator":true}`, access...) // it is required here
		c.no(1121, "DELETE", "/manage/account/2fa/authenticator", "uid="+uid, `{}`, secret...)
		if out = c.ok("DELETE", "/manage/account/2fa/authenticator", "uid="+uid+"&apisecret="+apiSecret, `{"otpauthenticator":true}`); out["IsDeleted"] != true {
			t.Fatal(c.body)
		}
		c.no(906, "GET", "/auth/account", "", "", access...)
	}, selfEnrolled)
}

// TestAPIWhereNoCodeIsOwed: by the policy the answer is the tokens at once.
func TestAPIWhereNoCodeIsOwed(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		out := c.ok("POST", "/auth/login/2fa", "", `{"username":"alice","password":"pw-a"}`)
		if out["SecondFactorAuthentication"] != nil || out["Profile"] == nil {
			t.Fatal(c.body)
		}
		if c.get("/home", bearer(fmt.Sprint(out["access_token"]))...); c.body != marker+" of alice" {
			t.Fatalf("%d %s", c.status, c.body)
		}
	}, selfEnrolled, func(g *gate.Gate, _ *login.Config) { g.Site.Policy = flow.Optional })
}

// TestAPINeedsAForm: a site whose logins name no password cannot be signed in to.
func TestAPINeedsAForm(t *testing.T) {
	eachAPI(t, func(t *testing.T, w *world) {
		c := w.browser()
		c.no(1130, "POST", "/auth/login/2fa", "", `{"username":"alice","password":"pw-a"}`)
		c.no(1074, "POST", "/auth/login/2fa", "", `{"phone":"alice","password":"pw-a"}`)
		if len(w.app.requests()) != 0 {
			t.Fatal(w.app.requests())
		}
	}, func(_ *gate.Gate, rule *login.Config) { rule.Password = nil })
}
