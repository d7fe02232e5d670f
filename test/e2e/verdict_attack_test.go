package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
)

// silent is an application whose login the gate judges by identity alone: its
// answers to right and to wrong passwords have no mark that a rule names.
type silent struct {
	app
	// rule is the block; %s is identity's regular expression, which is right.
	rule, identity string
	// others are more pages that alice's session shows something of hers on.
	others []string
	// hers is what only alice's session shows.
	hers *regexp.Regexp
}

// never is a regular expression that could be somebody's idea of the page.
const never = `<b id=\"whoami\">([^<]+)</b>`

var silents = []silent{
	{
		// The login page, the login and all pages have one address.
		app: app{
			name: "roundcube",
			page: "/?_task=mail", marker: `username">`,
			loginPage: "/", nameField: "_user", passwordField: "_pass",
			doors: func(b *browser, user, password string) {
				for _, path := range []string{"/", "/?_task=login", "/?_task=mail", "/index.php", "/index.php/x.css", "/?_task=mail&_action=list&_remote=1"} {
					token := b.token("_token", "/")
					b.post(path, url.Values{"_token": {token}, "_task": {"login"}, "_action": {"login"}, "_user": {user}, "_pass": {password}}).mustNotHave(`username">`)
					b.get("/?_task=mail").mustNotHave(`username">`)
				}
			},
			logout: func(b *browser) {
				m := regexp.MustCompile(`"request_token":"([^"]+)"`).FindStringSubmatch(b.get("/?_task=mail").body)
				if m == nil {
					b.t.Fatal("no token on the page")
				}
				b.get("/?_task=logout&_token=" + m[1])
			},
			single: true, // no form for somebody who is signed in
		},
		rule: `
		login_page /
		login roundcube {
			method   POST
			any_path
			fields   _user _pass
			user     form _user
			identity /?_task=mail "%s"
		}
		session_cookies ^roundcube_sess(id|auth)$
		logout / query _task=logout`,
		identity: `username\">([^<@]+)@`,
		others:   []string{"/", "/?_task=mail&_action=list&_mbox=INBOX&_remote=1", "/?_task=settings", "/?_task=addressbook", "/index.php?_task=mail", "/?_task=login"},
		hers:     regexp.MustCompile(`alice@127\.0\.0\.1|SECRET-MAIL`),
	},
	{
		// Every page shows the form to a stranger, and takes it.
		app: app{
			name: "cacti",
			page: "/graph_view.php", marker: "Logged in as ", deep: "/graph_view.php?action=preview", lands: "/index.php",
			loginPage: "/index.php", nameField: "login_username", passwordField: "login_password",
			doors: func(b *browser, user, password string) {
				for _, path := range []string{"/index.php", "/graph_view.php", "/graph_view.php/x.css", "/", "/auth_profile.php"} {
					token := b.token("__csrf_magic", "/index.php")
					b.post(path, url.Values{"__csrf_magic": {token}, "action": {"login"}, "login_username": {user}, "login_password": {password}}).mustNotHave("Logged in as ")
					b.get("/graph_view.php").mustNotHave("Logged in as ")
				}
			},
			logout: func(b *browser) { b.get("/logout.php") },
			single: true, // no form for somebody who is signed in
		},
		rule: `
		login_page /index.php
		login cacti {
			method   POST
			any_path
			fields   login_username login_password
			user     form login_username
			identity /graph_view.php "%s"
		}
		session_cookies ^Cacti$ ^cacti_remembers$
		logout /logout.php`,
		identity: `Logged in as ([^<]+)<`,
		others:   []string{"/index.php", "/", "/graph_view.php?action=preview", "/auth_profile.php", "/index.php?action=x"},
		hers:     regexp.MustCompile(`Logged in as |>alice<|<title>Console`),
	},
	{
		// Name and password are taken at every address, and answered with the page.
		app: app{
			name: "request-tracker",
			page: "/", marker: `class="current-user"`, deep: "/Ticket/Display.html?id=1", deepMarker: "SECRET-TICKET", lands: "/",
			loginPage: "/", nameField: "user", passwordField: "pass",
			doors: func(b *browser, user, password string) {
				v := url.Values{"user": {user}, "pass": {password}}
				for _, path := range []string{"/", "/NoAuth/Login.html", "/NoAuth/css/x.css", "/Ticket/Display.html?id=1", "/REST/1.0/ticket/1", "/REST/1.0/ticket/1/show", "/REST/1.0/NoAuth/x", "/REST/1.0/search/ticket?query=id>0", "//REST/1.0/ticket/1"} {
					b.post(path, v).mustNotHave("SECRET-TICKET")
					b.get(path + strings.Repeat("?", 1-min(1, strings.Count(path, "?"))) + "&" + v.Encode()).mustNotHave("SECRET-TICKET")
					b.get("/Ticket/Display.html?id=1").mustNotHave("SECRET-TICKET")
				}
				kind, body := multipartBody("user", user, "pass", password)
				b.do(http.MethodPost, "/REST/1.0/ticket/1", kind, body).mustNotHave("SECRET-TICKET")
				b.do(http.MethodPost, "/REST/1.0/ticket/1", "application/x-www-form-urlencoded", "user="+user+";pass="+password).mustNotHave("SECRET-TICKET")
				b.do(http.MethodPost, "/REST/1.0/ticket/1", "", v.Encode()).mustNotHave("SECRET-TICKET")
				b.get("/REST/2.0/ticket/1", "Authorization", basic(user, password)).mustNotHave("SECRET-TICKET")
			},
			logout: func(b *browser) { b.get("/NoAuth/Logout.html") },
		},
		rule: `
		login_page /
		login rt {
			method   POST
			any_path
			fields   user pass
			user     form user
			identity / "%s"
		}
		session_cookies ^RT_SID_
		logout /NoAuth/Logout.html`,
		identity: `class=\"current-user\">([^<]+)<`,
		others:   []string{"/NoAuth/Login.html", "/Ticket/Display.html?id=1", "/Search/Simple.html?q=SECRET", "/Prefs/AboutMe.html"},
		hers:     regexp.MustCompile(`SECRET-TICKET|current-user|alice@example\.test`),
	},
}

