package loginradius

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
)

const (
	testKey    = "11111111-2222-4333-8444-555555555555"
	testSecret = "a-secret-of-the-tests"
	testUID    = "0123456789abcdef0123456789abcdef"
)

// arrived is a call as it comes in.
func arrived(t *testing.T, method, target, body string, head ...string) *visit {
	t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Add(head[i], head[i+1])
	}
	u := &url.URL{Path: r.URL.Path, RawQuery: r.URL.RawQuery}
	return &visit{w: httptest.NewRecorder(), c: &flow.Call{R: r, URL: u, Secure: true, ClientIP: "192.0.2.1"}, g: &flow.Gate{}}
}

func newAPI() *API {
	return &API{Clients: []*Client{{Key: testKey, Secret: testSecret}, {Key: "another-key-of-the-tests"}}}
}

// code is the number of a problem, 0 for none.
func code(p *problem) int {
	if p == nil {
		return 0
	}
	return p.code
}

// TestSignatures holds signatures that were made by other means against the check.
// The clock stands at the first second of 2000.
func TestSignatures(t *testing.T) {
	const (
		codes = "https://example.com/identity/v2/manage/account/2fa/backupcode?apikey=" + testKey + "&uid=" + testUID + "&fields=BackUpCodes%2Cx"
		reset = "https://example.com/identity/v2/manage/account/2fa/authenticator?apikey=" + testKey + "&uid=" + testUID
		hour  = "2000-01-01 01:00:00"
		php   = "20TSSwXNdbOyyflTcWDYcGo6PpTRDrDmyA94O766Lxs="
	)
	for name, tc := range map[string]struct {
		method, target, body, expires, sum string
		want                               int
	}{
		"PHP decodes the address":        {"GET", codes, "", hour, php, 0},
		"Python does not":                {"GET", codes, "", hour, "C6z1aZJ0iEhSQlXbZ4Qn/GecE0Ene0hBu+O/OnefWlo=", 0},
		"Java does not pad the expiry":   {"GET", codes, "", "2000-1-1 1:0:0", "PVUoHIlwUn9v+M62+qPW6m2/ddf3575F+lGmjP75f9M=", 0},
		"the documentation's clock":      {"GET", codes, "", "2000-1-1 1:00:00 AM", "l7Yoxx5tdK8EruobF1B8oxtpCqfGSdNKtFAgR9dhLCA=", 0},
		"with a body":                    {"DELETE", reset, `{"otpauthenticator":true}`, hour, "RgeDdzx/i+X9UopSK8dLlDTrKQ214jBbBXX3ppm0e9o=", 0},
		"another body":                   {"DELETE", reset, `{"otpauthenticator":false}`, hour, "RgeDdzx/i+X9UopSK8dLlDTrKQ214jBbBXX3ppm0e9o=", 902},
		"no body":                        {"DELETE", reset, "", hour, "RgeDdzx/i+X9UopSK8dLlDTrKQ214jBbBXX3ppm0e9o=", 902},
		"another address":                {"GET", reset, "", hour, php, 902},
		"another expiry":                 {"GET", codes, "", "2000-01-01 01:00:01", php, 902},
		"Node signs the word undefined":  {"GET", codes, "", hour, "yvluDWdiguGamV93yDJahpICouM6/37lVkgmBK0FyRo=", 902},
		"expired":                        {"GET", codes, "", "1999-12-31 23:59:59", "/236i04+Dr79AMtQhDnMlL1Xl66OErdh7TCFl53sgm0=", 908},
		"good for too long":              {"GET", codes, "", "2000-01-01 03:00:00", "Cw1f/WbxGB3g51Wy/F1cMpysMJ2O1wSQs6qK/ETPhBI=", 908},
		"cut":                            {"GET", codes, "", hour, php[:40], 921},
		"no base64":                      {"GET", codes, "", hour, strings.Repeat("?", 44), 921},
		"empty":                          {"GET", codes, "", hour, "", 921},
		"expired, and by somebody else":  {"GET", codes, "", "1999-12-31 23:59:59", php, 902},
		"the expiry is no time, unknown": {"GET", codes, "", "soon", php, 902},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Second)
				v := arrived(t, tc.method, tc.target, tc.body, "X-Request-Expires", tc.expires, "Digest", "SHA-256="+tc.sum)
				a := newAPI()
				if p := v.read(); p != nil {
					t.Fatal(p.code)
				}
				if p := a.identify(v); p != nil {
					t.Fatal(p.code)
				}
				if got := code(a.manages(v)); got != tc.want {
					t.Errorf("%d, want %d", got, tc.want)
				}
			})
		})
	}
}

