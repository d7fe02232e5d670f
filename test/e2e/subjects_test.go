package e2e

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// spellings of alice's name that some application takes for hers.
var spellings = []string{"Alice", "ALICE", " alice", "alice ", "ａｌｉｃｅ", "álice", "alice@example.test", "_alice", "alice_", "alice."}

var subjects = []*subject{
	{
		preset: "wordpress", app: "wordpress",
		page: "/wp-admin/profile.php", marker: `id="your-profile"`, who: regexp.MustCompile(`id="user_login" value="([^"]+)"`),
		deep: "/wp-admin/edit.php", deepMarker: "wp-admin-bar-logout", loginPage: "/wp-login.php",
		login: func(b *browser, user, password string) { b.submit(url.Values{"log": {user}, "pwd": {password}}) },
		again: func(b *browser, user, password string) {
			b.post("/wp-login.php", url.Values{"log": {user}, "pwd": {password}})
		},
		aliases: spellings, same: []string{"Alice", "ALICE", " alice", "alice ", "ａｌｉｃｅ", "álice", "alice@example.test"},
		told: regexp.MustCompile(`isAdmin|"slug":"alice"`),
		open: 14,
		doors: []door{
			at("/wp-login.php", url.Values{"log": {"USER"}, "pwd": {"PASSWORD"}}),
			at("//wp-login.php", url.Values{"log": {"USER"}, "pwd": {"PASSWORD"}}),
			at("/wp-login.php/x", url.Values{"log": {"USER"}, "pwd": {"PASSWORD"}}),
			at("/wp-login.php/x.css", url.Values{"log": {"USER"}, "pwd": {"PASSWORD"}}),
			at("/%77p-login.php", url.Values{"log": {"USER"}, "pwd": {"PASSWORD"}}),
			at("/WP-LOGIN.PHP", url.Values{"log": {"USER"}, "pwd": {"PASSWORD"}}),
			at("/wp-login.php", url.Values{"log": {"USER"}, "pwd": {"PASSWORD"}, "interim-login": {"1"}}),
			at("/wp-login.php", url.Values{"log": {"USER"}, "pwd": {"PASSWORD"}, "redirect_to": {"/wp-login.php"}}),
			at("/wp-login.php?action=lostpassword", url.Values{"log": {"USER"}, "pwd": {"PASSWORD"}, "action": {"login"}}),
			at("/wp-login.php?loggedout=true", url.Values{"log": {"USER"}, "pwd": {"PASSWORD"}}),
			at("/wp-login.php", url.Values{"log[]": {"USER"}, " log": {"USER"}, "pwd": {"PASSWORD"}}),
			multi("/wp-login.php", "log", "USER", "pwd", "PASSWORD"),
			raw("GET", "/wp-login.php?log=USER&pwd=PASSWORD", "", ""),
			xmlrpc("/xmlrpc.php", "wp.getUsersBlogs"), xmlrpc("//xmlrpc.php", "wp.getUsersBlogs"), xmlrpc("/xmlrpc.php/x.css", "wp.getUsersBlogs"), xmlrpc("/%78mlrpc.php", "wp.getUsersBlogs"),
			raw("GET", "/wp-json/wp/v2/users/me", "", "", "Authorization", "BASIC"),
			raw("GET", "/?rest_route=/wp/v2/users/me", "", "", "Authorization", "BASIC"),
			raw("GET", "/x.css?rest_route=/wp/v2/users/me", "", "", "Authorization", "BASIC"),
		},
		logout: func(b *browser) {
			m := regexp.MustCompile(`wp-login\.php\?action=logout[^"']+`).FindString(b.get("/wp-admin/").body)
			b.get("/" + html.UnescapeString(m))
		},
		quirks: func(t *testing.T, _ *subject, g *gate, _ string) {
			b := g.browser(t)
			for _, path := range []string{"/x.css?rest_route=/wp/v2/posts", "/wp-content/x.css?rest_route=/wp/v2/posts", "/x.css?feed=rss2", "/wp-content/themes/x.css?rest_route=/wp/v2/posts"} {
				b.get(path, "Sec-Fetch-Mode", "no-cors").mustNotHave("Hello world")
			}
			s := b.get("/wp-login.php?action=lostpassword")
			s.submit(url.Values{"user_login": {"alice"}})
			if !strings.Contains(b.page.Request.URL.String(), "wp-login.php") {
				t.Errorf("the way to a new password ends at %s", b.page.Request.URL)
			}
		},
	},
	{
		preset: "dokuwiki", app: "dokuwiki",
		page: "/doku.php?id=start", marker: "do=logout", who: regexp.MustCompile(`\(<bdi>([^<]+)</bdi>\)`),
		deep: "/doku.php?id=wiki:syntax", deepMarker: "Formatting Syntax</h1>", loginPage: "/doku.php?do=login",
		login: func(b *browser, user, password string) { b.submit(url.Values{"u": {user}, "p": {password}}) },
		again: func(b *browser, user, password string) {
			b.post("/doku.php?id=start", url.Values{"u": {user}, "p": {password}})
		},
		aliases: spellings, same: []string{"Alice", "ALICE", " alice", "alice ", "álice", "_alice", "alice_", "alice."},
		// An invisible picture by which readers drive the wiki's maintenance.
		shut: []string{"/lib/exe/taskrunner.php", "/old/lib/exe/taskrunner.php"},
		told: regexp.MustCompile(`<boolean>1</boolean>`),
		open: 19,
		doors: []door{
			raw("GET", "/doku.php?id=start&u=USER&p=PASSWORD", "", ""),
			raw("GET", "/feed.php?u=USER&p=PASSWORD", "", ""),
			raw("GET", "/lib/exe/ajax.php?call=linkwiz&u=USER&p=PASSWORD", "", ""),
			raw("GET", "/lib/exe/fetch.php?media=x.png&u=USER&p=PASSWORD", "", ""),
			raw("GET", "/lib/exe/css.php?u=USER&p=PASSWORD", "", ""),
			raw("GET", "/lib/tpl/x.css?u=USER&p=PASSWORD", "", ""),
			raw("GET", "/doku.php/lib/tpl/x.css?u=USER&p=PASSWORD", "", ""),
			at("/doku.php?id=start", url.Values{"u": {"USER"}, "p": {"PASSWORD"}}),
			at("/doku.php?id=start&u=alice", url.Values{"p": {"PASSWORD"}}),
			at("/doku.php?id=start", url.Values{" u": {"USER"}, "p": {"PASSWORD"}}),
			at("/doku.php?id=start", url.Values{"u": {"USER"}, "p\x00x": {"PASSWORD"}}),
			at("/feed.php", url.Values{"u": {"USER"}, "p": {"PASSWORD"}}),
			at("/lib/exe/ajax.php", url.Values{"u": {"USER"}, "p": {"PASSWORD"}}),
			at("/lib/exe/mediamanager.php", url.Values{"u": {"USER"}, "p": {"PASSWORD"}}),
			at("/lib/exe/css.php", url.Values{"u": {"USER"}, "p": {"PASSWORD"}}),
			at("/index.php", url.Values{"u": {"USER"}, "p": {"PASSWORD"}}),
			at("/no/such/page", url.Values{"u": {"USER"}, "p": {"PASSWORD"}}),
			multi("/doku.php?id=start", "u", "USER", "p", "PASSWORD"),
			raw("GET", "/doku.php?id=start", "", "", "Authorization", "BASIC"),
			raw("GET", "/doku.php?do=login", "", "", "Authorization", "BASIC"),
			raw("GET", "/lib/exe/css.php", "", "", "Authorization", "BASIC"),
			raw("GET", "/lib/tpl/dokuwiki/images/logo.png", "", "", "Authorization", "BASIC"),
			xmlrpc("/lib/exe/xmlrpc.php", "dokuwiki.login"), xmlrpc("//lib//exe/xmlrpc.php", "dokuwiki.login"), xmlrpc("/lib/exe/xmlrpc.php/x.css", "dokuwiki.login"),
			at("/doku.php?id=start", url.Values{"do": {"register"}, "save": {"1"}, "login": {"USER"}, "fullname": {"x"}, "email": {"x@example.test"}}),
		},
		logout: func(b *browser) { b.get("/doku.php?id=start&do=logout") },
		base:   func(t *testing.T, data string) { link(t, filepath.Join(data, "www")) },
		quirks: func(t *testing.T, s *subject, g *gate, _ string) {
			// bob calls himself alice.
			b := s.signIn(t, g, "bob", bobPassword)
			b.get("/doku.php?id=start&do=profile").submit(url.Values{"fullname": {"alice"}, "email": {"bob@example.test"}, "oldpass": {bobPassword}})
			b.get(s.page).mustHave("<bdi>alice</bdi> (<bdi>bob</bdi>)")
			b.get("/doku.php?id=start&do=logout")
			before := g.phones.count()
			s.signIn(t, g, "bob", bobPassword)
			if g.phones.count() != before+1 {
				t.Error("no text to bob")
			}
			// A public wiki whose pages strangers may read: not through an asset's address.
			g.browser(t).get("/doku.php/x.css?id=start", "Sec-Fetch-Mode", "no-cors").mustNotHave("dokuwiki")
		},
	},
	{
		preset: "mediawiki", app: "mediawiki", heavy: true,
		page: "/index.php?title=Main_Page", marker: `"wgUserName":"`, who: regexp.MustCompile(`"wgUserName":"([^"]+)"`),
		deep: "/index.php?title=Special:Version", deepMarker: "Installed software", loginPage: "/index.php?title=Special:UserLogin",
		login: func(b *browser, user, password string) {
			b.submit(url.Values{"wpName": {user}, "wpPassword": {password}})
		},
		again: func(b *browser, user, password string) {
			b.get("/index.php?title=Special:UserLogin").submit(url.Values{"wpName": {user}, "wpPassword": {password}})
		},
		aliases: append([]string{"user:alice", "alice@bot", "alice#x"}, spellings...), same: []string{"user:alice", "Alice", " alice", "alice ", "_alice", "alice_"},
		told: regexp.MustCompile(`"result":"Success"|"status":"PASS"`),
		open: 10,
		doors: []door{
			wiki("/index.php", "title", "Special:UserLogin", "authAction", "login", "wpName", "USER", "wpPassword", "PASSWORD", "wpLoginToken", "TOKEN"),
			wiki("/index.php/Special:UserLogin", "authAction", "login", "wpName", "USER", "wpPassword", "PASSWORD", "wpLoginToken", "TOKEN"),
			wiki("/index.php?title=Special:UserLogin&wpName=USER", "authAction", "login", "wpPassword", "PASSWORD", "wpLoginToken", "TOKEN"),
			wiki("/index.php?title=Special:UserLogin&wpName=USER&wpPassword=PASSWORD&authAction=login&wpLoginToken=TOKEN", "x", "y"),
			wiki("/index.php?title=Special:UserLogin&returnto=Special:UserLogin", "authAction", "login", "wpName", "USER", "wpPassword", "PASSWORD", "wpLoginToken", "TOKEN"),
			wiki("/load.php", "title", "Special:UserLogin", "authAction", "login", "wpName", "USER", "wpPassword", "PASSWORD", "wpLoginToken", "TOKEN"),
			raw("GET", "/index.php?title=Special:UserLogin&authAction=login&wpName=USER&wpPassword=PASSWORD&wpLoginToken=x", "", ""),
			wiki("/api.php", "action", "login", "format", "json", "lgname", "USER", "lgpassword", "PASSWORD", "lgtoken", "TOKEN"),
			wiki("/api.php?action=login&format=json", "lgname", "USER", "lgpassword", "PASSWORD", "lgtoken", "TOKEN"),
			wiki("/api.php", "action", "clientlogin", "format", "json", "username", "USER", "password", "PASSWORD", "logintoken", "TOKEN", "loginreturnurl", "http://example.test/"),
			wiki("/api.php?action=clientlogin&format=json&username=USER", "password", "PASSWORD", "logintoken", "TOKEN", "loginreturnurl", "http://example.test/"),
			wiki("//api.php", "action", "clientlogin", "format", "json", "username", "USER", "password", "PASSWORD", "logintoken", "TOKEN", "loginreturnurl", "http://example.test/"),
			wiki("/api.php/x.css", "action", "clientlogin", "format", "json", "username", "USER", "password", "PASSWORD", "logintoken", "TOKEN", "loginreturnurl", "http://example.test/"),
			wiki("/load.php", "action", "clientlogin", "format", "json", "username", "USER", "password", "PASSWORD", "logintoken", "TOKEN", "loginreturnurl", "http://example.test/"),
			wiki("/index.php?title=Special:CreateAccount", "authAction", "create", "wpName", "Mallory", "wpPassword", "Mallory-pw-9", "retype", "Mallory-pw-9", "wpCreateaccountToken", "TOKEN"),
			wiki("/api.php", "action", "createaccount", "format", "json", "username", "Mallory", "password", "Mallory-pw-9", "retype", "Mallory-pw-9", "createtoken", "TOKEN", "createreturnurl", "http://example.test/"),
			raw("GET", "/index.php?title=Main_Page", "", "", "Authorization", "BASIC"),
			raw("GET", "/api.php?action=query&meta=userinfo&format=json", "", "", "Authorization", "BASIC"),
			raw("GET", "/rest.php/v1/page/Main_Page", "", "", "Authorization", "BASIC"),
		},
		logout: func(b *browser) {
			b.post("/api.php", url.Values{"action": {"logout"}, "format": {"json"}, "token": {b.wikiToken("csrf")}})
		},
		quirks: func(t *testing.T, s *subject, g *gate, _ string) {
			// The password has expired: the code comes after the second step.
			b := g.browser(t)
			s.enter(b, "carol", "Carol-pw-3")
			b.mustHave(`name="retype"`)
			if who := s.shown(b); who != "" || g.phones.count() != 0 {
				t.Fatalf("after the first of two steps: %q, %d texts", who, g.phones.count())
			}
			b = g.browser(t)
			s.enter(b, "carol", "Carol-pw-3")
			b.submit(url.Values{"wpPassword": {"Another-pw-3"}, "retype": {"Another-pw-3"}}).mustHave(codePage)
			b.code(g.phones.last(t, carolPhone))
			if who := s.shown(b); who != "carol" {
				t.Fatalf("after both steps: %q", who)
			}
			// A page longer than what a rule reads.
			b = s.signIn(t, g, "alice", alicePassword)
			long := strings.Repeat("many words ", 10_000)
			kind, body := multipartBody("action", "edit", "format", "json", "title", "Long", "text", long, "token", b.wikiToken("csrf"))
			b.do(http.MethodPost, "/api.php", kind, body).mustHave("Success")
			if b.get("/index.php?title=Long&action=raw"); len(b.body) < len(long)-1 {
				t.Errorf("the long page was not saved: %d bytes", len(b.body))
			}
			b.get("/index.php?title=Special:UserLogout")
			if who := s.shown(b); who != "" {
				t.Errorf("after the logout page: %q", who)
			}
		},
	},
	{
		preset: "phpmyadmin", app: "phpmyadmin", heavy: true,
		page: "/index.php?route=/sql&db=shop&table=orders&pos=0", marker: "SECRET-ROW", who: regexp.MustCompile(`logged_in:true,[^}]*,user:"([^"]+)"`),
		deep: "/index.php?route=/database/structure&db=shop", deepMarker: "table=orders", loginPage: "/index.php",
		login: func(b *browser, user, password string) {
			b.submit(url.Values{"pma_username": {user}, "pma_password": {password}})
		},
		again: func(b *browser, user, password string) {
			b.post("/index.php?route=/", url.Values{"pma_username": {user}, "pma_password": {password}, "server": {"1"}, "token": {b.token("token", "/index.php?route=/")}})
		},
		aliases: append([]string{"alice@localhost"}, spellings...),
		open:    6,
		doors: []door{
			mysql("/index.php?route=/"), mysql("/"), mysql("//index.php"), mysql("/index.php?route=/sql&db=shop&table=orders"), mysql("/index.php?route=/server/databases&ajax_request=true"),
			mysql("/index.php/x.css"), mysql("/js/messages.php"), mysql("/url.php?url=https://www.phpmyadmin.net/"), mysql("/themes/x.css"), mysql("/no/such"),
			multi("/index.php?route=/", "pma_username", "USER", "pma_password", "PASSWORD", "server", "1"),
			at("/index.php?route=/", url.Values{"pma.username": {"USER"}, "pma password": {"PASSWORD"}}),
			at("/index.php?route=/", url.Values{"pma_username[]": {"USER"}, "pma_password": {"PASSWORD"}}),
			raw("GET", "/index.php?route=/&pma_username=USER&pma_password=PASSWORD&server=1", "", ""),
			raw("GET", "/index.php?route=/", "", "", "Authorization", "BASIC"),
		},
		logout: func(b *browser) {
			b.post("/index.php?route=/logout", url.Values{"token": {b.token("token", "/index.php?route=/")}})
		},
		base: func(t *testing.T, data string) { link(t, filepath.Join(data, "www")) },
	},
	{
		preset: "django", app: "django", directory: true,
		page: "/admin/", marker: "Site administration", who: regexp.MustCompile(`id="user-tools">[^<]*<strong>([^<]+)</strong>`),
		deep: "/admin/auth/user/", deepMarker: "Select user to change", loginPage: "/admin/login/",
		login: func(b *browser, user, password string) {
			b.submit(url.Values{"username": {user}, "password": {password}})
		},
		again: func(b *browser, user, password string) {
			b.post("/admin/login/", url.Values{"username": {user}, "password": {password}, "csrfmiddlewaretoken": {b.token("csrfmiddlewaretoken", "/admin/password_change/")}})
		},
		aliases: spellings, same: []string{" alice", "alice "}, // others are refused where nothing but the request names the user (attack K9)
		open: 5,
		doors: []door{
			djangos("/admin/login/"), djangos("/accounts/login/"), djangos("//admin/login/"), djangos("/admin/login"), djangos("/admin/login/?next=/admin/login/"),
			djangos("/admin/"), djangos("/admin/auth/user/"), djangos("/static/x.css"), djangos("/ADMIN/login/"), djangos("/admin%2flogin/"),
			multi("/admin/login/", "username", "USER", "password", "PASSWORD"),
			raw("POST", "/admin/login/", "application/json", `{"username":"USER","password":"PASSWORD"}`),
			raw("POST", "/admin/login/", "text/plain", "username=USER&password=PASSWORD"),
			raw("GET", "/admin/login/?username=USER&password=PASSWORD", "", ""),
			raw("GET", "/admin/", "", "", "Authorization", "BASIC"),
		},
		logout: func(b *browser) { b.get("/admin/logout/") },
		quirks: djangoReset,
	},
	{
		preset: "redmine", app: "redmine", heavy: true,
		page: "/my/page", marker: `id="loggedas"`, who: regexp.MustCompile(`id="loggedas">[^<]*<a [^>]*>([^<]+)</a>`),
		deep: "/my/account", deepMarker: `id="my_account_form"`, loginPage: "/login",
		login: func(b *browser, user, password string) {
			b.submit(url.Values{"username": {user}, "password": {password}})
		},
		again: func(b *browser, user, password string) {
			b.post("/login", url.Values{"username": {user}, "password": {password}, "authenticity_token": {b.token("authenticity_token", "/my/page")}})
		},
		aliases: spellings, same: []string{"Alice", "ALICE", " alice", "alice "},
		told: regexp.MustCompile(`"login":"alice"|<login>alice`),
		open: 9,
		doors: []door{
			rails("/login"), rails("/login/"), rails("/login.json"), rails("/login.xml"), rails("//login"), rails("/%6cogin"), rails("/login?username=USER"), rails("/LOGIN"), rails("/stylesheets/x.css"),
			multi("/login", "username", "USER", "password", "PASSWORD"),
			raw("POST", "/login", "application/json", `{"username":"USER","password":"PASSWORD"}`),
			raw("POST", "/login.json", "application/json", `{"username":"USER","password":"PASSWORD"}`),
			raw("POST", "/login", "text/xml", `<username>USER</username>`),
			raw("GET", "/login?username=USER&password=PASSWORD", "", ""),
			raw("POST", "/login", "application/x-www-form-urlencoded", "username=USER&password=PASSWORD&_method=post", "X-HTTP-Method-Override", "POST"),
			raw("GET", "/my/account.json", "", "", "Authorization", "BASIC"),
			raw("GET", "/users/current.xml", "", "", "Authorization", "BASIC"),
			raw("GET", "/issues.atom", "", "", "Authorization", "BASIC"),
			raw("GET", "/stylesheets/application.css", "", "", "Authorization", "BASIC"),
			at("/account/register", url.Values{"user[login]": {"mallory"}, "user[password]": {"Mallory-pw-9"}, "user[password_confirmation]": {"Mallory-pw-9"}, "user[firstname]": {"M"}, "user[lastname]": {"M"}, "user[mail]": {"m@example.test"}}),
		},
		logout: func(b *browser) {
			b.post("/logout", url.Values{"authenticity_token": {b.token("authenticity_token", "/my/page")}})
		},
		quirks: func(t *testing.T, s *subject, g *gate, upstream string) {
			// The key of the API opens nothing, beside a handle or without one.
			res := past(t, g.url, upstream).get("/my/account.json", "Authorization", basic("alice", alicePassword)).body
			m := regexp.MustCompile(`"api_key":"([0-9a-f]{40})"`).FindStringSubmatch(res)
			if m == nil {
				t.Fatalf("no key: %s", res)
			}
			if !strings.Contains(past(t, g.url, upstream).get("/users/current.json", "X-Redmine-API-Key", m[1]).body, `"alice"`) {
				t.Fatal("the key opens nothing without the gate either")
			}
			for _, b := range []*browser{g.browser(t), s.signIn(t, g, "bob", bobPassword)} {
				for _, path := range []string{"/users/current.json?key=", "/users/current.json?%6bey=", "/users/current.json?x=1&key=", "/issues.atom?key="} {
					b.get(path + m[1]).mustNotHave(`"alice"`)
				}
				b.get("/users/current.json", "X-Redmine-API-Key", m[1]).mustNotHave(`"alice"`)
				b.get("/users/current.json", "Authorization", basic(m[1], "x")).mustNotHave(`"alice"`)
				if b.post("/account/register", url.Values{"user[login]": {"mallory"}}); b.page.StatusCode != http.StatusForbidden {
					t.Errorf("registration answers %d", b.page.StatusCode)
				}
			}
			// The password must be changed first.
			b := g.browser(t)
			s.enter(b, "carol", "Carol-pw-3")
			b.mustHave(codePage)
			b.code(g.phones.last(t, carolPhone)).mustHave(`name="new_password"`)
		},
	},
	{
		preset: "mod_auth_form", app: "apache-auth",
		page: "/form/", marker: "SECRET-PAGE", deep: "/form/page2.html", deepMarker: "SECRET-PAGE2", loginPage: "/login.html",
		login: func(b *browser, user, password string) {
			b.submit(url.Values{"httpd_username": {user}, "httpd_password": {password}})
		},
		again: func(b *browser, user, password string) {
			b.post("/dologin", url.Values{"httpd_username": {user}, "httpd_password": {password}})
		},
		aliases: spellings,
		open:    10,
		doors: []door{
			httpd("/dologin"), httpd("/form/"), httpd("/form/page2.html"), httpd("/inline/"), httpd("//inline/"), httpd("/basic/"), httpd("/no/such"), httpd("/x.css"),
			at("/dologin", url.Values{"httpd_username": {"USER"}, "httpd_password": {"PASSWORD"}, "httpd_location": {"/login.html"}}),
			at("/dologin", url.Values{"httpd_username": {"USER"}, "httpd_password": {"PASSWORD"}, "httpd_location": {"http://example.test/"}}),
			raw("GET", "/form/?httpd_username=USER&httpd_password=PASSWORD", "", ""),
			raw("GET", "/basic/", "", "", "Authorization", "BASIC"),
			raw("GET", "/basic/x.css", "", "", "Authorization", "BASIC"),
			raw("GET", "/digest/", "", "", "Authorization", `Digest username="USER"`),
			raw("PROPFIND", "/dav/", "", "", "Authorization", "BASIC"),
			raw("PUT", "/dav/x.html", "text/html", "x", "Authorization", "BASIC"),
			raw("GET", "/form/", "", "", "Cookie", "lform=legacy+form-user=USER&legacy+form-pw=PASSWORD"),
			raw("GET", "/inline/", "", "", "Cookie", "linline=legacy+inline-user=USER&legacy+inline-pw=PASSWORD"),
		},
		logout: func(b *browser) { b.get("/dologout") },
		quirks: func(t *testing.T, s *subject, g *gate, upstream string) {
			// Whoever knows a password can make the cookie of another realm.
			const made = "linline=legacy+inline-user=alice&legacy+inline-pw=" + alicePassword
			if !strings.Contains(past(t, g.url, upstream).get("/inline/", "Cookie", made).body, s.marker) {
				t.Fatal("the made cookie opens nothing without the gate either")
			}
			b := s.signIn(t, g, "bob", bobPassword)
			here, _ := url.Parse(g.url)
			b.http.Jar.SetCookies(here, []*http.Cookie{{Name: "linline", Value: strings.TrimPrefix(made, "linline="), Path: "/"}})
			b.get("/inline/").mustNotHave(s.marker)
			s.show(b).mustHave(s.marker)
			// A name that ends like alice's where the cookie is read carelessly.
			numbers := filepath.Join(os.TempDir(), "caddymfa-apps", "apache-auth-"+upstream[strings.LastIndexByte(upstream, ':')+1:], "htpasswd")
			if out, err := exec.Command("htpasswd", "-bm", numbers, "alice&x", "Other-pw-9").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if b := past(t, g.url, upstream); !func() bool { s.enter(b, "alice&x", "Other-pw-9"); return s.show(b).has(s.marker) }() {
				t.Fatal("the name opens nothing without the gate either")
			}
			before := g.phones.count()
			b = g.browser(t)
			s.enter(b, "alice&x", "Other-pw-9")
			if who := s.shown(b); who != "" || b.has(codePage) || g.phones.count() != before {
				t.Errorf("alice&x is %q, %d texts", who, g.phones.count()-before)
			}
		},
	},
	{
		preset: "deluge", app: "deluge", single: true, marker: `"result": true`,
		login: func(b *browser, _, password string) { rpc("/json", "auth.login", password).try(b, "", password) },
		ask:   func(b *browser) { rpc("/json", "auth.check_session", "").try(b, "", "") },
		open:  5,
		doors: []door{
			rpc("/json", "auth.login", "PASSWORD"), rpc("//json", "auth.login", "PASSWORD"), rpc("/json/", "auth.login", "PASSWORD"), rpc("/%6ason", "auth.login", "PASSWORD"), rpc("/json", `\u0061uth.login`, "PASSWORD"),
			raw("POST", "/json", "application/json", `{"method":"auth.check_session","method":"auth.login","params":["PASSWORD"],"id":1}`, "Accept", "application/json"),
			raw("POST", "/json", "application/json", `{"method":"auth.check_session","Method":"auth.login","params":["PASSWORD"],"id":1}`, "Accept", "application/json"),
			raw("POST", "/json", "application/json; charset=utf-16", `{"method":"auth.login","params":["PASSWORD"],"id":1}`, "Accept", "application/json"),
			raw("POST", "/json", "text/plain", `{"method":"auth.login","params":["PASSWORD"],"id":1}`, "Accept", "application/json"),
			raw("POST", "/json", "", `{"method":"auth.login","params":["PASSWORD"],"id":1}`, "Accept", "application/json"),
			raw("POST", "/js/x.js", "application/json", `{"method":"auth.login","params":["PASSWORD"],"id":1}`, "Accept", "application/json"),
		},
		logout: func(b *browser) { rpc("/json", "auth.delete_session", "").try(b, "", "") },
		quirks: func(t *testing.T, s *subject, g *gate, _ string) {
			b := g.browser(t)
			// What its page asks for before it shows the login.
			rpc("/json", "system.listMethods", "").try(b, "", "")
			b.mustHave("auth.login")
			for _, method := range []string{"web.get_config", "web.get_hosts", "web.connected", "auth.change_password"} {
				if rpc("/json", method, "").try(b, "", ""); b.page.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s answers a stranger %d", method, b.page.StatusCode)
				}
			}
		},
	},
	{
		preset: "node-red", app: "node-red", heavy: true, chromium: true, policy: "script-src 'self' 'unsafe-inline'; object-src 'none'",
		page: "/settings", marker: `"user":{"username":"`, who: regexp.MustCompile(`"user":{"username":"([^"]+)"`),
		login: func(b *browser, user, password string) { nodeRED("/auth/token").try(b, user, password) },
		again: func(b *browser, user, password string) { nodeRED("/auth/token").try(b, user, password) },
		ask:   func(b *browser) { b.get("/settings", b.credential()...) },
		gives: regexp.MustCompile(`"access_token":"([^"]{100,})"`), told: regexp.MustCompile(`"access_token":"[^"]{100}`),
		aliases: spellings,
		open:    4,
		doors: []door{
			nodeRED("/auth/token"), nodeRED("/AUTH/Token"), nodeRED("/auth/token/"), nodeRED("//auth/token"), nodeRED("/%61uth/token"), nodeRED("/red/x.js"), nodeRED("/locales/editor"),
			at("/auth/token", url.Values{"client_id": {"node-red-editor"}, "grant_type": {"password"}, "username": {"USER"}, "password": {"PASSWORD"}}),
			raw("POST", "/auth/token?username=USER", "application/json", `{"client_id":"node-red-editor","grant_type":"password","password":"PASSWORD"}`),
			raw("GET", "/settings", "", "", "Authorization", "BASIC"),
		},
		logout: func(b *browser) {
			b.do(http.MethodPost, "/auth/revoke", "application/json", `{"token":"`+b.bearer+`"}`, b.credential()...)
		},
		quirks: func(t *testing.T, s *subject, g *gate, upstream string) {
			s.tokens(t, g, upstream, "access_token")
			for name, b := range map[string]*browser{"a stranger": g.browser(t), "after the password": func() *browser { b := g.browser(t); s.login(b, "alice", alicePassword); return b }()} {
				b.get("/comms", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Accept", "*/*")
				if b.page.StatusCode < 400 {
					t.Errorf("%s: the WebSocket answers %d", name, b.page.StatusCode)
				}
				if b.get("/hook/ping", "Accept", "*/*", "Authorization", basic("alice", alicePassword)); b.page.StatusCode < 400 {
					t.Errorf("%s: a flow's own address answers %d", name, b.page.StatusCode)
				}
			}
			if p := past(t, g.url, upstream).get("/hook/ping", "Authorization", basic("alice", alicePassword)); p.page.StatusCode != http.StatusOK {
				t.Errorf("without the gate a flow's own address answers %d", p.page.StatusCode)
			}
		},
	},
	{
		preset: "pocketbase", app: "pocketbase", heavy: true, chromium: true, policy: "script-src 'self' 'unsafe-inline'; object-src 'none'", loginPage: "/_/",
		apiName: "alice@example.test",
		page:    "/_/", marker: `"record":{`, who: regexp.MustCompile(`"email":"([^"@]+)@example.test"`),
		login: func(b *browser, user, password string) { pocketBase("_superusers").try(b, user, password) },
		again: func(b *browser, user, password string) { pocketBase("_superusers").try(b, user, password) },
		ask: func(b *browser) {
			b.do(http.MethodPost, "/api/collections/_superusers/auth-refresh", "application/json", "{}", b.credential()...)
		},
		gives: regexp.MustCompile(`"token":"([^"]+)"`), told: regexp.MustCompile(`"token":"`),
		aliases: []string{"Alice", "ALICE", " alice", "ａｌｉｃｅ", "álice", "_alice", "alice_", "alice."},
		open:    9,
		doors: []door{
			pocketBase("_superusers"), pocketBase("_SUPERUSERS"), pocketBase("pbc_3142635823"), pocketBase("users"), pocketBase("%5fsuperusers"),
			raw("POST", "/api/collections/_superusers/auth-with-password?fields=token", "application/json", `{"identity":"USER@example.test","password":"PASSWORD"}`),
			raw("POST", "/api/collections/_superusers/auth-with-password?expand=x", "application/json", `{"identity":"USER@example.test","password":"PASSWORD"}`),
			at("/api/collections/_superusers/auth-with-password", url.Values{"identity": {"USER@example.test"}, "password": {"PASSWORD"}}),
			multi("/api/collections/_superusers/auth-with-password", "identity", "USER@example.test", "password", "PASSWORD"),
			raw("POST", "//api/collections/_superusers/auth-with-password", "application/json", `{"identity":"USER@example.test","password":"PASSWORD"}`),
			raw("POST", "/_/x.js", "application/json", `{"identity":"USER@example.test","password":"PASSWORD"}`),
			raw("POST", "/api/batch", "application/json", `{"requests":[{"method":"POST","url":"/api/collections/_superusers/auth-with-password","body":{"identity":"USER@example.test","password":"PASSWORD"}}]}`),
			raw("GET", "/api/collections/_superusers/records", "", "", "Authorization", "BASIC"),
		},
		// Its own way out only forgets the token.
		logout: func(b *browser) { b.get("/mfa").submit(url.Values{}) },
		quirks: func(t *testing.T, s *subject, g *gate, upstream string) {
			s.tokens(t, g, upstream, "token")
			for _, b := range []*browser{g.browser(t), s.signIn(t, g, "bob", bobPassword)} {
				for _, path := range []string{"users/auth-with-otp", "_superusers/auth-with-otp", "users/auth-with-oauth2", "users/request-otp", "%75sers/auth-with-otp"} {
					if b.do(http.MethodPost, "/api/collections/"+path, "application/json", `{}`, b.credential()...); b.page.StatusCode != http.StatusForbidden {
						t.Errorf("%s answers %d", path, b.page.StatusCode)
					}
				}
			}
			b := g.browser(t)
			for _, path := range []string{"/api/realtime", "/api/collections", "/api/health", "/api/settings"} {
				if b.get(path, "Accept", "application/json"); b.page.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s answers a stranger %d", path, b.page.StatusCode)
				}
			}
			if b.do(http.MethodPost, "/api/collections/users/records", "application/json", `{"email":"m@example.test","password":"Mallory-pw-9","passwordConfirm":"Mallory-pw-9"}`); b.page.StatusCode < 400 {
				t.Errorf("registration answers %d", b.page.StatusCode)
			}
			// A user with a superuser's address and a password of his own is not her.
			before := g.phones.count()
			pocketBase("users").try(b, "alice", alicePassword)
			if n := g.phones.count() - before; n != 0 {
				t.Errorf("%d texts to the superuser of the same address", n)
			}
		},
	},
}

