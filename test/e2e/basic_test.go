package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/test/demoapp"
)

// basicApp asks for HTTP Basic everywhere.
func basicApp(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	if want, ok := demoapp.Users[user]; !ok || want != password {
		w.Header().Set("WWW-Authenticate", `Basic realm="payroll"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<!doctype html><title>Payroll</title>"+demoapp.Marker+" of "+user)
}

// basicPage asks for the password itself, and sends it by HTTP Basic.
const basicPage = `<!doctype html><html lang=en><head><meta charset=utf-8><title>Basic</title></head><body><main><h1>App</h1>
<form><label>User <input name=user></label><label>Password <input name=password type=password></label>
<button value=fetch>1</button><button value=request>2</button><button value=xhr>3</button><button value=arguments>4</button><button value=sync>5</button><button value=sync-arguments>6</button></form><p id=says></p></main>
<script>
const says = (status, text) => { document.getElementById('says').textContent = status === 200 ? text : 'failed ' + status; };
document.querySelector('form').addEventListener('submit', (e) => {
  e.preventDefault();
  const form = new FormData(e.target), user = form.get('user'), password = form.get('password'), by = e.submitter.value;
  const call = { method: 'POST', headers: { Authorization: 'Basic ' + btoa(user + ':' + password), 'Content-Type': 'text/plain' }, body: 'posted' };
  if (by === 'fetch' || by === 'request') {
    fetch(...by === 'fetch' ? ['/api/say', call] : [new Request('/api/say', call)]).then(async (res) => says(res.status, await res.text()));
    return;
  }
  const xhr = new XMLHttpRequest(), wait = !by.startsWith('sync');
  if (by.endsWith('arguments')) xhr.open('POST', '/api/say', wait, user, password);
  else {
    xhr.open('POST', '/api/say', wait);
    xhr.setRequestHeader('Authorization', call.headers.Authorization);
  }
  xhr.setRequestHeader('Content-Type', 'text/plain');
  let loads = 0;
  xhr.onload = () => says(xhr.status, ++loads > 1 ? 'twice' : xhr.responseText);
  xhr.send('posted');
});
</script></body></html>`

// remoteUser believes what Caddy says of the user.
func remoteUser(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<!doctype html><title>Payroll</title>"+demoapp.Marker+" of "+r.Header.Get("Remote-User"))
}

// The hash of alice's password, by bcrypt.
const aliceHash = "$2a$10$jN1.dBDq3QZA2Jr93dMLg.Fp6xrD0jwPQHQAuX/KypFSded5UmG22"

// TestBasicInChromium signs in by HTTP Basic, the application's own and Caddy's.
func TestBasicInChromium(t *testing.T) {
	t.Run("of the application", func(t *testing.T) {
		app := httptest.NewServer(http.HandlerFunc(basicApp))
		t.Cleanup(app.Close)
		g := startGate(t, freePort(t), app.Listener.Addr().String(), "login {\nbasic /probe\n}", "")
		g.chromium(t, "basic.mjs", g.url)
	})
	t.Run("People_P23 by a script", func(t *testing.T) {
		app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = io.WriteString(w, basicPage)
				return
			}
			user, password, _ := r.BasicAuth()
			if want, ok := demoapp.Users[user]; !ok || want != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="payroll"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, demoapp.Marker+" of "+user+", "+string(body))
		}))
		t.Cleanup(app.Close)
		g := startGate(t, freePort(t), app.Listener.Addr().String(), "login {\nbasic /api/whoami\n}\npublic /\nbridge on", "")
		g.chromium(t, "basic-script.mjs", g.url)
	})
	t.Run("of Caddy", func(t *testing.T) {
		app := httptest.NewServer(http.HandlerFunc(remoteUser))
		t.Cleanup(app.Close)
		g := startGate(t, freePort(t), app.Listener.Addr().String(), "first_factor {http.auth.user.id}", "", func(_ *gate, text string) string {
			text = strings.Replace(text, "\tlog\n", "\tlog\n\tbasic_auth {\n\t\talice "+aliceHash+"\n\t}\n", 1)
			return strings.Replace(text, "reverse_proxy "+app.Listener.Addr().String(),
				"reverse_proxy "+app.Listener.Addr().String()+" {\n\t\theader_up Remote-User {http.auth.user.id}\n\t}", 1)
		})
		g.chromium(t, "basic.mjs", g.url)
	})
}
