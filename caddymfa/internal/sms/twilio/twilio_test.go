package twilio

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
	twiliotest "github.com/caddymfa/caddymfa/test/twilio"
)

const (
	to   = "+12015550123"
	text = "987654 is your Example & Söhne code.\n\n@login.example.com #987654"
)

func message() sms.Message {
	return sms.Message{To: to, Text: text, Validity: 5 * time.Minute}
}

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
		for _, secret := range []string{to[1:], "987654", testToken, testSecret, testKey[2:], testAccount[2:], "5005550006"} {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", deep, deep, deep), secret) {
				t.Errorf("D7: %q is in %v", secret, deep)
			}
		}
	}
	return e
}

func TestAgainstTheStandIn(t *testing.T) {
	srv := twiliotest.Start(t)
	base := Config{AccountSID: srv.AccountSID, AuthToken: srv.AuthToken, From: srv.From, APIURL: srv.URL}

	for i, tc := range []struct {
		name   string
		change func(*Config)
	}{
		{"by token and number", func(*Config) {}},
		{"by API key", func(c *Config) { c.AuthToken, c.APIKeySID, c.APIKeySecret = "", srv.APIKeySID, srv.APIKeySecret }},
		{"by messaging service", func(c *Config) { c.From, c.MessagingService = "", srv.MessagingService }},
		{"with a slash after the address", func(c *Config) { c.APIURL += "/" }},
		{"with all options", func(c *Config) { c.RiskCheck, c.ContentRetention, c.AddressRetention = "off", "discard", "obfuscate" }},
	} {
		t.Run("accepts "+tc.name, func(t *testing.T) {
			c := base
			tc.change(&c)
			m := message()
			m.To = fmt.Sprintf("+1201555012%d", i)
			r, err := sender(t, c).Send(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			got := srv.Messages(m.To)
			if len(got) != 1 || got[0].Body != text || got[0].To != m.To {
				t.Fatalf("texts are %+v", got)
			}
			if r.Provider != "twilio" || r.ID != got[0].SID || got[0].MessagingService != c.MessagingService {
				t.Errorf("receipt %+v for %+v", r, got[0])
			}
			if code := srv.LastCode(m.To); code != "987654" {
				t.Errorf("the last code is %q", code)
			}
		})
	}

	before := len(srv.Messages(""))
	for name, tc := range map[string]struct {
		change func(*Config)
		to     string
		kind   sms.Kind
		code   string
		hint   string
	}{
		"wrong token":             {func(c *Config) { c.AuthToken = strings.Repeat("0", 32) }, to, sms.Misconfigured, "20003", "check account_sid"},
		"wrong API key secret":    {func(c *Config) { c.APIKeySID, c.APIKeySecret = srv.APIKeySID, strings.Repeat("0", 32) }, to, sms.Misconfigured, "20003", "api_key"},
		"wrong account":           {func(c *Config) { c.AccountSID = "AC" + strings.Repeat("0", 32) }, to, sms.Misconfigured, "20003", "check account_sid"},
		"number of somebody else": {func(c *Config) { c.From = "+15005550001" }, to, sms.Misconfigured, "21606", "check from"},
		"service without sender":  {func(c *Config) { c.From, c.MessagingService = "", srv.EmptyService }, to, sms.Misconfigured, "21712", "messaging service"},
		"receiver is no number":   {func(*Config) {}, "hello", sms.Refused, "21201", "number"},
		"path that is not there":  {func(c *Config) { c.APIURL += "/elsewhere" }, to, sms.Misconfigured, "404", "404"},
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			c := base
			tc.change(&c)
			m := message()
			m.To = tc.to
			_, err := sender(t, c).Send(t.Context(), m)
			e := failure(t, err)
			if e.Kind != tc.kind || e.Code != tc.code || e.Sent || !strings.Contains(e.Error(), tc.hint) {
				t.Errorf("error is %+v", e)
			}
		})
	}
	if after := len(srv.Messages("")); after != before {
		t.Errorf("%d texts went out with failures", after-before)
	}
}

// created is Twilio's answer, cut down.
func created(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, `{"sid":"SM0123456789abcdef0123456789abcdef","status":"queued","error_code":null,"num_segments":"1"}`)
}

// serve runs a server and gives a sender for it and a count of its requests.
func serve(t *testing.T, h http.HandlerFunc) (*Sender, *atomic.Int32) {
	t.Helper()
	var n atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}))
	t.Cleanup(srv.Close)
	c := good()
	c.APIURL, c.Timeout = srv.URL, time.Second
	return sender(t, c), &n
}

