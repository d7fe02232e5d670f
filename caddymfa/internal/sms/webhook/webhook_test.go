package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

const (
	to     = "+12015550123"
	text   = "987654 is \"yours\" \\ {to} {text} <&> ä\n\n@login.example.com #987654"
	secret = "invented-signing-secret"
	apiKey = "invented-api-key"
)

func message() sms.Message { return sms.Message{To: to, Text: text} }

func sender(t *testing.T, c Config) *Sender {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// failure is err as the contract wants it, and attack D7: it holds no number,
// no code and no credential.
func failure(t *testing.T, err error) *sms.Error {
	t.Helper()
	var e *sms.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *sms.Error", err)
	}
	for deep := err; deep != nil; deep = errors.Unwrap(deep) {
		for _, s := range []string{to[1:], "987654", secret, apiKey} {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", deep, deep, deep), s) {
				t.Errorf("D7: %q is in %v", s, deep)
			}
		}
	}
	return e
}

func TestBodyCarriesNumberAndText(t *testing.T) {
	form := map[string]string{"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
	for name, tc := range map[string]struct {
		c    Config
		kind string
		read func(body []byte) (gotTo, gotText string, err error)
	}{
		"default": {Config{}, "application/json", func(body []byte) (string, string, error) {
			var v struct{ To, Text string }
			err := json.Unmarshal(body, &v)
			return v.To, v.Text, err
		}},
		"own JSON": {Config{Method: "PUT", Body: `{"messages":[{"dest":["{to}"],"content":"[x] {text}"}],"n":1}`}, "application/json", func(body []byte) (string, string, error) {
			var v struct {
				Messages []struct {
					Dest    []string
					Content string
				}
			}
			if err := json.Unmarshal(body, &v); err != nil {
				return "", "", err
			}
			return v.Messages[0].Dest[0], strings.TrimPrefix(v.Messages[0].Content, "[x] "), nil
		}},
		"form": {Config{Headers: form, Body: "to={to}&msg={text}&x=1"}, form["content-type"], func(body []byte) (string, string, error) {
			v, err := url.ParseQuery(string(body))
			return v.Get("to"), v.Get("msg"), err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				gotTo, gotText, err := tc.read(body)
				if err != nil || gotTo != to || gotText != text {
					t.Errorf("body %s: %v", body, err)
				}
				if kind := r.Header.Get("Content-Type"); kind != tc.kind {
					t.Errorf("content type %q", kind)
				}
				if want := tc.c.Method; want != "" && want != r.Method || want == "" && r.Method != http.MethodPost {
					t.Errorf("method %s", r.Method)
				}
				if r.Header.Get(signatureHeader) != "" {
					t.Error("signed without a secret")
				}
				w.WriteHeader(http.StatusAccepted)
			}))
			defer srv.Close()
			tc.c.URL = srv.URL
			if r, err := sender(t, tc.c).Send(t.Context(), message()); err != nil || r.Provider != "webhook" {
				t.Errorf("Send = %+v, %v", r, err)
			}
		})
	}
}

func lookUp(name string) (string, error) {
	if name == "env.KEY" {
		return apiKey + `"&{to}`, nil
	}
	return "", errors.New("{" + name + "} stands for nothing")
}