// large skips what is only run by make test-apps.
func large(t *testing.T, name string) {
	t.Helper()
	if os.Getenv("CADDYMFA_APPS") != "all" {
		t.Skipf("%s is large: make test-apps runs it", name)
	}
}

// TestAttack_K29_NoEvidenceIsNoVerdict gives the right password where identity's
// regular expression does not match: nobody can say whether it was right, so
// that nothing of the session may show. With the right one people sign in.
func TestAttack_K29_NoEvidenceIsNoVerdict(t *testing.T) {
	for _, s := range silents {
		t.Run(s.name, func(t *testing.T) {
			large(t, s.name)
			port := freePort(t)
			upstream := startApp(t, s.name, freePort(t), siteURL(port))
			t.Run("without the gate it shows", func(t *testing.T) {
				b := past(t, siteURL(port), upstream)
				s.login(b, "alice", alicePassword)
				for _, path := range append([]string{s.page}, s.others...) {
					if !s.hers.MatchString(b.get(path).body) {
						t.Logf("%s shows nothing of alice's", path)
					}
				}
				if !s.hers.MatchString(b.get(s.page).body) {
					t.Fatalf("%s shows nothing of alice's:\n%.2000s", s.page, b.body)
				}
			})
			overStores(t, func(t *testing.T, global string) {
				s.unjudged(t, startGate(t, port, upstream, fmt.Sprintf(s.rule, never), global))
			})
			t.Run("with the right rule", func(t *testing.T) {
				s.block = fmt.Sprintf(s.rule, s.identity)
				s.test(t, port, upstream)
			})
		})
	}
}

// unjudged gives alice's password to a gate that cannot tell.
func (s *silent) unjudged(t *testing.T, g *gate) {
	t.Helper()
	b := g.browser(t)
	s.login(b, "alice", alicePassword)
	s.nothing(b)
	b.mustHave("Signing in did not work")
	for _, path := range append([]string{s.loginPage, s.page}, s.others...) {
		s.nothing(b.get(path))
	}
	// A script asks otherwise than a window.
	for _, path := range s.others {
		s.nothing(b.get(path, "Accept", "*/*", "X-Requested-With", "XMLHttpRequest", "Sec-Fetch-Mode", "cors"))
	}
	if n := g.phones.count(); n != 0 {
		t.Errorf("%d texts", n)
	}
	if told := strings.Count(g.log.String(), `"reason":"no_verdict"`); told == 0 {
		t.Error("the operator was not told")
	}
}

// nothing: the answer shows nothing of alice's.
func (s *silent) nothing(b *browser) {
	b.t.Helper()
	if m := s.hers.FindString(b.body); m != "" {
		b.t.Errorf("%q is on %s (%d)", m, b.page.Request.URL, b.page.StatusCode)
	}
}

// TestAttack_K30_AnswersWithTheData gives name and password at an address of
// Request Tracker's that answers with the ticket at once. Whatever the gate makes
// of the login, the answer leaves only at addresses that are open before one.
func TestAttack_K30_AnswersWithTheData(t *testing.T) {
	large(t, "request-tracker")
	s := silents[len(silents)-1]
	port := freePort(t)
	upstream := startApp(t, s.name, freePort(t), siteURL(port))
	v := url.Values{"user": {"alice"}, "pass": {alicePassword}}
	paths := []string{"/REST/1.0/ticket/1", "/REST/1.0/ticket/1/show", "/REST/1.0/ticket/1/history", "/REST/1.0/user/alice", "/Ticket/Display.html?id=1", "/REST/1.0/search/ticket?query=id%3E0"}
	t.Run("without the gate it answers", func(t *testing.T) {
		if past(t, siteURL(port), upstream).post(paths[0], v).mustHave("SECRET-TICKET"); t.Failed() {
			t.FailNow()
		}
	})
	for name, identity := range map[string]string{"identity does not match": never, "identity matches": s.identity} {
		t.Run(name, func(t *testing.T) {
			overStores(t, func(t *testing.T, global string) {
				g := startGate(t, port, upstream, fmt.Sprintf(s.rule, identity), global)
				for _, path := range paths {
					for _, accept := range []string{"text/html", "*/*"} {
						b := g.browser(t)
						s.nothing(b.post(path, v, "Accept", accept))
						if identity == never && b.page.StatusCode != http.StatusUnauthorized {
							t.Errorf("%s answers %d", path, b.page.StatusCode)
						}
						s.nothing(b.get(path))
						// A wrong password's answer is the application's, and stays in as well.
						b = g.browser(t)
						if b.post(path, url.Values{"user": {"alice"}, "pass": {"wrong"}}, "Accept", accept); b.page.StatusCode != http.StatusUnauthorized {
							t.Errorf("%s answers a wrong password %d", path, b.page.StatusCode)
						}
						if b.has("RT/5") {
							t.Errorf("%s answers a wrong password in the application's words", path)
						}
					}
				}
				if identity == never && g.phones.count() != 0 {
					t.Errorf("%d texts", g.phones.count())
				}
			})
		})
	}
}
