package gateway

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

func TestRetryAfter(t *testing.T) {
	soon := time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat)
	for name, tc := range map[string]struct {
		value    string
		from, to time.Duration
		ok       bool
	}{
		"none":          {"", 0, 0, false},
		"at once":       {"0", 0, 0, true},
		"seconds":       {"7", 7 * time.Second, 7 * time.Second, true},
		"a day":         {"86400", 24 * time.Hour, 24 * time.Hour, true},
		"over a day":    {"86401", 0, 0, false},
		"negative":      {"-1", 0, 0, false},
		"a fraction":    {"0.5", 0, 0, false},
		"a date":        {soon, 25 * time.Second, 30 * time.Second, true},
		"a past date":   {"Wed, 21 Oct 2015 07:28:00 GMT", 0, 0, true},
		"a far date":    {"Fri, 31 Dec 9999 23:59:59 GMT", 0, 0, false},
		"overflow":      {"99999999999999999999", 0, 0, false},
		"a sentence":    {"later", 0, 0, false},
		"with a number": {"1 second", 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := RetryAfter(http.Header{"Retry-After": {tc.value}})
			if ok != tc.ok || got < tc.from || got > tc.to {
				t.Errorf("RetryAfter(%q) = %s, %v", tc.value, got, ok)
			}
		})
	}
}

func TestIdleConnectionThatTheServerClosedIsNoDoubt(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	c := New("x", 0)
	send := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Do(req)
		return err
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	srv.Close()
	time.Sleep(100 * time.Millisecond) // for the client to see it; before that, doubt is right
	var e *sms.Error
	if err := send(); !asError(err, &e) || e.Sent || e.Code != CodeConnect {
		t.Errorf("after the server has gone: %v", err)
	}
}

func asError(err error, e **sms.Error) (ok bool) {
	*e, ok = err.(*sms.Error) //nolint:errorlint // Do promises the type itself
	return ok
}