// TestValuesAreValues: what a value holds is neither syntax nor a placeholder, and
// the request says what the receiver of the body needs.
func TestValuesAreValues(t *testing.T) {
	m := sms.Message{To: to, Text: text, Code: "987654", Lang: "pt-BR", Validity: 5*time.Minute + time.Second}
	want := []string{to, text, "987654", "pt-BR", "5", apiKey + `"&{to}`}
	for name, tc := range map[string]struct {
		c    Config
		read func(body []byte) []string
	}{
		"form": {
			Config{Form: []Field{{"a b", "{to}"}, {"t", "{text}"}, {"c", "{code}"}, {"l", "{lang}"}, {"m", "{minutes}"}, {"k", "{env.KEY}"}, {"x", "1 & 2"}, {"t", "again"}}},
			func(body []byte) []string {
				v, err := url.ParseQuery(string(body))
				if err != nil || v.Get("x") != "1 & 2" || len(v["t"]) != 2 {
					t.Errorf("form %s: %v", body, err)
				}
				return []string{v.Get("a b"), v.Get("t"), v.Get("c"), v.Get("l"), v.Get("m"), v.Get("k")}
			},
		},
		"JSON": {
			Config{Body: `{"v":["{to}","{text}","{code}","{lang}","{minutes}","{env.KEY}"]}`},
			func(body []byte) []string {
				var v struct{ V []string }
				if err := json.Unmarshal(body, &v); err != nil {
					t.Errorf("JSON %s: %v", body, err)
				}
				return v.V
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if got := tc.read(body); !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				if kind := r.Header.Get("Content-Type"); (kind == "application/x-www-form-urlencoded") != (name == "form") {
					t.Errorf("content type %q", kind)
				}
			}))
			defer srv.Close()
			tc.c.URL, tc.c.LookUp = srv.URL, lookUp
			if _, err := sender(t, tc.c).Send(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSuccessIsWhatTheOperatorSays(t *testing.T) {
	taken := func(status int, _ http.Header, body []byte) bool {
		return status == 202 || strings.HasPrefix(string(body), "taken")
	}
	for name, tc := range map[string]struct {
		status int
		body   string
		want   *sms.Error
	}{
		"the status":       {202, "", nil},
		"the body":         {200, "taken", nil},
		"neither":          {200, "sorry, " + to, &sms.Error{Code: "200", Kind: sms.Unavailable, Sent: true}},
		"no 2xx at all":    {302, "taken", &sms.Error{Code: "302", Kind: sms.Misconfigured}},
		"not even with it": {500, "taken", &sms.Error{Code: "500", Kind: sms.Unavailable, Sent: true}},
		"too long":         {200, "taken" + strings.Repeat(" ", 1<<17), &sms.Error{Code: "200", Kind: sms.Unavailable, Sent: true}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			}))
			defer srv.Close()
			r, err := sender(t, Config{URL: srv.URL, Success: taken}).Send(t.Context(), message())
			if tc.want == nil {
				if err != nil || r.Provider != "webhook" {
					t.Errorf("Send = %+v, %v", r, err)
				}
				return
			}
			if e := failure(t, err); e.Kind != tc.want.Kind || e.Code != tc.want.Code || e.Sent != tc.want.Sent {
				t.Errorf("error is %+v", e)
			}
		})
	}
}

func TestRequestIsSigned(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		at := r.Header.Get("X-Caddymfa-Timestamp")
		h := hmac.New(sha256.New, []byte(secret))
		_, _ = fmt.Fprintf(h, "%s.%s", at, body)
		if got, want := r.Header.Get("X-Caddymfa-Signature"), "sha256="+hex.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("signature %q, want %q", got, want)
		}
		if n, err := strconv.ParseInt(at, 10, 64); err != nil || time.Since(time.Unix(n, 0)).Abs() > time.Minute {
			t.Errorf("timestamp %q", at)
		}
		if r.Header.Get("Authorization") != "Bearer "+apiKey {
			t.Error("the configured header is missing")
		}
	}))
	defer srv.Close()
	s := sender(t, Config{URL: srv.URL, Secret: secret, Headers: map[string]string{"Authorization": "Bearer " + apiKey}})
	if _, err := s.Send(t.Context(), message()); err != nil {
		t.Error(err)
	}
	// Made with: printf %s '1700000000.{"to":"+12015550123","text":"x"}' | openssl dgst -sha256 -hmac secret
	const want = "b4b18d06fd7ef6a13e5e0a9c5f4b3034d2eccb3cf69f04b10ed52c26f6f299bf"
	if got := sign("secret", "1700000000", `{"to":"+12015550123","text":"x"}`); got != want {
		t.Errorf("sign = %q, want %q", got, want)
	}
}