// TestCredentials: where clients put key and secret.
func TestCredentials(t *testing.T) {
	for name, tc := range map[string]struct {
		query     string
		head      []string
		key, want int
	}{
		"query":                       {"apikey=" + testKey + "&apisecret=" + testSecret, nil, 0, 0},
		"Node: header, other case":    {"apiKey=" + testKey, []string{"X-LoginRadius-apiKey", testKey, "X-LoginRadius-apiSecret", testSecret}, 0, 0},
		"Go: header only":             {"uid=" + testUID, []string{"X-LoginRadius-ApiKey", testKey, "X-LoginRadius-ApiSecret", testSecret}, 0, 0},
		"two keys":                    {"apikey=" + testKey, []string{"X-LoginRadius-ApiKey", "another-key-of-the-tests"}, 920, 0},
		"header twice":                {"", []string{"X-LoginRadius-ApiKey", testKey, "X-LoginRadius-ApiKey", testKey}, 920, 0},
		"none":                        {"", nil, 922, 0},
		"unknown":                     {"apikey=11111111-2222-4333-8444-555555555556", nil, 901, 0},
		"a longer one":                {"apikey=" + testKey + "0", nil, 901, 0},
		"no secret":                   {"apikey=" + testKey, nil, 0, 923},
		"wrong secret beside a right": {"apikey=" + testKey + "&apisecret=" + testSecret + "x", []string{"X-LoginRadius-ApiSecret", testSecret}, 0, 902},
		"secret twice":                {"apikey=" + testKey, []string{"X-LoginRadius-ApiSecret", testSecret, "X-LoginRadius-ApiSecret", testSecret}, 0, 921},
		"malformed secret":            {"apikey=" + testKey, []string{"X-LoginRadius-ApiSecret", "a b c d e f"}, 0, 921},
		"a client without a secret":   {"apikey=another-key-of-the-tests", []string{"X-LoginRadius-ApiSecret", testSecret}, 0, 1143},
	} {
		t.Run(name, func(t *testing.T) {
			a, v := newAPI(), arrived(t, "GET", "https://example.com/identity/v2/manage/account/2fa/backupcode?"+tc.query, "", tc.head...)
			if p := v.read(); p != nil {
				t.Fatal(p.code)
			}
			if got := code(a.identify(v)); got != tc.key {
				t.Fatalf("key: %d, want %d", got, tc.key)
			}
			if tc.key != 0 {
				return
			}
			if got := code(a.manages(v)); got != tc.want {
				t.Errorf("secret: %d, want %d", got, tc.want)
			}
		})
	}
}

