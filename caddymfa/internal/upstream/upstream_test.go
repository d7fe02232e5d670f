package upstream

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAttack_A4_TapSwallowsEarlyHints: a 103 may carry Set-Cookie, and nothing
// may leave before the final head was seen.
func TestAttack_A4_TapSwallowsEarlyHints(t *testing.T) {
	var heads []int
	w := httptest.NewRecorder()
	tap := &Tap{W: w, OnHead: HeadFunc(func(status int, h http.Header) bool {
		heads = append(heads, status)
		h.Del("Set-Cookie")
		return true
	})}
	tap.Header().Set("Set-Cookie", "early=1")
	tap.WriteHeader(http.StatusEarlyHints)
	tap.WriteHeader(http.StatusProcessing)
	tap.Header().Set("Set-Cookie", "late=1")
	tap.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(tap, "body")
	if len(heads) != 1 || heads[0] != http.StatusCreated || w.Code != http.StatusCreated || w.Body.String() != "body" || len(w.Header()["Set-Cookie"]) != 0 {
		t.Fatalf("heads %v, %d %v", heads, w.Code, w.Header())
	}
}

func TestTapDropsAllOfARefusedAnswer(t *testing.T) {
	w := httptest.NewRecorder()
	tap := &Tap{W: w, OnHead: HeadFunc(func(int, http.Header) bool { return false })}
	if n, err := tap.ReadFrom(strings.NewReader("secret")); n != 6 || err != nil {
		t.Fatal(n, err)
	}
	_, _ = tap.Write([]byte("secret"))
	if err := tap.FlushError(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tap.Hijack(); err == nil {
		t.Fatal("a refused upgrade was handed over")
	}
	if w.Body.Len() != 0 || w.Flushed || !tap.Dropped() {
		t.Fatalf("%q left", w.Body.String())
	}
}

func TestTapShowsTheHeadOnEveryWay(t *testing.T) {
	for name, use := range map[string]func(*Tap){
		"write":    func(tap *Tap) { _, _ = tap.Write([]byte("x")) },
		"readfrom": func(tap *Tap) { _, _ = io.Copy(tap, struct{ io.Reader }{strings.NewReader("x")}) },
		"flush":    func(tap *Tap) { _ = http.NewResponseController(tap).Flush() },
	} {
		seen := 0
		use(&Tap{W: httptest.NewRecorder(), OnHead: HeadFunc(func(status int, _ http.Header) bool { seen = status; return true })})
		if seen != http.StatusOK {
			t.Errorf("%s: %d", name, seen)
		}
	}
}

func TestCaptureWithholds(t *testing.T) {
	outer := httptest.NewRecorder()
	ask := func(h http.HandlerFunc, limit int64) (*Reply, error) {
		r := httptest.NewRequest(http.MethodPost, "/login", nil)
		return Capture(HandlerFunc(func(w http.ResponseWriter, r *http.Request) error { h(w, r); return nil }), r, limit)
	}
	rep, err := ask(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "identity" {
			t.Error("compression was asked for")
		}
		if _, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
			t.Error("the client's writer can be reached")
		}
		w.Header().Set("Content-Length", "999")
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusFound)
		_, _ = w.Write([]byte("body"))
		w.Header().Set("Set-Cookie", "late=1")
	}, 10)
	if err != nil || rep.Status != http.StatusFound || string(rep.Body) != "body" || len(rep.Header) != 0 || outer.Body.Len() != 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	for want, h := range map[error]http.HandlerFunc{
		ErrTooLarge: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("x"), 11)) },
		ErrNoAnswer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		ErrUpgrade:  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusSwitchingProtocols) },
		ErrEncoding: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			_, _ = w.Write([]byte("x"))
		},
	} {
		if _, err := ask(h, 10); !errors.Is(err, want) {
			t.Errorf("%v: got %v", want, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("another panic was swallowed")
		}
	}()
	_, _ = ask(func(http.ResponseWriter, *http.Request) { panic("a bug") }, 10)
}

func TestAttack_B5_DressEndsUpgradesOfEveryProtocol(t *testing.T) {
	for name, tc := range map[string]struct {
		major   int
		proto   string
		header  http.Header
		upgrade bool
		want    bool // the application may get an upgrade
	}{
		"HTTP/1.1 before the code": {1, "HTTP/1.1", http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}, false, false},
		"HTTP/1.1":                 {1, "HTTP/1.1", http.Header{"Upgrade": {"WebSocket"}, "Connection": {"keep-alive, Upgrade"}}, true, true},
		"h2c":                      {1, "HTTP/1.1", http.Header{"Upgrade": {"h2c"}, "Connection": {"Upgrade"}}, true, false},
		"two upgrades":             {1, "HTTP/1.1", http.Header{"Upgrade": {"websocket", "h2c"}, "Connection": {"Upgrade"}}, true, false},
		"HTTP/2 before the code":   {2, "HTTP/2.0", http.Header{":protocol": {"websocket"}}, false, false},
		"HTTP/2":                   {2, "HTTP/2.0", http.Header{":protocol": {"websocket"}}, true, true},
		"HTTP/3 before the code":   {3, "websocket", http.Header{}, false, false},
		"HTTP/3":                   {3, "websocket", http.Header{}, true, true},
	} {
		r := &http.Request{Method: http.MethodConnect, Header: tc.header, Proto: tc.proto, ProtoMajor: tc.major}
		Dress(r, "", nil, tc.upgrade)
		if got := len(r.Header["Upgrade"]) > 0 || r.Header.Get(":protocol") != "" || r.Proto == "websocket"; got != tc.want {
			t.Errorf("%s: %v %s", name, r.Header, r.Proto)
		}
	}
}
