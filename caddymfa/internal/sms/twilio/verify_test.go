package twilio

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	twiliotest "github.com/caddymfa/caddymfa/test/twilio"
)

const (
	testVerify       = "VA0123456789abcdef0123456789abcdef"
	testVerification = "VE0123456789abcdef0123456789abcdef"
)

func goodVerify() VerifyConfig {
	return VerifyConfig{AccountSID: testAccount, APIKeySID: testKey, APIKeySecret: testSecret, Service: testVerify}
}

func verifier(t *testing.T, c VerifyConfig) *Verify {
	t.Helper()
	s, err := NewVerify(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func codeMessage() sms.Message {
	return sms.Message{To: to, Text: text, Code: "987654", Lang: "de", Validity: 5 * time.Minute, Repeatable: true}
}

func TestVerifyAgainstTheStandIn(t *testing.T) {
	srv := twiliotest.Start(t)
	base := VerifyConfig{
		AccountSID: srv.AccountSID, APIKeySID: srv.APIKeySID, APIKeySecret: srv.APIKeySecret,
		Service: srv.VerifyService, APIURL: srv.VerifyURL,
	}
	byToken := base
	byToken.APIKeySID, byToken.APIKeySecret, byToken.AuthToken = "", "", srv.AuthToken
	for i, c := range []VerifyConfig{base, byToken} {
		m := codeMessage()
		m.To = fmt.Sprintf("+1201555012%d", i)
		r, err := verifier(t, c).Send(t.Context(), m)
		if err != nil || r.Provider != "twilio_verify" || !strings.HasPrefix(r.ID, "VE") {
			t.Fatalf("Send = %+v, %v", r, err)
		}
		if code, status := srv.Verification(m.To); code != m.Code || status != "pending" {
			t.Errorf("the Verification has the code %q and is %q", code, status)
		}
	}
	for name, tc := range map[string]struct {
		change func(*VerifyConfig)
		code   string
		hint   string
	}{
		"wrong secret":    {func(c *VerifyConfig) { c.APIKeySecret = strings.Repeat("0", 32) }, "20003", "api_key"},
		"another service": {func(c *VerifyConfig) { c.Service = "VA" + strings.Repeat("0", 32) }, "20404", "check service"},
	} {
		c := base
		tc.change(&c)
		_, err := verifier(t, c).Send(t.Context(), codeMessage())
		if e := failure(t, err); e.Kind != sms.Misconfigured || e.Code != tc.code || e.Sent || !strings.Contains(e.Error(), tc.hint) {
			t.Errorf("%s: %+v", name, e)
		}
	}
	// One that is not there any more is no failure.
	if err := verifier(t, base).Confirm(t.Context(), sms.Receipt{ID: testVerification}); err != nil {
		t.Errorf("Confirm of an unknown Verification: %v", err)
	}
}

// TestVerifyKeepsToTwiliosDocument: both requests, by Twilio's OpenAPI document.
func TestVerifyKeepsToTwiliosDocument(t *testing.T) {
	c := goodVerify()
	c.APIURL, c.Template, c.RiskCheck = twiliotest.VerifyDocument(t), "HJ0123456789abcdef0123456789abcdef", "off"
	s := verifier(t, c)
	r, err := s.Send(t.Context(), codeMessage())
	if err != nil || !strings.HasPrefix(r.ID, "VE") {
		t.Errorf("Send = %+v, %v", r, err)
	}
	if err := s.Confirm(t.Context(), r); err != nil {
		t.Errorf("Confirm: %v", err)
	}
}

func TestVerifyRequests(t *testing.T) {
	const base = "/base/v2/Services/" + testVerify + "/Verifications"
	for name, tc := range map[string]struct {
		change func(*VerifyConfig)
		lang   string
		form   url.Values
	}{
		"plain":    {func(*VerifyConfig) {}, "de", url.Values{"To": {to}, "Channel": {"sms"}, "CustomCode": {"987654"}, "Locale": {"de"}}},
		"template": {func(c *VerifyConfig) { c.Template = "HJ" + testVerify[2:] }, "", url.Values{"To": {to}, "Channel": {"sms"}, "CustomCode": {"987654"}, "TemplateSid": {"HJ" + testVerify[2:]}}},
		"risk":     {func(c *VerifyConfig) { c.RiskCheck = "on" }, "xx", url.Values{"To": {to}, "Channel": {"sms"}, "CustomCode": {"987654"}, "RiskCheck": {"enable"}}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if err := r.ParseForm(); err != nil || r.URL.Path != base || r.PostForm.Encode() != tc.form.Encode() {
					t.Errorf("%s with %v, %v", r.URL, r.PostForm, err)
				}
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, `{"sid":"VE0123456789abcdef0123456789abcdef"}`)
			}))
			defer srv.Close()
			c := goodVerify()
			c.APIURL = srv.URL + "/base"
			tc.change(&c)
			m := codeMessage()
			m.Lang = tc.lang
			if _, err := verifier(t, c).Send(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.URL.Path != base+"/"+testVerification || r.PostForm.Encode() != "Status=approved" {
			t.Errorf("Confirm: %s with %v, %v", r.URL, r.PostForm, err)
		}
		_, _ = io.WriteString(w, `{"sid":"VE0123456789abcdef0123456789abcdef","status":"approved"}`)
	}))
	defer srv.Close()
	c := goodVerify()
	c.APIURL = srv.URL + "/base"
	if err := verifier(t, c).Confirm(t.Context(), sms.Receipt{ID: testVerification}); err != nil {
		t.Error(err)
	}
	c.APIURL = "http://127.0.0.1:1" // nobody is asked about what is no Verification
	for _, id := range []string{"", "../x", "SM", to} {
		if err := verifier(t, c).Confirm(t.Context(), sms.Receipt{ID: id}); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestALanguageThatIsMissingIsLeftOut(t *testing.T) {
	for name, tc := range map[string]struct {
		missing  func(r *http.Request) bool
		body     string
		requests int
		accepted bool
	}{
		"the template lacks it":      {func(r *http.Request) bool { return r.PostFormValue("Locale") != "" }, `{"code":20404}`, 2, true},
		"the service is not there":   {func(*http.Request) bool { return true }, `{"code":20404}`, 2, false},
		"something between says 404": {func(*http.Request) bool { return true }, `<html>`, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n++
				if tc.missing(r) {
					w.WriteHeader(http.StatusNotFound)
					_, _ = io.WriteString(w, tc.body)
					return
				}
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, `{"sid":"VE0123456789abcdef0123456789abcdef"}`)
			}))
			defer srv.Close()
			c := goodVerify()
			c.APIURL = srv.URL
			_, err := verifier(t, c).Send(t.Context(), codeMessage())
			if n != tc.requests || (err == nil) != tc.accepted {
				t.Errorf("%d requests, %v", n, err)
			}
			if err != nil {
				if e := failure(t, err); e.Kind != sms.Misconfigured || e.Sent {
					t.Errorf("error is %+v", e)
				}
			}
		})
	}
}