func TestRequestIsTwilios(t *testing.T) {
	t.Setenv("TWILIO_EDGE", "sydney")
	t.Setenv("TWILIO_REGION", "au1")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	for name, tc := range map[string]struct {
		change   func(*Config)
		validity time.Duration
		user     string
		form     url.Values
	}{
		"token, number": {
			func(*Config) {}, 5 * time.Minute, testAccount,
			url.Values{"To": {to}, "Body": {text}, "From": {"+15005550006"}, "ValidityPeriod": {"300"}},
		},
		"key, service, callback": {func(c *Config) {
			c.APIKeySID, c.APIKeySecret, c.From, c.MessagingService = testKey, testSecret, "", testService
			c.StatusCallback = "https://sms.example.com/cb?a=1&b=2"
		}, 0, testKey, url.Values{"To": {to}, "Body": {text}, "MessagingServiceSid": {testService}, "StatusCallback": {"https://sms.example.com/cb?a=1&b=2"}}},
		"options": {
			func(c *Config) { c.RiskCheck, c.ContentRetention, c.AddressRetention = "on", "discard", "obfuscate" }, 5 * time.Minute, testAccount,
			url.Values{
				"To": {to}, "Body": {text}, "From": {"+15005550006"}, "ValidityPeriod": {"300"},
				"RiskCheck": {"enable"}, "ContentRetention": {"discard"}, "AddressRetention": {"obfuscate"},
			},
		},
		"risk check off": {
			func(c *Config) { c.RiskCheck = "off" }, 0, testAccount,
			url.Values{"To": {to}, "Body": {text}, "From": {"+15005550006"}, "RiskCheck": {"disable"}},
		},
		"validity below Twilio's": {
			func(*Config) {}, time.Millisecond, testAccount,
			url.Values{"To": {to}, "Body": {text}, "From": {"+15005550006"}, "ValidityPeriod": {"6"}},
		},
		"validity above Twilio's": {
			func(*Config) {}, 1000 * time.Hour, testAccount,
			url.Values{"To": {to}, "Body": {text}, "From": {"+15005550006"}, "ValidityPeriod": {"36000"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				user, _, _ := r.BasicAuth()
				if err := r.ParseForm(); err != nil {
					t.Error(err)
				}
				if r.Method != http.MethodPost || r.URL.Path != "/base/2010-04-01/Accounts/"+testAccount+"/Messages.json" || user != tc.user || r.PostForm.Encode() != tc.form.Encode() {
					t.Errorf("%s %s by %s with %v", r.Method, r.URL, user, r.PostForm)
				}
				created(w)
			}))
			defer srv.Close()
			c := good()
			c.APIURL = srv.URL + "/base"
			tc.change(&c)
			r, err := sender(t, c).Send(t.Context(), sms.Message{To: to, Text: text, Validity: tc.validity})
			if err != nil || !strings.HasPrefix(r.ID, "SM") {
				t.Errorf("Send = %+v, %v", r, err)
			}
		})
	}
}

