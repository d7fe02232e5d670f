package e2e

import (
	"cmp"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/test/servers"
)

// app is an application, how the gate is told about it, and how a person signs
// in. How one does in a real browser is in test/browser/applications.mjs.
type app struct {
	name  string
	block string
	// page is behind the login and shows marker; deep is another such page and
	// shows deepMarker, or marker where that is empty.
	page, marker, deep, deepMarker string
	// lands is where the application sends somebody who wanted deep, where that
	// is another page.
	lands string
	// loginPage has the form with the fields nameField and passwordField.
	loginPage, nameField, passwordField string
	// again is a page with that form for somebody who is signed in; where there
	// is none, the form was opened before.
	again string
	// rpc logs in where there is no form.
	rpc func(b *browser, password string)
	// doors are the application's other ways in, tried with the right password.
	// None may show the marker, or make the page show it.
	doors  func(b *browser, user, password string)
	logout func(b *browser)
	single bool // no other user in the same browser: one password, or no form
	// bound: the form's token belongs to the session, which is not handed on to
	// another user; the next form works.
	bound bool
	// secret is alice's password, where it is another.
	secret string
}

const (
	alicePassword = "Alice-pw-1"
	bobPassword   = "Bob-pw-2"
)

var apps = []app{
	{
		name: "wordpress", block: "preset wordpress",
		page: "/wp-admin/", marker: "wp-admin-bar-logout", deep: "/wp-admin/edit.php",
		loginPage: "/wp-login.php", nameField: "log", passwordField: "pwd",
		doors: func(b *browser, user, password string) {
			b.do(http.MethodPost, "/xmlrpc.php", "text/xml", `<methodCall><methodName>wp.getUsersBlogs</methodName><params><param><value>`+user+`</value></param><param><value>`+password+`</value></param></params></methodCall>`)
			b.mustNotHave("isAdmin")
			for _, path := range []string{"//wp-login.php", "/wp-login.php/x", "/%77p-login.php", "/wp-login.php?interim-login=1"} {
				b.post(path, url.Values{"log": {user}, "pwd": {password}})
				b.get("/wp-admin/").mustNotHave("wp-admin-bar-logout")
			}
			b.do(http.MethodPost, "/wp-login.php", "multipart/form-data; boundary=x",
				"--x\r\nContent-Disposition: form-data; name=log\r\n\r\n"+user+"\r\n--x\r\nContent-Disposition: form-data; name=pwd\r\n\r\n"+password+"\r\n--x--\r\n")
			b.get("/wp-admin/").mustNotHave("wp-admin-bar-logout")
			for _, path := range []string{"/wp-json/wp/v2/users/me", "/?rest_route=/wp/v2/users/me", "/index.php?rest_route=/wp/v2/users/me"} {
				b.get(path, "Authorization", basic(user, password)).mustNotHave(`"slug"`)
			}
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
		name: "dokuwiki", block: `
		login_page /doku.php?do=login
		login_flow /doku.php query id
		login wiki {
			method   POST
			any_path
			fields   u p
			user     form u
			identity /doku.php?id=start "class=\"user\">.*?\(<bdi>([^<]+)</bdi>\)"
			success  cookie ^DW[0-9a-f]{32}$
		}
		session_cookies ^DokuWiki$ ^DW[0-9a-f]{32}$
		public /lib/exe/css.php /lib/exe/js.php /lib/exe/jquery.php
		deny * /lib/exe/xmlrpc.php /lib/exe/jsonrpc.php
		trap cookie ^DW[0-9a-f]{32}$
		logout /doku.php query do=logout`,
		page: "/doku.php?id=start", marker: "do=logout", deep: "/doku.php?id=wiki:syntax",
		loginPage: "/doku.php?do=login", nameField: "u", passwordField: "p",
		doors: func(b *browser, user, password string) {
			q := url.Values{"u": {user}, "p": {password}}
			for _, path := range []string{"/doku.php?id=start&", "/feed.php?", "/lib/exe/ajax.php?", "/lib/exe/fetch.php?", "/lib/tpl/x.css?"} {
				b.get(path + q.Encode()).mustNotHave("do=logout")
				b.get("/doku.php?id=start").mustNotHave("do=logout")
			}
			for _, path := range []string{"/doku.php?id=start", "/doku.php", "/feed.php", "/lib/exe/ajax.php", "/lib/exe/fetch.php", "/lib/exe/css.php"} {
				b.post(path, q).mustNotHave("do=logout")
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
		name: "django", block: `
		login_page /admin/login/?next={next}
		login admin {
			path     /admin/login/ /accounts/login/
			fields   username password
			user     form username
			identity /admin/ "Welcome,\s*<strong>([^<]+)</strong>"
			success  cookie ^sessionid$
		}
		session_cookies ^sessionid$
		login_flow GET POST /admin/password_reset/*
		deny * /autoreset/*
		trap cookie ^sessionid$
		logout /admin/logout/`,
		page: "/admin/", marker: "Site administration", deep: "/admin/auth/user/", deepMarker: "Select user to change",
		loginPage: "/admin/login/", nameField: "username", passwordField: "password", again: "/accounts/login/",
		doors: func(b *browser, user, password string) {
			v := url.Values{"username": {user}, "password": {password}}
			if token := regexp.MustCompile(`name="csrfmiddlewaretoken" value="([^"]+)"`).FindStringSubmatch(b.get("/admin/login/").body); token != nil {
				v.Set("csrfmiddlewaretoken", token[1])
			}
			b.post("/accounts/login/?next=/admin/", v).mustNotHave("Site administration")
			b.get("/admin/").mustNotHave("Site administration")
			b.get("/autoreset/x/set-password/").mustNotHave("Site administration")
			if b.page.StatusCode != http.StatusForbidden {
				b.t.Fatalf("a reset that logs in is open: %d", b.page.StatusCode)
			}
		},
		logout: func(b *browser) { b.get("/admin/logout/") },
	},
	{
		name: "apache-auth", block: `
		login_page /login.html
		login form {
			any_path
			fields   httpd_username httpd_password
			user     answer_cookie ^lform$ "-user=([^&]+)"
			success  cookie ^lform$ "-user="
			failure  status 401 not cookie ^lform$ "-user="
			failure  status 302 location /login\.html$ not cookie ^lform$ "-user="
		}
		login inline {
			path     /inline/*
			fields   httpd_username httpd_password
			user     answer_cookie ^linline$ "-user=([^&]+)"
			success  cookie ^linline$ "-user="
			failure  status 401 not cookie ^linline$ "-user="
		}
		login_flow POST /dologin
		session_cookies ^l(form|inline)$
		trap cookie ^l(form|inline)$ "-user="
		logout /dologout`,
		page: "/form/", marker: "SECRET-PAGE", deep: "/form/page2.html", lands: "/form/",
		loginPage: "/login.html", nameField: "httpd_username", passwordField: "httpd_password",
		doors: func(b *browser, user, password string) {
			for _, path := range []string{"/form/", "/form/page2.html", "/basic/", "/inline/"} {
				b.post(path, url.Values{"httpd_username": {user}, "httpd_password": {password}}).mustNotHave("SECRET-PAGE")
				b.get(path, "Authorization", basic(user, password)).mustNotHave("SECRET-PAGE")
			}
			b.do("PROPFIND", "/dav/", "", "", "Authorization", basic(user, password)).mustNotHave("multistatus")
			b.get("/digest/", "Authorization", `Digest username="`+user+`"`)
			if challenge := b.page.Header.Get("WWW-Authenticate"); strings.HasPrefix(challenge, "Digest") {
				b.t.Fatalf("the application was asked: %s", challenge)
			}
		},
		logout: func(b *browser) { b.get("/dologout") },
	},
	{
		name: "deluge", single: true, block: `
		login rpc {
			path    /json
			json    method auth.login
			user    constant deluge
			success json result true cookie ^_session_id$
			failure json result false
		}
		public POST /json json method auth.check_session
		public POST /json json method system.listMethods
		public /render/*
		session_cookies ^_session_id$
		trap cookie ^_session_id$
		logout POST /json json method auth.delete_session`,
		page: "", marker: `"result": true`,
		rpc: func(b *browser, password string) {
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
	{
		// One session may hold several users, and a wrong password is only known
		// by the page after the redirect.
		name: "adminer", block: `
		login_page /
		login adminer {
			method   POST
			any_path
			fields   auth[username] auth[password]
			user     form auth[username]
			password form auth[password]
			identity / "<li><a href='[^']*'>\(MySQL\) ([^<@]+?)(?: - [^<]*)?</a>"
			success  status 302 next /?username={user} status 200 body "<b>[^<]+</b>"
			failure  next /?username={user} status 403
		}
		session_cookies ^adminer_(sid|permanent|key)$
		public_assets off
		public / query file
		trap cookie ^adminer_permanent$
		logout POST / location ^\.$`,
		page: "/", marker: "id='logins'", deep: "/?username=alice&db=shop&select=orders", deepMarker: "SECRET-ROW",
		loginPage: "/", nameField: "auth[username]", passwordField: "auth[password]",
		doors: func(b *browser, user, password string) {
			v := url.Values{"auth[driver]": {"server"}, "auth[server]": {""}, "auth[username]": {user}, "auth[password]": {password}, "auth[db]": {""}}
			const page = "/?username=alice&db=shop&select=orders"
			for _, path := range []string{"/", "/index.php", "//", "/index.php/x.css", page} {
				b.post(path, v).mustNotHave("SECRET-ROW")
				b.get(page).mustNotHave("SECRET-ROW")
			}
			for _, name := range []string{"auth[ username]", "auth[username]x", "auth[username", " auth[username]", "auth [username]", "auth[username][]"} {
				odd := url.Values{"auth[driver]": {"server"}, "auth[server]": {""}, name: {user}, "auth[password]": {password}, "auth[db]": {""}}
				b.post("/", odd)
				b.get(page).mustNotHave("SECRET-ROW")
			}
			kind, body := multipartBody("auth[driver]", "server", "auth[server]", "", "auth[username]", user, "auth[password]", password, "auth[db]", "")
			b.do(http.MethodPost, "/", kind, body)
			b.get(page).mustNotHave("SECRET-ROW")
			b.do(http.MethodPost, "/", kind, strings.ReplaceAll(body, `"`, "'"))
			b.get(page).mustNotHave("SECRET-ROW")
			b.get(page, "Authorization", basic(user, password)).mustNotHave("SECRET-ROW")
		},
		logout: func(b *browser) {
			token := b.token("token", "/?username=alice")
			b.post("/?username=alice", url.Values{"logout": {"Logout"}, "token": {token}})
		},
	},
	{
		name: "rails", block: `
		login_page /login?back={next}
		login rails {
			method   POST
			any_path
			fields   session[user] session[password]
			user     form session[user]
			password form session[password]
			identity /me "<p>I am ([^<.]+)\."
			failure  body "Wrong name or password"
		}
		session_cookies ^_payroll_session$
		logout POST /logout`,
		page: "/", marker: "SECRET-PAYROLL", deep: "/pages/salaries",
		loginPage: "/login", nameField: "session[user]", passwordField: "session[password]", bound: true,
		doors: func(b *browser, user, password string) {
			token := b.token("authenticity_token", "/login")
			v := url.Values{"session[user]": {user}, "session[password]": {password}, "authenticity_token": {token}}
			for _, path := range []string{"/login", "/login/", "//login", "/login.json", "/LOGIN", "/%6cogin", "/login?" + v.Encode()} {
				b.post(path, v).mustNotHave("SECRET-PAYROLL")
				b.get("/").mustNotHave("SECRET-PAYROLL")
			}
			b.post("/login?"+url.Values{"session[user]": {user}}.Encode(), url.Values{"session[password]": {password}, "authenticity_token": {token}})
			b.get("/").mustNotHave("SECRET-PAYROLL")
			b.post("/login?"+v.Encode(), nil)
			b.get("/").mustNotHave("SECRET-PAYROLL")
			for _, name := range []string{"session[user]]", "[session][user]", " session[user]", "session[user][]"} {
				b.post("/login", url.Values{name: {user}, "session[password]": {password}, "authenticity_token": {token}})
				b.get("/").mustNotHave("SECRET-PAYROLL")
			}
			kind, body := multipartBody("session[user]", user, "session[password]", password, "authenticity_token", token)
			for _, kind := range []string{kind, strings.Replace(kind, "form-data", "mixed", 1), strings.Replace(kind, "form-data", "related", 1)} {
				b.do(http.MethodPost, "/login", kind, body)
				b.get("/").mustNotHave("SECRET-PAYROLL")
			}
			b.do(http.MethodPost, "/login", "", v.Encode()) // Rack takes a body without a type for a form
			b.get("/").mustNotHave("SECRET-PAYROLL")
			for _, kind := range []string{"application/json", "application/vnd.api+json", "text/json"} {
				b.do(http.MethodPost, "/login", kind, fmt.Sprintf(`{"session":{"user":%q,"password":%q}}`, user, password), "X-CSRF-Token", token)
				b.get("/").mustNotHave("SECRET-PAYROLL")
			}
		},
		logout: func(b *browser) {
			b.post("/logout", url.Values{"authenticity_token": {b.token("authenticity_token", "/")}})
		},
	},
	latin("latin1-php", "/index.php", "LATINSESS", "Käse-pw-1"),
}

// latin is a form with bracketed names on a page that is not UTF-8.
func latin(name, page, cookie, secret string) app {
	return app{
		name: name, block: `
		login_page ` + page + `?do=login&back={next}
		login form {
			method   POST
			any_path
			fields   LoginForm[username] LoginForm[password]
			user     form LoginForm[username]
			identity ` + page + ` "<p>I am ([^<.]+)\."
			failure  body "Wrong name or password"
		}
		session_cookies ^` + cookie + `$
		logout ` + page + ` query do=logout`,
		page: page, marker: "SECRET-PAYROLL", deep: page + "?do=salaries",
		loginPage: page + "?do=login", nameField: "LoginForm[username]", passwordField: "LoginForm[password]",
		doors: func(b *browser, user, password string) {
			for _, name := range []string{"LoginForm[username]", "LoginForm[ username]", "LoginForm[username]x", " LoginForm[username]", "LoginForm[username][]", "LoginForm.username"} {
				b.get(page + "?do=login")
				b.post(page+"?do=login", b.inCharset(url.Values{name: {user}, "LoginForm[password]": {password}})).mustNotHave("SECRET-PAYROLL")
				b.get(page).mustNotHave("SECRET-PAYROLL")
			}
			b.get(page + "?do=login")
			secret := b.inCharset(url.Values{"p": {password}}).Get("p")
			kind, body := multipartBody("LoginForm[username]", user)
			part := "--b\r\nContent-Disposition: form-data; name=%sLoginForm[password]%s\r\n\r\n" + strings.ReplaceAll(secret, "%", "%%") + "\r\n--b--\r\n"
			for _, quote := range []string{`"`, "'", ""} {
				b.do(http.MethodPost, page+"?do=login", kind, strings.Replace(body, "--b--\r\n", fmt.Sprintf(part, quote, quote), 1)).mustNotHave("SECRET-PAYROLL")
				b.get(page).mustNotHave("SECRET-PAYROLL")
			}
		},
		logout: func(b *browser) { b.get(page + "?do=logout") },
		secret: secret,
	}
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
			// The application must know its public address when it is installed.
			a.test(t, port, startApp(t, a.name, freePort(t), siteURL(port)))
		})
	}
}

// TestAttack_K25_OtherCharsets signs in at a page in Shift_JIS, whose letters may
// end with the byte of a backslash or a bracket. The page in ISO-8859-1 is a row
// of the table.
func TestAttack_K25_OtherCharsets(t *testing.T) {
	port := freePort(t)
	upstream := startApp(t, "latin1-php", freePort(t), siteURL(port))
	a := latin("sjis", "/sjis.php", "SJISSESS", "表示-pw-1")
	overStores(t, func(t *testing.T, global string) {
		g := startGate(t, port, upstream, a.block, global)
		for _, wrong := range []string{"表示-pw-2", "\\-pw-1"} {
			b := g.browser(t)
			a.login(b, "alice", wrong)
			b.mustNotHave(codePage)
		}
		if n := g.phones.count(); n != 0 {
			t.Fatalf("%d texts for wrong passwords", n)
		}
		a.signIn(t, g)
		a.fromDeepLink(t, g)
	})
}

// overStores runs a test over each store; global is for the global option.
func overStores(t *testing.T, test func(t *testing.T, global string)) {
	t.Run("embedded", func(t *testing.T) { test(t, "") })
	t.Run("redis", func(t *testing.T) {
		test(t, "store redis "+servers.Redis(t).URL+"\n\t\tsecret a-secret-of-the-tests-with-32-bytes-or-more")
	})
}

// test walks the gate in front of an application, over each store.
func (a *app) test(t *testing.T, port int, upstream string) {
	overStores(t, func(t *testing.T, global string) {
		g := startGate(t, port, upstream, a.block, global)
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
			a.doors(b, "alice", a.password())
			a.show(b)
			b.mustNotHave(a.marker)
			b = g.browser(t)
			a.login(b, "alice", a.password())
			a.show(b)
			b.mustNotHave(a.marker)
			a.doors(b, "alice", a.password())
			a.show(b)
			b.mustNotHave(a.marker)
		})
		t.Run("password and code get in", func(t *testing.T) { a.signIn(t, g) })
		if a.deep != "" {
			t.Run("from a deep link", func(t *testing.T) { a.fromDeepLink(t, g) })
		}
		if !a.single {
			t.Run("the other user is asked again", func(t *testing.T) {
				before := g.browser(t).get(a.loginPage)
				b := a.signIn(t, g)
				if a.again != "" {
					b.get(a.again)
				} else {
					b.page, b.body = before.page, before.body
				}
				if b.submit(a.form("bob", bobPassword)); a.bound {
					b.mustNotHave(codePage)
					a.login(b, "bob", bobPassword)
				}
				b.mustHave(codePage)
				a.show(b)
				b.mustNotHave(a.marker)
				b.get("/mfa").mustHave(codePage)
				b.code(g.phones.last(t, bobPhone))
				a.show(b)
				b.mustHave(a.marker)
			})
		}
		t.Run("logout ends it", func(t *testing.T) {
			b := a.signIn(t, g)
			b.get("/mfa/status").mustHave(`"verified"`)
			a.logout(b)
			b.get("/mfa/status").mustNotHave(`"verified"`)
			a.show(b)
			b.mustNotHave(a.marker)
		})
		if global == "" { // a browser does not see the store
			t.Run("in Chromium", func(t *testing.T) { a.inChromium(t, g, upstream) })
		}
		if strings.Contains(g.log.String(), "panic") {
			t.Fatal("the gate panicked")
		}
	})
}

