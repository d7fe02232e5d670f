package e2e

import (
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddymfa/caddymfa/test/demoapp"
)

// odd is a value of a form that is easily changed on its way.
const odd = `a"b<c>&'+%é` + "\r\n=; "

// callback is the demo application with an address that an identity provider's
// form comes back to, and a page that browsers may keep.
func callback() http.Handler {
	demo := demoapp.New()
	var posted atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/acs" && r.Method == http.MethodGet:
			posted.Store(0)
			http.SetCookie(w, &http.Cookie{Name: "STATE", Value: "asked", Path: "/", HttpOnly: true})
		case r.URL.Path == "/acs":
			_ = r.ParseMultipartForm(1 << 20)
			says := "no session"
			if c, err := r.Cookie("STATE"); err == nil && c.Value == "asked" {
				says = "session found"
			}
			if posted.Add(1) == 1 && r.URL.RawQuery == "x=1" && fmt.Sprint(r.PostForm) == fmt.Sprint(map[string][]string{"SAMLResponse": {strings.Repeat("PHNhbWw+", 7000)}, "RelayState": {odd}, "submit": {"1"}, "twice": {"1", "2"}}) {
				says += ", as it was posted, once"
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "<!doctype html><title>Callback</title><p id=says>"+says)
		case r.URL.Path == "/kept":
			w.Header().Set("Cache-Control", "private, max-age=3600")
			demo.ServeHTTP(w, r)
		default:
			demo.ServeHTTP(w, r)
		}
	})
}

var elsewhere = template.Must(template.New("").Parse(`<!doctype html><meta charset=utf-8><title>Elsewhere</title>
{{if .Get "of"}}<iframe src="{{.Get "of"}}" width=300 height=300></iframe>{{end}}
{{if .Get "to"}}<form method=post action="{{.Get "to"}}" enctype="{{.Get "as"}}">
<input type=hidden name=SAMLResponse value="` + strings.Repeat("PHNhbWw+", 7000) + `"><input type=hidden name=RelayState value="` + template.HTMLEscapeString(odd) + `">
<input type=hidden name=submit value=1><input type=hidden name=twice value=1><input type=hidden name=twice value=2><button>Go</button></form>{{end}}`))

// TestPeople_P7_P8_P12_OtherOrigins walks between pages of several origins and
// sites in Chromium.
func TestPeople_P7_P8_P12_OtherOrigins(t *testing.T) {
	app := httptest.NewServer(callback())
	t.Cleanup(app.Close)
	var origins []string
	for i := range 4 {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = elsewhere.Execute(w, r.URL.Query()) }))
		t.Cleanup(srv.Close)
		if i > 1 { // of another site than the gate: its name is another
			srv.URL = strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
		}
		origins = append(origins, srv.URL)
	}
	block := demoBlockDirectory + `
		login_flow GET POST /acs
		allow_origin ` + origins[0] + ` ` + origins[2]
	g := startGate(t, freePort(t), app.Listener.Addr().String(), block, "")
	g.chromium(t, "origins.mjs", append([]string{g.url}, origins...)...)
}

// TestPeople_P14_Back signs out in Chromium and goes back.
func TestPeople_P14_Back(t *testing.T) {
	for _, setting := range []string{"on", "off"} {
		t.Run(setting, func(t *testing.T) {
			app := httptest.NewServer(callback())
			t.Cleanup(app.Close)
			g := startGate(t, freePort(t), app.Listener.Addr().String(), demoBlockDirectory+"\n\t\tbrowser_cache "+setting, "")
			g.chromium(t, "back.mjs", g.url, setting)
		})
	}
}
