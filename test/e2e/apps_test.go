package e2e

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// app is a real application, how the gate is told about it, and how a person
// signs in.
type app struct {
	name  string
	port  int
	block string
	// page is behind the login and shows marker; deep is another such page.
	page, marker, deep string
	// login types name and password where the application asks for them.
	login func(b *browser, user, password string)
	// doors are the application's other ways in, tried with the right password.
	// None may show the marker, or make the page show it.
	doors  func(b *browser, user, password string)
	logout func(b *browser)
	single bool // one password, no users
}

const (
	alicePassword = "Alice-pw-1"
	bobPassword   = "Bob-pw-2"
)

var apps = []app{
	{
		name: "wordpress", port: 18010, block: "preset wordpress",
		page: "/wp-admin/", marker: "wp-admin-bar-logout", deep: "/wp-admin/edit.php",
		login: func(b *browser, user, password string) {
			b.get("/wp-login.php").submit(url.Values{"log": {user}, "pwd": {password}})
		},
		doors: func(b *browser, user, password string) {
			b.do(http.MethodPost, "/xmlrpc.php", "text/xml", `<methodCall><methodName>wp.getUsersBlogs</methodName><params><param><value>`+user+`</value></param><param><value>`+password+`</value></param></params></methodCall>`)
			b.mustNotHave("isAdmin")
			for _, path := range []string{"//wp-login.php", "/wp-login.php/x", "/%77p-login.php", "/wp-login.php?interim-login=1"} {
				b.post(path, url.Values{"log": {user}, "pwd": {password}})
				b.get("/wp-admin/").mustNotHave("wp-admin-bar-logout")
			}
			b.get("/wp-json/wp/v2/users/me", "Authorization", basic(user, password))
			b.mustNotHave(`"slug"`)
		},
		logout: func(b *browser) {
			doc := b.get("/wp-admin/").body
			i := strings.Index(doc, "action=logout")
			rest := doc[i:]
			link := rest[:strings.IndexAny(rest, `"'`)]
			b.get("/wp-login.php?" + html.UnescapeString(link))
		},
	},
	{
		name: "dokuwiki", port: 18020, block: "preset dokuwiki",
		page: "/doku.php?id=start", marker: "do=logout", deep: "/doku.php?id=wiki:syntax",
		login: func(b *browser, user, password string) {
			b.get("/doku.php?do=login").submit(url.Values{"u": {user}, "p": {password}})
		},
		doors: func(b *browser, user, password string) {
			q := url.Values{"u": {user}, "p": {password}}
			for _, path := range []string{"/doku.php?id=start&", "/feed.php?", "/lib/exe/ajax.php?", "/lib/exe/fetch.php?", "/lib/tpl/x.css?"} {
				b.get(path + q.Encode()).mustNotHave("do=logout")
				b.get("/doku.php?id=start").mustNotHave("do=logout")
			}
			b.get("/doku.php?id=start", "Authorization", basic(user, password)).mustNotHave("do=logout")
			b.get("/doku.php?id=start").mustNotHave("do=logout")
			b.do(http.MethodPost, "/lib/exe/xmlrpc.php", "text/xml", `<methodCall><methodName>dokuwiki.login</methodName><params><param><value><string>`+user+`</string></value></param><param><value><string>`+password+`</string></value></param></params></methodCall>`)
			b.get("/doku.php?id=start").mustNotHave("do=logout")
		},
		logout: func(b *browser) { b.get("/doku.php?id=start&do=logout") },
	},
	{
		name: "django", port: 18080, block: "preset django",
		page: "/admin/", marker: "Site administration", deep: "/admin/auth/user/",
		login: func(b *browser, user, password string) {
			b.get("/admin/login/").submit(url.Values{"username": {user}, "password": {password}})
		},
		doors: func(b *browser, user, password string) {
			b.get("/accounts/login/")
			b.post("/accounts/login/", url.Values{"username": {user}, "password": {password}})
			b.get("/admin/").mustNotHave("Site administration")
			b.get("/autoreset/x/set-password/").mustNotHave("Site administration")
		},
		logout: func(b *browser) { b.get("/admin/logout/") },
	},
	{
		name: "apache-auth", port: 18100, block: `
		login_page /login.html
		login form {
			any_path
			fields   httpd_username httpd_password
			user     answer_cookie ^lform$ "-user=([^&]+)"
			success  cookie ^lform$ "-user="
		}
		login inline {
			path     /inline/*
			fields   httpd_username httpd_password
			user     answer_cookie ^linline$ "-user=([^&]+)"
			success  cookie ^linline$ "-user="
		}
		session_cookies ^l(form|inline)$
		trap cookie ^l(form|inline)$ "-user="
		logout /dologout`,
		page: "/form/", marker: "SECRET-PAGE", deep: "/form/page2.html",
		login: func(b *browser, user, password string) {
			b.get("/login.html").submit(url.Values{"httpd_username": {user}, "httpd_password": {password}})
		},
		doors: func(b *browser, user, password string) {
			for _, path := range []string{"/form/", "/form/page2.html", "/basic/", "/inline/"} {
				b.post(path, url.Values{"httpd_username": {user}, "httpd_password": {password}}).mustNotHave("SECRET-PAGE")
				b.get(path, "Authorization", basic(user, password)).mustNotHave("SECRET-PAGE")
			}
			b.do("PROPFIND", "/dav/", "", "", "Authorization", basic(user, password)).mustNotHave("multistatus")
		},
		logout: func(b *browser) { b.get("/dologout") },
	},
	{
		name: "deluge", port: 18130, single: true, block: `
		login rpc {
			path    /json
			json    method auth.login
			user    constant deluge
			success json result true cookie ^_session_id$
		}
		public POST /json json method auth.check_session
		session_cookies ^_session_id$
		trap cookie ^_session_id$
		logout POST /json json method auth.delete_session`,
		page: "", marker: `"result": true`,
		login: func(b *browser, _, password string) {
			b.do(http.MethodPost, "/json", "application/json", `{"method":"auth.login","params":["`+password+`"],"id":1}`, "Accept", "application/json")
		},
		doors: func(b *browser, _, password string) {
			for path, body := range map[string]string{
				"//json": `{"method":"auth.login","params":["` + password + `"],"id":1}`,
				"/json":  `{"method":"\u0061uth.login","params":["` + password + `"],"id":1}`,
				"/json?": `{"method":"auth.check_session","method":"auth.login","params":["` + password + `"],"id":1}`,
			} {
				b.do(http.MethodPost, path, "application/json", body, "Accept", "application/json").mustNotHave(`"result": true`)
			}
		},
		logout: func(b *browser) {
			b.do(http.MethodPost, "/json", "application/json", `{"method":"auth.delete_session","params":[],"id":3}`, "Accept", "application/json")
		},
	},
}