func TestLocale(t *testing.T) {
	for lang, want := range map[string]string{
		"en": "en", "de": "de", "de-AT": "de", "pt-BR": "pt-BR", "pt-PT": "pt", "en-GB": "en-GB", "en-US": "en", "zh-HK": "zh-HK", "zh-Hans": "zh-CN",
		"nb": "nb", "no": "nb", "xx": "", "": "", "eo": "", "not a tag": "",
	} {
		if got := locale(lang); got != want {
			t.Errorf("locale(%q) = %q, want %q", lang, got, want)
		}
	}
}

func TestVerifyAnswersAreClassified(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		kind   sms.Kind
		hint   string
	}{
		"invalid number":           {400, `{"code":60200,"message":"Invalid parameter: To"}`, sms.Refused, "not valid"},
		"invalid number, newer":    {400, "{\"code\":60200,\"message\":\"Invalid parameter `To`: +12015550123\"}", sms.Refused, "not valid"},
		"another parameter":        {400, `{"code":60200,"message":"Invalid parameter: TemplateSid"}`, sms.Misconfigured, "60200"},
		"a parameter like it":      {400, `{"code":60200,"message":"Invalid parameter: Token"}`, sms.Misconfigured, "60200"},
		"five in ten minutes":      {429, `{"code":60203}`, sms.Declined, "five"},
		"too fast":                 {429, `{"code":60212}`, sms.Declined, "too fast"},
		"limits of the service":    {429, `{"code":60207}`, sms.Unavailable, "429"},
		"no codes of others":       {403, `{"code":60204}`, sms.Misconfigured, "Enable Custom Verification Code"},
		"landline":                 {403, `{"code":60205}`, sms.Refused, "landline"},
		"Fraud Guard":              {403, `{"code":60410}`, sms.Refused, "Fraud Guard"},
		"country off":              {403, `{"code":60605}`, sms.Refused, "Geo Permissions"},
		"blocked":                  {400, `{"code":60238}`, sms.Declined, "sanctions"},
		"no channel":               {403, `{"code":60223}`, sms.Misconfigured, "channel SMS"},
		"unknown code":             {403, `{"code":60999}`, sms.Misconfigured, "60999"},
		"a number's code with 500": {500, `{"code":60205}`, sms.Unavailable, "500"},
		"a text's code with 500":   {500, `{"code":60203}`, sms.Unavailable, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n++
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			}))
			defer srv.Close()
			c := goodVerify()
			c.APIURL = srv.URL
			_, err := verifier(t, c).Send(t.Context(), codeMessage())
			e := failure(t, err)
			if e.Provider != "twilio_verify" || e.Kind != tc.kind || e.Sent != (tc.status == 500) || !strings.Contains(e.Error(), tc.hint) {
				t.Errorf("error is %+v", e)
			}
			if want := map[bool]int{true: 2, false: 1}[tc.kind == sms.Unavailable && tc.status == 429]; n != want {
				t.Errorf("%d requests, want %d", n, want)
			}
		})
	}
}

func TestVerifyConfigSaysWhatIsWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		change    func(*VerifyConfig)
		complaint string
	}{
		"good":                {func(*VerifyConfig) {}, ""},
		"by token":            {func(c *VerifyConfig) { c.APIKeySID, c.APIKeySecret, c.AuthToken = "", "", testToken }, ""},
		"no account":          {func(c *VerifyConfig) { c.AccountSID = "" }, "account_sid is missing"},
		"no credentials":      {func(c *VerifyConfig) { c.APIKeySID, c.APIKeySecret = "", "" }, "credentials are missing"},
		"no service":          {func(c *VerifyConfig) { c.Service = "" }, "service is missing"},
		"messaging service":   {func(c *VerifyConfig) { c.Service = testService }, "VA"},
		"path in the service": {func(c *VerifyConfig) { c.Service = "VA/../" + testVerify[8:] }, "VA"},
		"template":            {func(c *VerifyConfig) { c.Template = "verify" }, "HJ"},
		"risk":                {func(c *VerifyConfig) { c.RiskCheck = "disable" }, "on or off"},
		"clear text":          {func(c *VerifyConfig) { c.APIURL = "http://verify.example.com" }, "clear"},
	} {
		c := goodVerify()
		tc.change(&c)
		_, err := NewVerify(c)
		if tc.complaint == "" && err != nil || tc.complaint != "" && (err == nil || !strings.Contains(err.Error(), tc.complaint)) {
			t.Errorf("%s: %v, want %q", name, err, tc.complaint)
		}
		if err != nil && (strings.Contains(err.Error(), testSecret) || strings.Contains(err.Error(), testToken)) {
			t.Errorf("%s: a secret is in %v", name, err)
		}
	}
}
