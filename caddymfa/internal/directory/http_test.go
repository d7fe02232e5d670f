package directory

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestHTTPFindsNumbers(t *testing.T) {
	var auth string
	users := map[string]http.HandlerFunc{}
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			auth = r.Header.Get("Authorization")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	users["alice"] = answer(200, `{"contact":{"phone":"+44 7400 123456"}}`)
	users["anna maria"] = answer(200, `{"contact":{"phone":"0171 1234567"}}`)
	users["empty"] = answer(200, `{"contact":{}}`)
	users["null"] = answer(200, `{"contact":{"phone":null}}`)
	users["words"] = answer(200, `{"contact":{"phone":"ask"}}`)
	users["number"] = answer(200, `{"contact":{"phone":447400123456}}`)
	users["text"] = answer(200, `hello`)
	users["long"] = answer(200, `{"contact":{"phone":"`+strings.Repeat(" ", maxAnswer)+`"}}`)
	users["broken"] = answer(500, `{"contact":{"phone":"+447400123456"}}`)
	users["refused"] = answer(401, ``)
	users["moved"] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/users/alice", http.StatusFound) }
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _ := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/users/"))
		if h := users[name]; h != nil && strings.HasPrefix(r.URL.EscapedPath(), "/users/") && r.URL.RawQuery == "" && strings.Count(r.URL.EscapedPath(), "/") == 2 {
			h(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	defer srv.Close()
	d, err := NewHTTP(HTTPConfig{URL: srv.URL + "/users/{user}", JSON: "contact.phone", Region: "DE", Header: http.Header{"Authorization": {"Bearer x"}}})
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{
		"alice": "+447400123456", "anna maria": "+491711234567", "empty": "", "null": "", "words": "", "nobody": "", "": "",
		// The name stays one segment of the path, and stays in the path.
		"../users/alice": "", "..": "", ".": "", "x/../alice": "", "alice?x": "", "alice#": "", "%61lice": "", "alice/": "",
	} {
		if got, err := d.Number(t.Context(), user); got != want || err != nil {
			t.Errorf("%q: %q, %v", user, got, err)
		}
	}
	for _, user := range []string{"number", "text", "long", "broken", "refused", "moved"} {
		if n, err := d.Number(t.Context(), user); n != "" || err == nil {
			t.Errorf("%s: %q, %v", user, n, err)
		}
	}
	if auth != "Bearer x" {
		t.Errorf("Authorization %q", auth)
	}
	srv.Close()
	if n, err := d.Number(t.Context(), "alice"); n != "" || err == nil || strings.Contains(err.Error(), "alice") {
		t.Errorf("away: %q, %v", n, err)
	}
}

func TestHTTPRefusesWhatIsNotSafe(t *testing.T) {
	for address, want := range map[string]string{
		"":                          "no address",
		"ftp://x/{user}":            "no address",
		"https://x.test/":           "everybody",
		"http://x.test/{user}":      "clear text",
		"https://a:b@x.test/{user}": "password",
		"https://{user}.x.test/":    "host",
	} {
		if _, err := NewHTTP(HTTPConfig{URL: address}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, address := range []string{"https://x.test/{user}", "https://x.test/?u={user}", "http://127.0.0.1:1/{user}"} {
		if _, err := NewHTTP(HTTPConfig{URL: address}); err != nil {
			t.Error(err)
		}
	}
}

type counted struct {
	n    atomic.Int64
	next func(user string) (string, error)
}

func (c *counted) Number(_ context.Context, user string) (string, error) {
	c.n.Add(1)
	return c.next(user)
}

func TestCachedForgetsWhatItMust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		number, fail := "+447400123456", error(nil)
		from := &counted{next: func(string) (string, error) { return number, fail }}
		c := NewCached(from)
		ask := func(want string, asked int64) {
			t.Helper()
			if n, err := c.Number(t.Context(), "alice"); n != want || !errors.Is(err, fail) || from.n.Load() != asked {
				t.Errorf("%q, %v, asked %d times", n, err, from.n.Load())
			}
		}
		ask(number, 1)
		ask(number, 1)
		number = "+447400654321"
		time.Sleep(cacheFor)
		ask(number, 2)
		// Neither an outage nor "nobody" is remembered.
		time.Sleep(cacheFor)
		number, fail = "", errors.New("away")
		ask("", 3)
		fail = nil
		ask("", 4)
		ask("", 5)
		number = "+447400123456"
		ask(number, 6)
	})
}