func TestAnswersAreClassified(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		kind   sms.Kind
		code   string
		sent   bool
	}{
		"invalid number":           {400, `{"code":21211,"message":"'To' +12015550123 is not valid","status":400}`, sms.Refused, "21211", false},
		"no mobile":                {400, `{"code":21614}`, sms.Refused, "21614", false},
		"landline":                 {400, `{"code":21635}`, sms.Refused, "21635", false},
		"opted out":                {400, `{"code":21610}`, sms.Refused, "21610", false},
		"country off":              {400, `{"code":21408}`, sms.Refused, "21408", false},
		"country off, 403":         {403, `{"code":21408}`, sms.Refused, "21408", false},
		"no route":                 {400, `{"code":21612}`, sms.Refused, "21612", false},
		"sender invalid":           {400, `{"code":21212}`, sms.Misconfigured, "21212", false},
		"trial account":            {400, `{"code":21608}`, sms.Misconfigured, "21608", false},
		"sender's queue full":      {400, `{"code":21611}`, sms.Unavailable, "21611", false},
		"retention not allowed":    {400, `{"code":30029}`, sms.Misconfigured, "30029", false},
		"unknown code":             {400, `{"code":29999}`, sms.Misconfigured, "29999", false},
		"400 without code":         {400, `{}`, sms.Misconfigured, "400", false},
		"credentials":              {401, `{"code":20003}`, sms.Misconfigured, "20003", false},
		"401 of something between": {401, `<html>`, sms.Misconfigured, "401", false},
		"number code with 401":     {401, `{"code":21211}`, sms.Misconfigured, "21211", false},
		"forbidden":                {403, `{"code":20003}`, sms.Misconfigured, "20003", false},
		"not found":                {404, `{"code":20404}`, sms.Misconfigured, "20404", false},
		"unprocessable":            {422, `{"type":"https://stoplight.io/prism/errors#UNPROCESSABLE_ENTITY","code":"x"}`, sms.Misconfigured, "422", false},
		"too many":                 {429, `{"code":20429}`, sms.Unavailable, "20429", false},
		"server error":             {500, `{"code":20500}`, sms.Unavailable, "20500", true},
		"HTML of a proxy":          {502, `<html>Bad Gateway +12015550123</html>`, sms.Unavailable, "502", true},
		"empty 503":                {503, ``, sms.Unavailable, "503", true},
		"number code with 500":     {500, `{"code":21211}`, sms.Unavailable, "21211", true},
		"200 with HTML":            {200, `<html>Sign in to the network</html>`, sms.Unavailable, "200", true},
		"201 without SID":          {201, `{}`, sms.Unavailable, "200", true},
		"204":                      {204, ``, sms.Unavailable, "200", true},
	} {
		t.Run(name, func(t *testing.T) {
			s, n := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			_, err := s.Send(t.Context(), message())
			e := failure(t, err)
			if e.Provider != "twilio" || e.Kind != tc.kind || e.Code != tc.code || e.Sent != tc.sent {
				t.Errorf("error is %+v", e)
			}
			if n.Load() != 1 {
				t.Errorf("%d requests", n.Load())
			}
		})
	}
}