func TestAnswersAreClassified(t *testing.T) {
	for status, want := range map[int]*sms.Error{
		200: nil, 201: nil, 202: nil, 204: nil,
		301: {Kind: sms.Misconfigured}, 307: {Kind: sms.Misconfigured},
		400: {Kind: sms.Misconfigured}, 401: {Kind: sms.Misconfigured}, 404: {Kind: sms.Misconfigured},
		422: {Kind: sms.Refused},
		429: {Kind: sms.Unavailable, RetryAfter: 9 * time.Second},
		500: {Kind: sms.Unavailable, Sent: true, RetryAfter: 9 * time.Second}, 503: {Kind: sms.Unavailable, Sent: true, RetryAfter: 9 * time.Second},
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			var n atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n.Add(1)
				w.Header().Set("Location", "/elsewhere")
				if status == 429 || status >= 500 {
					w.Header().Set("Retry-After", "9")
				}
				w.WriteHeader(status)
				if status != 204 {
					_, _ = io.Copy(w, io.LimitReader(r.Body, 100)) // a gateway that quotes the request
				}
			}))
			defer srv.Close()
			_, err := sender(t, Config{URL: srv.URL + "/?key=" + apiKey, Secret: secret}).Send(t.Context(), message())
			if n.Load() != 1 {
				t.Errorf("%d requests", n.Load())
			}
			if want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if e := failure(t, err); e.Kind != want.Kind || e.Sent != want.Sent || e.RetryAfter != want.RetryAfter || e.Code != strconv.Itoa(status) {
				t.Errorf("error is %+v", e)
			}
		})
	}
}

