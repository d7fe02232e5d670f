package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/caddymfa/caddymfa/test/demoapp"
)

// singlePage is an application whose page signs in by script and knows nothing of
// a second factor. policy is its Content-Security-Policy.
type singlePage struct {
	mu     sync.Mutex
	tokens map[string]string
	policy string
}

const singlePageHTML = `<!doctype html><html lang=en><head><meta charset=utf-8><title>out</title></head><body><main><h1>App</h1>
<form><label>User <input name=user></label><label>Password <input name=password type=password></label>
<button name=by value=fetch>fetch</button><button name=by value=xhr>xhr</button><button name=by value=state>state</button><button name=by value=impatient>impatient</button></form><p id=says></p></main>
<script src=/app.js NONCE></script></body></html>`

// singlePageScript makes a sign-in in each of the three ways that are in use, and shows a page
// with the token that it was given.
const singlePageScript = `
document.addEventListener('keydown', (e) => { if (e.key === 'Escape') document.title = 'closed'; });
const says = (text) => { document.getElementById('says').textContent = text; };
const go = async (status, body) => {
  if (status !== 200) { says('failed ' + status); return; }
  const res = await fetch('/api/report', { headers: { Authorization: 'Bearer ' + body.token } });
  document.title = 'in';
  says(await res.text());
};
document.querySelector('form').addEventListener('submit', (e) => {
  e.preventDefault();
  const form = new FormData(e.target);
  const body = JSON.stringify({ user: { name: form.get('user') }, password: form.get('password') });
  const by = e.submitter.value;
  if (by === 'fetch') {
    fetch('/api/session', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
      .then(async (res) => go(res.status, res.ok ? await res.json() : null));
    return;
  }
  const xhr = new XMLHttpRequest();
  xhr.open('POST', '/api/session');
  xhr.setRequestHeader('Content-Type', 'application/json');
  if (by === 'impatient') setTimeout(() => { xhr.abort(); says('no answer in time'); }, 1500);
  if (by === 'xhr') {
    xhr.responseType = 'json';
    xhr.onload = () => go(xhr.status, xhr.response);
  } else {
    let calls = 0;
    xhr.onreadystatechange = () => {
      if (xhr.readyState !== 4) return;
      if (++calls > 1) says('twice');
      else go(xhr.status, xhr.status === 200 && /json/.test(xhr.getResponseHeader('Content-Type')) ? JSON.parse(xhr.responseText) : null);
    };
  }
  xhr.send(body);
});`

func (a *singlePage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	user := a.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	switch r.URL.Path {
	case "/":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if a.policy != "" {
			w.Header().Set("Content-Security-Policy", a.policy)
		}
		nonce := ""
		if strings.Contains(a.policy, "'nonce-own'") {
			nonce = "nonce=own"
		}
		_, _ = io.WriteString(w, strings.Replace(singlePageHTML, "NONCE", nonce, 1))
	case "/app.js":
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, singlePageScript)
	case "/api/session":
		var in struct {
			User     struct{ Name string }
			Password string
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || demoapp.Users[in.User.Name] == "" || demoapp.Users[in.User.Name] != in.Password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		token := fmt.Sprintf("token-%d-of-the-application", len(a.tokens))
		a.tokens[token] = in.User.Name
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
	case "/api/me":
		if user == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"name": user})
	default:
		if user == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, demoapp.Marker+" of "+user)
	}
}

const singlePageBlock = `
		app "Single page"
		login_page /
		login {
			method POST
			path /api/session
			user json user.name
			success status 200 json token
			identity /api/me json name
		}
		token json token
		enroll ENROLL`

// TestBridge signs in to a single-page application in Chromium, under several
// content security policies, and as a user who has no number yet.
func TestBridge(t *testing.T) {
	for name, tc := range map[string]struct{ policy, enroll string }{
		"no policy, first sign-in":    {"", "self"},
		"script-src self":             {"default-src 'self'; script-src 'self'; object-src 'none'", "directory"},
		"a nonce and strict-dynamic":  {"script-src 'nonce-own' 'strict-dynamic'; connect-src 'self'", "directory"},
		"nothing but what it needs":   {"default-src 'none'; script-src-elem 'nonce-own'; connect-src 'self'; style-src 'none'", "invite"},
		"trusted types and no inline": {"script-src 'self'; require-trusted-types-for 'script'", "directory"},
	} {
		t.Run(name, func(t *testing.T) {
			app := httptest.NewServer(&singlePage{tokens: map[string]string{}, policy: tc.policy})
			t.Cleanup(app.Close)
			g := startGate(t, freePort(t), app.Listener.Addr().String(), strings.Replace(singlePageBlock, "ENROLL", tc.enroll, 1), "")
			from := tc.enroll
			if from == "invite" {
				g.mustManage(t, "invite", "bob")
				from = regexp.MustCompile(`(?m)^code +(\S+)$`).FindStringSubmatch(g.mustManage(t, "invite", "alice"))[1]
			}
			g.chromium(t, "bridge.mjs", g.url, from)
			// bob, who gives up three times, has a number only in the directory.
			want := map[string]int{"self": 4, "invite": 4, "directory": 7}[tc.enroll]
			if n := g.phones.count(); n != want {
				t.Errorf("%d texts, want %d", n, want)
			}
		})
	}
}