// credential is a header field with the browser's token.
func (b *browser) credential() []string {
	if b.bearer == "" {
		return []string{"Accept", "application/json"}
	}
	return []string{"Accept", "application/json", "Authorization", "Bearer " + b.bearer}
}

// tokens: a released token opens for a client without cookies, until the
// logout; one that the application gave to somebody else opens nothing.
func (s *subject) tokens(t *testing.T, g *gate, upstream, query string) {
	t.Helper()
	b := s.signIn(t, g, "alice", alicePassword)
	bare := g.browser(t)
	bare.bearer = b.bearer
	if who := s.shown(bare); who != "alice" {
		t.Errorf("the token, without a cookie, is %q", who)
	}
	s.logout(b)
	if who := s.shown(bare); who != "" || bare.page.StatusCode != http.StatusUnauthorized {
		t.Errorf("after the logout the token is %q (%d)", who, bare.page.StatusCode)
	}
	old := past(t, g.url, upstream)
	old.g.gives = s.gives
	s.login(old, "alice", alicePassword)
	if who := s.shown(old); who != "alice" {
		t.Fatalf("without the gate the token is %q", who)
	}
	for name, b := range map[string]*browser{"a stranger": g.browser(t), "bob": s.signIn(t, g, "bob", bobPassword)} {
		for _, head := range []string{"Bearer " + old.bearer, "bearer " + old.bearer, old.bearer} {
			b.get(s.page, "Accept", "application/json", "Authorization", head)
			if m := s.who.FindStringSubmatch(b.body); m != nil && m[1] == "alice" {
				t.Errorf("%s: a token that was not released opens for alice", name)
			}
		}
		for _, q := range []string{query, "%" + fmt.Sprintf("%x", query[0]) + query[1:]} {
			b.get(s.page+"?"+q+"="+url.QueryEscape(old.bearer), "Accept", "application/json")
			if m := s.who.FindStringSubmatch(b.body); m != nil && m[1] == "alice" {
				t.Errorf("%s: a token in the query that was not released opens for alice", name)
			}
		}
		b.bearer = old.bearer
		if who := s.shown(b); who != "" || b.page.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s with a token that was not released is %q (%d)", name, who, b.page.StatusCode)
		}
	}
}