// TestAttack_D4_OriginIP: only a caller that knows the secret says where its client
// is, and only an address counts.
func TestAttack_D4_OriginIP(t *testing.T) {
	for name, tc := range map[string]struct {
		head []string
		want string
	}{
		"nobody":       {[]string{"X-Origin-IP", "203.0.113.7"}, "192.0.2.1"},
		"wrong secret": {[]string{"X-Origin-IP", "203.0.113.7", "X-LoginRadius-ApiSecret", "wrong-secret"}, "192.0.2.1"},
		"right secret": {[]string{"X-Origin-IP", "203.0.113.7", "X-LoginRadius-ApiSecret", testSecret}, "203.0.113.7"},
		"garbage":      {[]string{"X-Origin-IP", "203.0.113.7, 10.0.0.1", "X-LoginRadius-ApiSecret", testSecret}, "192.0.2.1"},
		"twice":        {[]string{"X-Origin-IP", "203.0.113.7", "X-Origin-IP", "203.0.113.8", "X-LoginRadius-ApiSecret", testSecret}, "192.0.2.1"},
	} {
		a, v := newAPI(), arrived(t, "POST", "https://example.com/identity/v2/auth/login/2fa?apikey="+testKey, "{}", tc.head...)
		if v.read() != nil || a.identify(v) != nil {
			t.Fatal(name)
		}
		if got := a.address(v); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// TestRequestShapes are requests as LoginRadius' clients send them.
func TestRequestShapes(t *testing.T) {
	const token = "b1fbbba5-2a5e-41a2-96da-c216df36e6f4"
	for name, tc := range map[string]struct {
		method, query, kind, body string
		param, field              string
		want                      string
		problem                   int
	}{
		"Go: GET with a body":                {"GET", "secondfactorauthenticationtoken=" + token, "application/x-www-form-urlencoded", "\"\"\n", "secondfactorauthenticationtoken", "", token, 0},
		"Node: other case, an empty option":  {"PUT", "apiKey=x&secondFactorAuthenticationToken=" + token + "&isVoiceOtp=", "application/json", `{"phoneNo2FA":"+447400123456"}`, "", "phoneno2fa", "+447400123456", 0},
		"Python: nothing is encoded":         {"PUT", "smsTemplate2FA=a+b&isVoiceOtp=False", "application/json", `{}`, "smstemplate2fa", "", "a+b", 0},
		"PHP":                                {"PUT", "smsTemplate2FA=a%2Bb&isVoiceOtp=1", "application/json", `{}`, "smstemplate2fa", "", "a+b", 0},
		"Java: gson's spelling":              {"PUT", "", "application/json", `{"Otp":"123456","SecurityAnswer":null}`, "", "otp", "123456", 0},
		"Java: DELETE with a body":           {"DELETE", "uid=" + testUID, "application/json", `{"otpauthenticator":true}`, "", "otpauthenticator", "true", 0},
		"a form":                             {"POST", "", "application/x-www-form-urlencoded", "Email=a%40b.example&password=x", "", "email", "a@b.example", 0},
		"null is nothing":                    {"PUT", "", "application/json", `{"phoneno2fa":null}`, "", "phoneno2fa", "", 0},
		"a number":                           {"PUT", "", "application/json", `{"otp":123456}`, "", "otp", "123456", 0},
		"a parameter twice":                  {"GET", "access_token=" + token + "&Access_Token=" + token, "", "", "", "", "", 908},
		"an unknown one twice":               {"GET", "x=1&x=2&access_token=" + token, "", "", "access_token", "", token, 0},
		"a name twice":                       {"PUT", "", "application/json", `{"otp":"1","OTP":"1"}`, "", "", "", 965},
		"a form's field twice":               {"PUT", "", "application/x-www-form-urlencoded", "otp=1&Otp=1", "", "", "", 965},
		"an array":                           {"PUT", "", "application/json", `{"otp":["1"]}`, "", "", "", 965},
		"no object":                          {"PUT", "", "application/json", `["otp"]`, "", "", "", 965},
		"cut, as Node's non-ASCII":           {"PUT", "", "application/json", `{"otp":"1`, "", "", "", 965},
		"a body that says nothing of itself": {"PUT", "", "", `{"otp":"1"}`, "", "", "", 965},
		"a query in a body":                  {"PUT", "", "application/json", `{"access_token":"` + token + `"}`, "access_token", "", "", 0},
		"a body in a query":                  {"PUT", "otp=123456", "application/json", `{}`, "", "otp", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := arrived(t, tc.method, "https://example.com/identity/v2/x?"+tc.query, tc.body)
			v.c.R.Header.Del("Content-Type")
			if tc.kind != "" {
				v.c.R.Header.Set("Content-Type", tc.kind)
			}
			if got := code(v.read()); got != tc.problem {
				t.Fatalf("%d, want %d", got, tc.problem)
			}
			if tc.problem != 0 {
				return
			}
			got := v.field(tc.field)
			if tc.param != "" {
				got = v.param(tc.param)
			}
			if got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// TestEveryCallIsFound, in the spellings of the documentation and the clients.
func TestEveryCallIsFound(t *testing.T) {
	for _, path := range []string{
		"/auth/login/2FA/", "/auth/login/2fa", "/auth/login/2FA/Verification/otp", "/auth/login/2fa/verification/BackupCode", "/auth/account/2FA/Verification/otp",
		"/auth/account/reAuth/2fa", "/auth/account/reauth/2fa/BackupCode", "/auth/access_token/Validate", "/auth/access_token/InValidate",
		"/manage/account/" + testUID + "/reAuth/2fa",
	} {
		if methods, _, _ := find(path); methods == nil {
			t.Errorf("%s is not found", path)
		}
	}
	for _, path := range []string{"", "/", "/auth", "/manage/account//reauth/2fa", "/manage/account/a/b/reauth/2fa", "/manage/account/a/reauth", "/auth/login/2fa//", "/AUTH/LOGIN/2FA/x"} {
		if methods, _, _ := find(path); methods != nil {
			t.Errorf("%s is found", path)
		}
	}
	for path, methods := range calls {
		for method, c := range methods {
			if (c.need == secret) != strings.HasPrefix(path, "/manage/") {
				t.Errorf("%s %s: what is below /manage needs the secret, and nothing else does", method, path)
			}
		}
	}
}

func TestProjection(t *testing.T) {
	in := struct {
		A string
		B []email
		C struct{ D, E int }
	}{A: "a", B: []email{{"t", "v"}}}
	in.C.D = 7
	for fields, want := range map[string]string{
		"":          `{"A":"a","B":[{"Type":"t","Value":"v"}],"C":{"D":7,"E":0}}`,
		"*":         `{"A":"a","B":[{"Type":"t","Value":"v"}],"C":{"D":7,"E":0}}`,
		"a":         `{"A":"a"}`,
		"A,c(d)":    `{"A":"a","C":{"D":7}}`,
		"c/e":       `{"C":{"E":0}}`,
		"b(value)":  `{"B":[{"Value":"v"}]}`,
		"c(*),a":    `{"A":"a","C":{"D":7,"E":0}}`,
		"c/d,a,c/e": `{"A":"a","C":{"D":7,"E":0}}`,
		"c/d,c":     `{"C":{"D":7,"E":0}}`,
		"c,c/d":     `{"C":{"D":7,"E":0}}`,
		"nothing":   `{}`,
		"a,,b":      "", "a(": "", "a)": "", "(a)": "", ",": "", "a(b(c(d(e(f(g))))))": "", "a/": "", "a(b)c": "",
	} {
		v := arrived(t, "GET", "https://example.com/identity/v2/x?fields="+url.QueryEscape(fields), "")
		if p := v.read(); p != nil {
			t.Fatal(p.code)
		}
		tree, p := v.projection()
		if (p != nil) != (want == "") {
			t.Errorf("%q: %v", fields, p)
			continue
		}
		if p != nil {
			continue
		}
		w := httptest.NewRecorder()
		page.WriteJSON(w, http.StatusOK, project(in, tree))
		if got := w.Body.String(); got != want {
			t.Errorf("%q: %s, want %s", fields, got, want)
		}
	}
}

func TestUUIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		u := newUUID()
		if _, ok := uuid(u); !ok || seen[u] || u[14] != '4' || !strings.ContainsRune("89ab", rune(u[19])) {
			t.Fatal(u)
		}
		seen[u] = true
	}
	for _, s := range []string{"", "x", "b1fbbba52a5e41a296dac216df36e6f4", "b1fbbba5-2a5e-41a2-96da-c216df36e6f", "b1fbbba5-2a5e-41a2-96da-c216df36e6fg", "b1fbbba5-2a5e-41a2-96da_c216df36e6f4", "{1fbbba5-2a5e-41a2-96da-c216df36e6f}"} {
		if _, ok := uuid(s); ok {
			t.Errorf("%q is a UUID", s)
		}
	}
}

// FuzzProjection: whatever is asked for, the answer holds nothing that was not there.
func FuzzProjection(f *testing.F) {
	for _, s := range []string{"a,b", "a(b,c)", "a/b", "*", "a(*)", "((", "a/b(c)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, fields string) {
		r := &reader{text: fields}
		tree, ok := r.list(0)
		if !ok || r.text != "" {
			return
		}
		in := map[string]any{"a": "1", "b": map[string]any{"c": "2"}}
		out, isObject := cut(in, tree).(map[string]any)
		if !isObject {
			t.Fatalf("%q: no object", fields)
		}
		for name := range out {
			if _, ok := in[name]; !ok {
				t.Fatalf("%q: %s", fields, name)
			}
		}
	})
}