// fromDeepLink signs alice in where the gate sends somebody who asks for a page
// behind the login.
func (a *app) fromDeepLink(t *testing.T, g *gate) {
	marker, lands := a.marker, a.deep
	if a.deepMarker != "" {
		marker = a.deepMarker
	}
	if a.lands != "" {
		marker, lands = a.marker, a.lands
	}
	b := g.browser(t)
	b.get(a.deep).mustNotHave(marker)
	b.submit(a.form("alice", a.password())).mustHave(codePage)
	b.mustNotHave(marker)
	b.code(g.phones.last(t, alicePhone)).mustHave(marker)
	if got := b.page.Request.URL.RequestURI(); got != lands {
		t.Fatalf("at %s instead of %s", got, lands)
	}
}

// password is alice's.
func (a *app) password() string { return cmp.Or(a.secret, alicePassword) }

// form is what a person types into the login form.
func (a *app) form(user, password string) url.Values {
	return url.Values{a.nameField: {user}, a.passwordField: {password}}
}

// login types name and password where the application asks for them.
func (a *app) login(b *browser, user, password string) {
	b.t.Helper()
	if a.rpc != nil {
		a.rpc(b, password)
		return
	}
	b.get(a.loginPage).submit(a.form(user, password))
}

// signIn gives alice's password and code.
func (a *app) signIn(t *testing.T, g *gate) *browser {
	t.Helper()
	b := g.browser(t)
	a.login(b, "alice", a.password())
	a.show(b)
	b.mustNotHave(a.marker)
	b.get("/mfa").mustHave(codePage)
	b.code(g.phones.last(t, alicePhone))
	a.show(b)
	b.mustHave(a.marker)
	return b
}