// nodeRED logs in as the editor does.
func nodeRED(target string) door {
	return raw(http.MethodPost, target, "application/json", `{"client_id":"node-red-editor","grant_type":"password","scope":"","username":"USER","password":"PASSWORD"}`, "Accept", "application/json")
}

// pocketBase logs in to a collection.
func pocketBase(collection string) door {
	return raw(http.MethodPost, "/api/collections/"+collection+"/auth-with-password", "application/json", `{"identity":"USER@example.test","password":"PASSWORD"}`, "Accept", "application/json")
}

// link lets the PHP application in www answer below /old as well.
func link(t *testing.T, www string) {
	t.Helper()
	if err := os.Symlink(".", filepath.Join(www, "old")); err != nil {
		t.Fatal(err)
	}
}

// wikiToken is a token of MediaWiki's API.
func (b *browser) wikiToken(kind string) string {
	b.t.Helper()
	m := regexp.MustCompile(kind + `token":"([^"]+)"`).FindStringSubmatch(b.get("/api.php?action=query&meta=tokens&type=" + kind + "&format=json").body)
	if m == nil {
		return "none"
	}
	return strings.ReplaceAll(m[1], `\\`, `\`)
}

// wiki posts to MediaWiki with the token that logins need: it is the same for
// the page and the API, so a stranger has it.
func wiki(target string, fields ...string) door {
	return door{"POST " + target + " " + strings.Join(fields[:2], "="), func(b *browser, user, password string) {
		token := b.wikiToken("login")
		if token == "none" {
			token = b.token("wpLoginToken", "/index.php?title=Special:UserLogin")
		}
		v := url.Values{}
		for i := 0; i+1 < len(fields); i += 2 {
			v.Set(fields[i], strings.NewReplacer("USER", user, "PASSWORD", password, "TOKEN", token).Replace(fields[i+1]))
		}
		b.post(strings.NewReplacer("USER", user, "PASSWORD", password, "TOKEN", url.QueryEscape(token)).Replace(target), v)
	}}
}

func mysql(target string) door {
	return door{"POST " + target, func(b *browser, user, password string) {
		b.post(target, url.Values{"pma_username": {user}, "pma_password": {password}, "server": {"1"}, "token": {b.token("token", "/index.php?route=/")}})
	}}
}

func djangos(target string) door {
	return door{"POST " + target, func(b *browser, user, password string) {
		b.post(target, url.Values{"username": {user}, "password": {password}, "csrfmiddlewaretoken": {b.token("csrfmiddlewaretoken", "/admin/login/", "/admin/password_change/")}})
	}}
}

func rails(target string) door {
	return door{"POST " + target, func(b *browser, user, password string) {
		v := url.Values{"username": {user}, "password": {password}, "autologin": {"1"}, "authenticity_token": {b.token("authenticity_token", "/login", "/my/page")}}
		if strings.Contains(target, "username=") {
			v.Del("username")
		}
		b.post(strings.ReplaceAll(target, "USER", user), v)
	}}
}

func httpd(target string) door {
	return at(target, url.Values{"httpd_username": {"USER"}, "httpd_password": {"PASSWORD"}})
}

// rpc calls a method of Deluge.
func rpc(target, method, param string) door {
	params := ""
	if param != "" {
		params = `"` + param + `"`
	}
	return raw(http.MethodPost, target, "application/json", fmt.Sprintf(`{"method":"%s","params":[%s],"id":1}`, method, params), "Accept", "application/json")
}

// djangoReset: a link that sets a new password works for a stranger and logs
// nobody in; one that logs in is stopped.
func djangoReset(t *testing.T, s *subject, g *gate, upstream string) {
	mail := filepath.Join(os.TempDir(), "caddymfa-apps", "django-"+upstream[strings.LastIndexByte(upstream, ':')+1:], "mail")
	send := func() string {
		t.Helper()
		before, _ := filepath.Glob(mail + "/*")
		b := g.browser(t)
		b.get("/admin/password_reset/").submit(url.Values{"email": {"bob@example.test"}})
		after, _ := filepath.Glob(mail + "/*")
		if len(after) != len(before)+1 {
			t.Fatalf("%d mails after %d: %s", len(after), len(before), b.page.Request.URL)
		}
		old := map[string]bool{}
		for _, f := range before {
			old[f] = true
		}
		for _, f := range after {
			if !old[f] {
				text, _ := os.ReadFile(f)
				return regexp.MustCompile(`/accounts/reset/\S+`).FindString(string(text))
			}
		}
		return ""
	}
	again := url.Values{"new_password1": {bobPassword}, "new_password2": {bobPassword}}
	b := g.browser(t)
	b.get(send()).submit(again)
	if !strings.HasSuffix(b.page.Request.URL.Path, "/accounts/reset/done/") {
		t.Errorf("a new password by a link: %d %s", b.page.StatusCode, b.page.Request.URL)
	}
	if who := s.shown(b); who != "" {
		t.Errorf("a reset link opens for %s", who)
	}
	loggingIn := strings.Replace(send(), "/accounts/reset/", "/autoreset/", 1)
	if b := g.browser(t); s.shown(func() *browser { return b.get(loggingIn) }()) != "" {
		t.Error("a link that logs in opens for a stranger")
	}
	b = s.signIn(t, g, "alice", alicePassword)
	b.get(loggingIn).submit(again)
	if who := s.shown(b); who != "" {
		t.Errorf("after a link that logs bob in, alice's session shows %s", who)
	}
	// One's own new password ends nothing.
	b = s.signIn(t, g, "alice", alicePassword)
	const next = "Another-pw-1"
	b.get("/admin/password_change/").submit(url.Values{"old_password": {alicePassword}, "new_password1": {next}, "new_password2": {next}})
	if who := s.shown(b); who != "alice" {
		t.Errorf("after her own new password the page is shown to %q", who)
	}
}