func TestARetentionThatIsNotAllowedSaysWhatToDo(t *testing.T) {
	s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"code":30029}`)
	})
	_, err := s.Send(t.Context(), message())
	for _, hint := range []string{"content_retention", "address_retention", "Message Redaction"} {
		if !strings.Contains(err.Error(), hint) {
			t.Errorf("no word of %s in %v", hint, err)
		}
	}
}

func TestTooManyRequestsAreRetriedOnceWhenTheWaitIsShort(t *testing.T) {
	for name, tc := range map[string]struct {
		retryAfter string
		always     bool
		requests   int32
		wait       time.Duration // of the error
	}{
		"at once":         {"0", false, 2, 0},
		"in a second":     {"1", false, 2, 0},
		"only once":       {"0", true, 2, 0},
		"in two seconds":  {"2", false, 1, 2 * time.Second},
		"no word of when": {"", false, 1, 0},
		"nonsense":        {"-5", false, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var bodies []string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				bodies = append(bodies, string(body))
				if len(bodies) > 1 && !tc.always {
					created(w)
					return
				}
				if tc.retryAfter != "" {
					w.Header().Set("Retry-After", tc.retryAfter)
				}
				w.WriteHeader(http.StatusTooManyRequests)
				_, _ = io.WriteString(w, `{"code":20429,"status":429}`)
			}))
			defer srv.Close()
			c := good()
			c.APIURL = srv.URL
			_, err := sender(t, c).Send(t.Context(), message())
			if int32(len(bodies)) != tc.requests { //nolint:gosec // a few
				t.Errorf("%d requests, want %d", len(bodies), tc.requests)
			}
			for _, b := range bodies {
				if b != bodies[0] {
					t.Errorf("the second text differs: %q, %q", bodies[0], b)
				}
			}
			if accepted := tc.requests == 2 && !tc.always; accepted {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if e := failure(t, err); e.Kind != sms.Unavailable || e.Sent || e.RetryAfter != tc.wait {
				t.Errorf("error is %+v", e)
			}
		})
	}
}

func TestS13_RedirectsAreNotFollowed(t *testing.T) {
	var reached atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+r.URL.Path, status) })
		_, err := s.Send(t.Context(), message())
		if e := failure(t, err); e.Kind != sms.Misconfigured || e.Sent || !strings.Contains(e.Error(), "redirect") {
			t.Errorf("%d: error is %+v", status, e)
		}
	}
	if reached.Load() != 0 {
		t.Error("the credentials went to another address")
	}
}

func TestS12_HangingServerCostsTheTimeoutOnly(t *testing.T) {
	release := make(chan struct{})
	s, n := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	begin := time.Now()
	_, err := s.Send(t.Context(), message())
	if e := failure(t, err); e.Kind != sms.Unavailable || !e.Sent || e.Code != "no_answer" {
		t.Errorf("error is %+v", e)
	}
	if took := time.Since(begin); took < 900*time.Millisecond || took > 3*time.Second {
		t.Errorf("it took %s with a time-out of 1 s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin = time.Now()
	_, err = s.Send(ctx, message())
	if e := failure(t, err); !e.Sent || time.Since(begin) > time.Second {
		t.Errorf("the caller's time-out gives %+v after %s", e, time.Since(begin))
	}
	if n.Load() != 2 {
		t.Errorf("%d requests for 2 texts", n.Load())
	}
}

func TestSlowBodyEndsWithTheTimeout(t *testing.T) {
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	})
	begin := time.Now()
	_, err := s.Send(t.Context(), message())
	if e := failure(t, err); !e.Sent || time.Since(begin) > 3*time.Second {
		t.Errorf("error %+v after %s", e, time.Since(begin))
	}
}

func TestHugeAnswerIsCut(t *testing.T) {
	for _, status := range []int{201, 400, 500} {
		var written atomic.Int64
		s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			chunk := []byte(strings.Repeat(" ", 64<<10))
			for range 1024 { // 64 MiB
				n, err := w.Write(chunk)
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
		_, err := s.Send(t.Context(), message())
		if e := failure(t, err); e.Sent != (status != 400) {
			t.Errorf("%d: error is %+v", status, e)
		}
		if written.Load() > 32<<20 {
			t.Errorf("%d: %d bytes were taken", status, written.Load())
		}
	}
}

// raw answers each connection by hand.
func raw(t *testing.T, answer func(net.Conn)) (s *Sender, connections *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	connections = new(atomic.Int32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			go func() {
				defer func() { _ = c.Close() }()
				answer(c)
			}()
		}
	}()
	c := good()
	c.APIURL, c.Timeout = "http://"+l.Addr().String(), 2*time.Second
	return sender(t, c), connections
}

func TestConnectionCutIsNotRetried(t *testing.T) {
	for name, answer := range map[string]func(net.Conn){
		"after the request": func(c net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(c)) },
		"in the head": func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 201 Created\r\nContent-")
		},
		"in the body": func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{\"sid\":\"SM")
		},
		"with nonsense": func(c net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "SSH-2.0-x +12015550123\r\n")
		},
		"at once": func(net.Conn) {},
	} {
		t.Run(name, func(t *testing.T) {
			s, connections := raw(t, answer)
			_, err := s.Send(t.Context(), message())
			if e := failure(t, err); e.Kind != sms.Unavailable || !e.Sent {
				t.Errorf("error is %+v", e)
			}
			if n := connections.Load(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func TestNoConnectionIsRetriedOnceAndSendsNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	c := good()
	c.APIURL = "http://" + address
	s := sender(t, c)
	begin := time.Now()
	_, err = s.Send(t.Context(), message())
	if e := failure(t, err); e.Kind != sms.Unavailable || e.Sent || e.Code != "connect" || !strings.Contains(e.Error(), "connection refused") {
		t.Errorf("error is %+v", e)
	}
	if took := time.Since(begin); took < 100*time.Millisecond || took > 2*time.Second {
		t.Errorf("it took %s", took)
	}

	// The second try finds a server that has come back.
	time.AfterFunc(50*time.Millisecond, func() {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return // the port went to somebody else
		}
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { created(w) }))
		_ = srv.Listener.Close()
		srv.Listener = l
		srv.Start()
		t.Cleanup(srv.Close)
	})
	if _, err := s.Send(t.Context(), message()); err != nil {
		t.Errorf("the second try: %v", err)
	}
}

func TestUntrustedCertificateSendsNothing(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("the request arrived")
		created(w)
	}))
	defer srv.Close()
	srv.Config.ErrorLog = nil
	c := good()
	c.APIURL = srv.URL
	_, err := sender(t, c).Send(t.Context(), message())
	if e := failure(t, err); e.Sent || !strings.Contains(e.Error(), "certificate is not trusted") {
		t.Errorf("error is %+v", e)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	var opened atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength%2 == 0 { // errors too leave the connection usable
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"code":21211}`)
			return
		}
		created(w)
	}))
	srv.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	c := good()
	c.APIURL = srv.URL
	s := sender(t, c)
	for i := range 10 {
		_, _ = s.Send(t.Context(), sms.Message{To: to, Text: strings.Repeat("1", i+1)})
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("%d connections for 10 texts", n)
	}
}
