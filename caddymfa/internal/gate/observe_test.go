package gate_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/store/bolt"
)

// echo shows a request as it arrives.
func echo(rw http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	rw.Header().Set("Set-Cookie", "SID=from-the-application; Path=/; HttpOnly")
	rw.Header().Set("ETag", `"x"`)
	rw.WriteHeader(http.StatusAccepted)
	_, _ = fmt.Fprintf(rw, "%s %s %v %d %v %d bytes %v", r.Method, r.RequestURI, r.Header, r.ContentLength, r.TransferEncoding, len(b), err)
	_, _ = rw.Write(b)
}

// TestObserveTouchesNothing: with the gate the application sees the same requests
// as without it, and the client the same answers, whatever the gate would have done.
func TestObserveTouchesNothing(t *testing.T) {
	s, err := bolt.Open(filepath.Join(t.TempDir(), "mfa.db"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, backend{Store: s}, 1, http.HandlerFunc(echo), func(g *gate.Gate, _ *login.Config) {
		g.Deny = []*match.Entry{entry(t, match.Request{Methods: []string{"*"}, Paths: []string{"/xmlrpc"}})}
		g.CredentialQuery = []string{"key"}
	})
	w.observe = true
	direct := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(direct.Close)

	ask := func(base, method, target, body, kind string, head ...string) (int, http.Header, string) {
		req, err := http.NewRequest(method, base, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = target
		if body == "" {
			req.Body = nil
		}
		req.Header.Set("Content-Type", kind)
		for i := 0; i+1 < len(head); i += 2 {
			req.Header.Add(head[i], head[i+1])
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		res.Header.Del("Date")
		return res.StatusCode, res.Header, string(b)
	}
	const form = "application/x-www-form-urlencoded"
	for name, tc := range map[string]struct {
		method, target, body, kind string
		head                       []string
		want                       event.Reason
	}{
		"a page":            {"GET", "/home?a=1", "", "", nil, event.Gated},
		"a strange path":    {"GET", "/a/..;/x%2fy?q=%zz;b", "", "", nil, event.Gated},
		"the login page":    {"GET", "/login?next=%2F", "", "", nil, event.IsLoginFlow},
		"public":            {"GET", "/public/x", "", "", nil, event.IsPublic},
		"an asset":          {"GET", "/x.css?v=1", "", "", nil, event.IsPublic},
		"shut":              {"POST", "/xmlrpc", "<x/>", "text/xml", nil, event.Denied},
		"ours":              {"POST", "/mfa/verify", "otp=1", form, nil, event.OwnRoute},
		"a login":           {"POST", "/login", "user=alice&password=pw-a", form, nil, event.IsLogin},
		"an ambiguous one":  {"POST", "/login", "user=alice&user=bob&password=x", form, nil, event.Ambiguous},
		"an unreadable one": {"POST", "/login", "\xff\xfe", "application/json", nil, event.Ambiguous},
		"a long body":       {"POST", "/login", strings.Repeat("x", 3<<20), form, nil, event.BodyTooLarge},
		"a password by GET": {"GET", "/login?user=alice&password=x", "", "", nil, event.LoginByGet},
		"credentials":       {"GET", "/home?key=abc", "", "", []string{"Authorization", "Basic YTpi", "X-Original-URL", "/x", "Cookie", "SID=a; mfa=b", "Cookie", "c=d"}, event.Gated},
		"jsessionid":        {"GET", "/home;jsessionid=1", "", "", nil, event.Gated},
	} {
		before := len(w.events.all)
		status, head, body := ask(w.nodes[0].URL, tc.method, tc.target, tc.body, tc.kind, tc.head...)
		wantStatus, wantHead, wantBody := ask(direct.URL, tc.method, tc.target, tc.body, tc.kind, tc.head...)
		if status != wantStatus || !reflect.DeepEqual(head, wantHead) || body != wantBody {
			t.Errorf("%s:\n%d %v %.300s\ninstead of\n%d %v %.300s", name, status, head, body, wantStatus, wantHead, wantBody)
		}
		if got := w.events.all[before:]; len(got) != 1 || got[0].Name != event.Observed || got[0].Reason != tc.want {
			t.Errorf("%s: %+v, want %s", name, got, tc.want)
		}
	}
	if w.store.dump() != "" || w.phones.count() != 0 {
		t.Errorf("something was stored or sent: %q", w.store.dump())
	}
	if all := w.events.String(); strings.Contains(all, "pw-a") || strings.Contains(all, "abc") {
		t.Error("a value is in the log")
	}
}

// TestObserveKnowsItsClients: strangers, sessions of unknown worth, and sessions
// that were seen to sign in.
func TestObserveKnowsItsClients(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.observe = true
		last := func() event.Seen { return *w.events.all[len(w.events.all)-1].Seen }
		c := w.browser().get("/home")
		if s := last(); s.Client != event.Stranger || !s.NewSession || s.Status != http.StatusFound {
			t.Errorf("a stranger: %+v", s)
		}
		c.get("/login")
		if s := last(); s.Client != event.WithSession {
			t.Errorf("a session: %+v", s)
		}
		c.login("alice", "wrong")
		if s := last(); s.Verdict != event.Rejected {
			t.Errorf("a wrong password: %+v", s)
		}
		if c.get("/home"); last().Client != event.WithSession {
			t.Errorf("after a wrong password: %+v", last())
		}
		c.login("alice", "pw-a")
		if s := last(); s.Verdict != event.Accepted {
			t.Errorf("a right password: %+v", s)
		}
		if c.get("/home"); last().Client != event.SignedIn || c.body != marker+" of alice" {
			t.Errorf("after it: %+v %s", last(), c.body)
		}
		if got := w.app.requests(); slices.Contains(got, "GET /me") {
			t.Errorf("the application was asked: %v", got)
		}
	}, func(_ *gate.Gate, r *login.Config) {
		r.Success = [][]match.Condition{{{Status: []int{302}}, {Location: "^/home$"}}}
	})
}