func basic(user, password string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

// show asks for the page behind the login.
func (a *app) show(b *browser) {
	b.t.Helper()
	if a.page != "" {
		b.get(a.page)
		return
	}
	b.do(http.MethodPost, "/json", "application/json", `{"method":"auth.check_session","params":[],"id":2}`, "Accept", "application/json")
}

func TestRealApplications(t *testing.T) {
	for _, a := range apps {
		t.Run(a.name, func(t *testing.T) {
			port := freePort(t)
			g := startGate(t, port, "127.0.0.1:0", "login_page /\n\t\tlogin {\n\t\t\tpath /\n\t\t\tuser constant x\n\t\t\tsuccess cookie x\n\t\t}", "")
			g.stop() // only its port was wanted: the application must know its public address first
			upstream := startApp(t, a.name, freePort(t), g.url)
			g = startGate(t, port, upstream, a.block, "")
			t.Run("a stranger sees nothing", func(t *testing.T) {
				b := g.browser(t)
				a.show(b)
				b.mustNotHave(a.marker)
			})
			t.Run("a wrong password sends no text", func(t *testing.T) {
				b, before := g.browser(t), g.phones.count()
				a.login(b, "alice", "wrong")
				b.mustNotHave(codePage)
				a.show(b)
				b.mustNotHave(a.marker)
				if n := g.phones.count() - before; n != 0 {
					t.Fatalf("%d texts", n)
				}
			})
			t.Run("no door opens without the code", func(t *testing.T) {
				b := g.browser(t)
				a.doors(b, "alice", alicePassword)
				a.show(b)
				b.mustNotHave(a.marker)
				b = g.browser(t)
				a.login(b, "alice", alicePassword)
				a.show(b)
				b.mustNotHave(a.marker)
				a.doors(b, "alice", alicePassword)
				a.show(b)
				b.mustNotHave(a.marker)
			})
			t.Run("password and code get in", func(t *testing.T) { a.signIn(t, g) })
			t.Run("from a deep link", func(t *testing.T) {
				if a.deep == "" {
					t.SkipNow()
				}
				b := g.browser(t)
				b.get(a.deep).mustNotHave(a.marker)
				if strings.Contains(a.block, "{next}") || a.name == "wordpress" {
					user := "username"
					for _, name := range []string{"log", "u"} {
						if strings.Contains(b.body, `name="`+name+`"`) {
							user = name
						}
					}
					password := map[string]string{"log": "pwd", "u": "p", "username": "password"}[user]
					b.submit(url.Values{user: {"alice"}, password: {alicePassword}})
				} else {
					a.login(b, "alice", alicePassword)
				}
				b.mustHave(codePage)
				b.code(g.phones.last(t, alicePhone))
				b.get(a.deep).mustHave(strings.Replace(a.marker, "Site administration", "Select user to change", 1))
			})
			t.Run("the other user is asked again", func(t *testing.T) {
				if a.single {
					t.SkipNow()
				}
				b := a.signIn(t, g)
				a.loginAgain(b, "bob", bobPassword)
				a.show(b)
				b.mustNotHave(a.marker)
			})
			t.Run("logout ends it", func(t *testing.T) {
				b := a.signIn(t, g)
				a.logout(b)
				a.show(b)
				b.mustNotHave(a.marker)
				if strings.Contains(g.log.String(), "panic") {
					t.Fatal("the gate panicked")
				}
			})
		})
	}
}

// signIn gives alice's password and code.
func (a *app) signIn(t *testing.T, g *gate) *browser {
	t.Helper()
	b := g.browser(t)
	a.login(b, "alice", alicePassword)
	a.show(b)
	b.mustNotHave(a.marker)
	b.get("/mfa").mustHave(codePage)
	b.code(g.phones.last(t, alicePhone))
	a.show(b)
	b.mustHave(a.marker)
	return b
}

// loginAgain posts another user's password within a session that is verified.
func (a *app) loginAgain(b *browser, user, password string) {
	b.t.Helper()
	switch a.name {
	case "wordpress":
		b.post("/wp-login.php", url.Values{"log": {user}, "pwd": {password}})
	case "dokuwiki":
		b.post("/doku.php?id=start", url.Values{"u": {user}, "p": {password}})
	case "django":
		b.post("/admin/login/", url.Values{"username": {user}, "password": {password}})
	default:
		a.login(b, user, password)
	}
}