func TestNoAnswer(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	c := Config{URL: srv.URL + "/?key=" + apiKey, Timeout: 200 * time.Millisecond}
	_, err := sender(t, c).Send(t.Context(), message())
	if e := failure(t, err); e.Kind != sms.Unavailable || !e.Sent {
		t.Errorf("hanging: %+v", e)
	}
	close(release)
	srv.Close()
	_, err = sender(t, c).Send(t.Context(), message())
	if e := failure(t, err); e.Kind != sms.Unavailable || e.Sent {
		t.Errorf("nobody there: %+v", e)
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	header := func(name, value string) map[string]string { return map[string]string{name: value} }
	for name, tc := range map[string]struct {
		c         Config
		complaint string
	}{
		"minimal":                   {Config{URL: "https://sms.example.com/send"}, ""},
		"no address":                {Config{}, "the address is none"},
		"no scheme":                 {Config{URL: "sms.example.com"}, "the address is none"},
		"no host":                   {Config{URL: "https:///x"}, "the address is none"},
		"GET":                       {Config{URL: "https://x.example", Method: "GET"}, "use POST or PUT"},
		"small letters":             {Config{URL: "https://x.example", Method: "post"}, "use POST or PUT"},
		"body without text":         {Config{URL: "https://x.example", Body: `{"to":"{to}"}`}, "lacks {to} or {text}"},
		"body outside quotes":       {Config{URL: "https://x.example", Body: `{"to":"{to}","text":{text}}`}, "inside quotes"},
		"number without quote":      {Config{URL: "https://x.example", Body: `{"to":{to},"text":"{text}"}`}, "inside quotes"},
		"body is no JSON":           {Config{URL: "https://x.example", Body: `to={to}&text={text}`}, "body is no JSON"},
		"XML":                       {Config{URL: "https://x.example", Body: `<a>{to}{text}</a>`, Headers: header("Content-Type", "text/xml")}, "Content-Type is not possible"},
		"header name":               {Config{URL: "https://x.example", Headers: header("a b", "x")}, "no header name"},
		"header value":              {Config{URL: "https://x.example", Headers: header("X-Key", secret+"\n")}, "line break"},
		"header of ours":            {Config{URL: "https://x.example", Headers: header("x-caddymfa-signature", "x")}, "set by the request itself"},
		"host header":               {Config{URL: "https://x.example", Headers: header("Host", "y")}, "set by the request itself"},
		"length header":             {Config{URL: "https://x.example", Headers: header("content-length", "1")}, "set by the request itself"},
		"JSON placeholder":          {Config{URL: "https://x.example", Body: `{"to":"{to}","text":"{txt}"}`}, "{txt} is unknown: write one of {code}, {lang}, {minutes}, {text}, {to}"},
		"JSON without secret":       {Config{URL: "https://x.example", Body: `{"to":"{to}","text":"{text}","k":"{env.X}"}`, LookUp: lookUp}, "stands for nothing"},
		"code in place of text":     {Config{URL: "https://x.example", Body: `{"to":"{to}","otp":"{code}"}`}, ""},
		"minutes as a number":       {Config{URL: "https://x.example", Body: `{"to":"{to}","text":"{text}","ttl":{minutes}}`}, ""},
		"form":                      {Config{URL: "https://x.example", Form: []Field{{"to", "{to}"}, {"text", "{text}"}}}, ""},
		"form and body":             {Config{URL: "https://x.example", Body: `{"to":"{to}","text":"{text}"}`, Form: []Field{{"to", "{to}"}}}, "body and form are both there"},
		"form placeholder":          {Config{URL: "https://x.example", Form: []Field{{"to", "{number}"}}}, "form to: {number} is unknown"},
		"form without secret":       {Config{URL: "https://x.example", Form: []Field{{"to", "{to}"}, {"text", "{text}"}, {"key", "{env.X}"}}, LookUp: lookUp}, "form key: {env.X} stands for nothing"},
		"form without number":       {Config{URL: "https://x.example", Form: []Field{{"text", "{text}"}}}, "lacks {to} or {text}"},
		"form without text":         {Config{URL: "https://x.example", Form: []Field{{"to", "{to}"}, {"m", "{minutes}"}}}, "lacks {to} or {text}"},
		"form with a value as name": {Config{URL: "https://x.example", Form: []Field{{"{to}", "{text}"}}}, "no field name"},
		"form and content type":     {Config{URL: "https://x.example", Form: []Field{{"to", "{to}"}, {"text", "{text}"}}, Headers: header("content-type", "application/json")}, "set by form"},
		"negative time":             {Config{URL: "https://x.example", Timeout: -1}, "time-out"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tc.c)
			switch {
			case tc.complaint == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.complaint != "" && (err == nil || !strings.Contains(err.Error(), tc.complaint)):
				t.Errorf("error %v, want one with %q", err, tc.complaint)
			case err != nil && strings.Contains(err.Error(), secret):
				t.Errorf("the error holds a value: %v", err)
			}
		})
	}
}

// TestAnyValueArrivesAsItIs: whatever numbers, texts and secrets hold.
func TestAnyValueArrivesAsItIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := sms.Message{To: rapid.String().Draw(t, "to"), Text: rapid.String().Draw(t, "text"), Code: rapid.String().Draw(t, "code"), Lang: rapid.String().Draw(t, "lang")}
		key := rapid.String().Draw(t, "key")
		want := []string{m.To, m.Text, m.Code, m.Lang, key}
		c := Config{URL: "https://x.example", LookUp: func(string) (string, error) { return key, nil }}
		c.Body = `{"v":["{to}","{text}","{code}","{lang}","{env.KEY}"]}`
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		var v struct{ V []string }
		if err := json.Unmarshal([]byte(s.body.fill(m, s.escape)), &v); err != nil || !slices.Equal(v.V, want) {
			t.Fatalf("JSON: %q, %v, want %q", v.V, err, want)
		}
		c.Body, c.Form = "", []Field{{"v", "{to}"}, {"v", "{text}"}, {"v", "{code}"}, {"v", "{lang}"}, {"v", "{env.KEY}"}}
		if s, err = New(c); err != nil {
			t.Fatal(err)
		}
		if got, err := url.ParseQuery(s.body.fill(m, s.escape)); err != nil || !slices.Equal(got["v"], want) || len(got) != 1 {
			t.Fatalf("form: %q, %v, want %q", got, err, want)
		}
	})
}
