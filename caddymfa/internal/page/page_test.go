package page

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/lang"
	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// reasons are all of them: a page must have something to say about each.
var reasons = []event.Reason{
	"", "what-nobody-knows", event.OK, event.Anonymous, event.Pending, event.Denied, event.Ambiguous, event.UnknownHandle,
	event.NotSent, event.BodyTooLarge, event.NoRoom, event.AnotherUser, event.CrossSite, event.LoginByGet, event.Upgrade, event.StoreDown, event.LoginLoop,
	event.TooManyVisitors, event.ClientLogins, event.InProgress, event.TrapHit, event.Framed, event.NoAnswer, event.Unreadable,
	event.NoVerdict, event.NoUser, event.NoNumber, event.WrongPassword, event.Sent, event.UserLimit,
	event.NumberLimit, event.ClientLimit, event.PrefixLimit, event.Budget, event.TooSoon, event.NoMoreSends,
	event.GatewayDown, event.NumberRefused, event.BadNumber, event.BadCountry, event.BadNumberType,
	event.WrongCode, event.MalformedCode, event.ExpiredCode, event.UsedUp, event.AlreadyUsed, event.LockedOut,
	event.Disabled, event.BadToken, event.Logout, event.AppLogout, event.Cancelled, event.SameUser, event.NoFactor,
	event.ProofNeeded, event.Required, event.CodesExist, event.NumberKnown, event.WrongRecovery, event.Removed,
	event.NotInvited, event.EnrolmentShut, event.WrongInvite, event.Unidentified,
	event.NumberDead, event.NoMobile, event.OptedOut, event.Blocked, event.PhoneOff, event.Undelivered,
}

// told are the reasons that reach a page as a message: "other" is not enough.
var told = []event.Reason{
	event.Anonymous, event.UnknownHandle, event.NotSent, event.BodyTooLarge, event.NoRoom, event.AnotherUser, event.Denied, event.Ambiguous, event.CrossSite, event.LoginByGet,
	event.Upgrade, event.StoreDown, event.LoginLoop, event.TooManyVisitors, event.ClientLogins, event.InProgress, event.TrapHit,
	event.NoAnswer, event.Unreadable, event.NoVerdict, event.NoUser, event.NoNumber, event.UsedUp, event.AlreadyUsed,
	event.LockedOut, event.Disabled, event.BadToken, event.Pending, event.NotInvited, event.EnrolmentShut, event.Unidentified,
}

func pages(t *testing.T) *Pages {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(p *Pages, method, lang string, status int, v View) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/mfa", nil)
	r.Header.Set("Accept-Language", lang)
	w := httptest.NewRecorder()
	p.Write(w, r, status, v)
	return w
}

func view(kind Kind) View {
	return View{
		Kind: kind, App: "Example", Base: "/mfa", Login: "/login", Token: "t0ken", User: "alice", Ending: "67",
		Digits: 6, Minutes: 5, Left: 2, Wait: 29500 * time.Millisecond, Resend: true, Regions: []string{"DE", "GB"},
		Trust: 30 * 24 * time.Hour, Next: "/home", New: []string{"abcde-fghij-kmnpq", "rstuv-wxyz2-34567"},
		Settings: Settings{
			Ending: "67", Changeable: true, Removable: true, Left: 3, Trust: true,
			Sessions: []Seen{
				{ID: "s1", Browser: "Firefox, Linux", Since: time.Now(), This: true},
				{ID: "s2", Browser: "Chrome, Windows", Since: time.Now().Add(-3 * time.Hour)},
				{ID: "s3", Since: time.Now().Add(-49 * time.Hour)},
			},
			Devices: []Seen{
				{ID: "d1", Browser: "Firefox, Linux", Since: time.Now().Add(-time.Minute), Used: time.Now()},
				{ID: "d2", Since: time.Now().Add(-time.Hour), Used: time.Now()},
			},
		},
	}
}

// kinds are all pages.
func kinds() (all []Kind) {
	for kind := Message; names[kind] != ""; kind++ {
		all = append(all, kind)
	}
	return all
}

// check reads a page strictly: every element is closed, ids are unique, what
// ARIA and labels point at exists, and no script or style is inline.
func check(t *testing.T, body string) *html.Node {
	t.Helper()
	void := []string{"meta", "link", "input", "br"}
	var open []string
	ids, refs := map[string]bool{}, []string{}
	z := html.NewTokenizer(strings.NewReader(body))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		tok := z.Token()
		switch kind {
		case html.StartTagToken:
			if !slices.Contains(void, tok.Data) {
				open = append(open, tok.Data)
			}
			for _, a := range tok.Attr {
				switch {
				case a.Key == "id" && ids[a.Val]:
					t.Errorf("id %q twice", a.Val)
				case a.Key == "id":
					ids[a.Val] = true
				case a.Key == "for", a.Key == "aria-describedby", a.Key == "aria-labelledby":
					refs = append(refs, strings.Fields(a.Val)...)
				case a.Key == "href" && strings.HasPrefix(a.Val, "#"):
					refs = append(refs, a.Val[1:])
				case strings.HasPrefix(a.Key, "on"), a.Key == "style":
					t.Errorf("inline %s", a.Key)
				}
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != tok.Data {
				t.Fatalf("</%s> closes %v\n%s", tok.Data, open, body)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) != 0 {
		t.Errorf("never closed: %v", open)
	}
	for _, r := range refs {
		if !ids[r] {
			t.Errorf("nothing has the id %q", r)
		}
	}
	if text := regexp.MustCompile(` pattern="[^"]*"`).ReplaceAllString(body, ""); strings.Contains(text, "{") || strings.Contains(text, "ZgotmplZ") {
		t.Errorf("a placeholder is left, or a value was refused:\n%s", body)
	}
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func elements(n *html.Node, name string) []*html.Node {
	var out []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == name {
			out = append(out, d)
		}
	}
	return out
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

func TestEveryPageInEveryLanguage(t *testing.T) {
	p := pages(t)
	for _, l := range lang.BuiltIn {
		for _, kind := range kinds() {
			for _, reason := range reasons {
				// The form of a page is the same in all of them, but for the direction.
				if l != "en" && l != "ar" && !slices.Contains([]event.Reason{"", event.WrongCode, event.LockedOut}, reason) {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d/%s", l, kind, reason), func(t *testing.T) {
					for i, resend := range []bool{true, false, true, false} {
						v := view(kind)
						v.Reason, v.Resend, v.Change = reason, resend, resend
						v.Delivery, v.Watch = []*Delivery{nil, {State: sms.Sent}, {State: sms.Delivered}, {State: sms.Failed, Reason: event.PhoneOff}}[i], i == 1
						if v.Delivery != nil {
							r := httptest.NewRequest(http.MethodGet, "/mfa", nil)
							r.Header.Set("Accept-Language", l)
							p.Say(r, v.Delivery)
						}
						if i > 1 {
							v.Step, v.For = []string{StepConfirm, StepNumber}[i-2], "codes"
						}
						if !resend { // nothing but a password
							v.Settings = Settings{Left: -1, Changeable: i > 1, Sessions: v.Settings.Sessions[:1]}
							v.Trust = 0
						}
						doc := check(t, write(p, "GET", l, 200, v).Body.String())
						root := elements(doc, "html")[0]
						dir := "ltr"
						if l == "ar" || l == "he" {
							dir = "rtl"
						}
						if attr(root, "lang") != l || attr(root, "dir") != dir {
							t.Errorf("lang %q dir %q", attr(root, "lang"), attr(root, "dir"))
						}
						h1, title := elements(doc, "h1"), text(elements(doc, "title")[0])
						if len(h1) != 1 || text(h1[0]) == "" || !strings.HasSuffix(title, text(h1[0])+" – Example") {
							t.Errorf("%d h1, title %q", len(h1), title)
						}
						for _, name := range []string{"p", "button", "a", "label"} {
							for _, n := range elements(doc, name) {
								if text(n) == "" {
									t.Errorf("empty <%s>", name)
								}
							}
						}
						for _, f := range elements(doc, "form") {
							if kind == Again { // the application's: it goes to where it was posted
								if attr(f, "method") != "post" || attr(f, "action") != "" {
									t.Errorf("form %v", f.Attr)
								}
								continue
							}
							if attr(f, "method") != "post" || !strings.HasPrefix(attr(f, "action"), "/mfa/") {
								t.Errorf("form %v", f.Attr)
							}
							if in := elements(f, "input"); attr(in[0], "name") != "secondfactorauthenticationtoken" || attr(in[0], "value") != "t0ken" {
								t.Errorf("form %s without token", attr(f, "action"))
							}
						}
						errorPage := reason != "" && slices.Contains([]Kind{Code, Number, Invitation, Recovery, Confirm, Ask}, kind)
						if strings.HasPrefix(title, p.texts[l]["error"]+" ") != errorPage {
							t.Errorf("title %q", title)
						}
					}
				})
			}
		}
	}
}

// counted are the texts of which there is one for each plural form.
var counted = []string{"left", "minute", "second", "hour", "day", "ago.minute", "ago.hour", "ago.day", "settings.codes"}

var placeholder = regexp.MustCompile(`\{\w+\}`)

func placeholders(s string) []string {
	return slices.Sorted(slices.Values(placeholder.FindAllString(s, -1)))
}

// plural is the counted text that a key is a form of, and the form.
func plural(key string) (base, form string, ok bool) {
	i := strings.LastIndexByte(key, '.')
	if i < 0 {
		return "", "", false
	}
	base, form = key[:i], key[i+1:]
	return base, form, slices.Contains(counted, base) && slices.Contains([]string{lang.Zero, lang.One, lang.Two, lang.Few, lang.Many, lang.Other}, form)
}

func TestNoTextIsMissing(t *testing.T) {
	p := pages(t)
	en := p.texts["en"]
	if len(p.texts) != len(lang.BuiltIn) {
		t.Errorf("%d languages", len(p.texts))
	}
	// What English says as well.
	equal := map[string][]string{"dir": nil, "comma": nil, "error": {"es"}, "minute.one": {"fr"}, "minute.other": {"fr"}}
	for _, l := range lang.BuiltIn {
		m := p.texts[l]
		forms := map[string]bool{}
		for n := range 200 {
			forms[lang.Plural(l, n)] = true
		}
		for key, want := range en {
			if _, _, ok := plural(key); ok {
				continue
			}
			got := m[key]
			if strings.TrimSpace(got) == "" {
				t.Errorf("%s: %s is missing", l, key)
			}
			if a, b := placeholders(got), placeholders(want); !slices.Equal(a, b) {
				t.Errorf("%s: %s has %v, en has %v", l, key, a, b)
			}
			if same, ok := equal[key]; got == want && l != "en" && (!ok || same != nil && !slices.Contains(same, l)) {
				t.Errorf("%s: %s is as in English: %q", l, key, got)
			}
		}
		for _, base := range counted {
			for form := range forms {
				got := m[base+"."+form]
				if strings.TrimSpace(got) == "" {
					t.Errorf("%s: %s.%s is missing", l, base, form)
				}
				few := form == lang.Zero || form == lang.One || form == lang.Two // may be a word
				if ph := placeholders(got); len(ph) > 1 || len(ph) == 1 && ph[0] != "{n}" || len(ph) == 0 && !few {
					t.Errorf("%s: %s.%s has %v", l, base, form, ph)
				}
			}
		}
		for key, text := range m {
			_, form, ok := plural(key)
			if ok && !forms[form] || !ok && en[key] == "" {
				t.Errorf("%s: %s is for nothing", l, key)
			}
			if strings.ContainsAny(text, "<>&\n\r\t") || key != "comma" && strings.TrimSpace(text) != text {
				t.Errorf("%s: %s is no plain text: %q", l, key, text)
			}
		}
		for _, r := range told {
			if m["title."+string(r)] == "" || m["message."+string(r)] == "" {
				t.Errorf("%s: no message for %s", l, r)
			}
		}
	}
}

// A text that nothing names is one that twenty people translate for nothing.
func TestNoTextIsSuperfluous(t *testing.T) {
	var source strings.Builder
	for _, glob := range []string{"*.go", "templates/*.html", "assets/*.js"} {
		files, err := filepath.Glob(glob)
		if err != nil || len(files) == 0 {
			t.Fatal(glob, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(b)
		}
	}
	named := func(key string) bool {
		return strings.Contains(source.String(), `"`+key+`"`) || strings.Contains(source.String(), `'`+key+`'`) || strings.Contains(source.String(), "t."+key+")")
	}
	b, err := texts.ReadFile("texts/en.json")
	if err != nil {
		t.Fatal(err)
	}
	en := map[string]string{}
	if err := json.Unmarshal(b, &en); err != nil {
		t.Fatal(err)
	}
	for key := range en {
		head, tail, _ := strings.Cut(key, ".")
		base, _, isPlural := plural(key)
		switch {
		case isPlural:
			if !named(base) {
				t.Errorf("nothing counts %s", base)
			}
		case slices.Contains([]string{"title", "message", "problem"}, head):
			if !slices.Contains(reasons, event.Reason(tail)) && tail != "other" && tail != "locked_later" && !named(key) && !slices.Contains(slices.Collect(maps.Values(same)), key) {
				t.Errorf("no reason has %s", key)
			}
		case strings.HasSuffix(key, ".heading"):
			page := strings.TrimPrefix(strings.TrimSuffix(key, ".heading"), "settings.")
			if !slices.Contains(slices.Collect(maps.Values(names)), page) {
				t.Errorf("no page has %s", key)
			}
		default:
			if !named(key) {
				t.Errorf("nothing says %s", key)
			}
		}
	}
	// And what the templates name is there.
	for _, m := range regexp.MustCompile(`\.(?:T|Around) "([a-z._]+)"`).FindAllStringSubmatch(source.String(), -1) {
		if pages(t).texts["en"][m[1]] == "" {
			t.Errorf("a template names %q", m[1])
		}
	}
}

func TestAttack_D10_StringsAreTextNotMarkup(t *testing.T) {
	p := pages(t)
	const evil = `"'></title></bdi><script>alert(1)</script><img src=x onerror=alert(1)>{{.Token}}`
	for _, kind := range kinds() {
		for _, reason := range []event.Reason{"", event.BadNumber, event.BadCountry, evil} {
			v := view(kind)
			v.Reason, v.App, v.User, v.Typed, v.Ending, v.Token = reason, evil, evil, evil, evil, evil
			v.Regions, v.Login, v.Base, v.Next = []string{evil}, "javascript:alert(1)", "/mfa", "javascript:alert(1)"
			v.Settings.Ending, v.New, v.For = evil, []string{evil}, evil
			v.Settings.Sessions = []Seen{{ID: evil, Browser: evil}, {ID: evil, Browser: evil, This: true}}
			v.Settings.Devices = []Seen{{ID: evil, Browser: evil}}
			v.Fields = []intake.Pair{{Name: evil, Value: evil}}
			body := write(p, "GET", "en", 200, v).Body.String()
			doc, err := html.Parse(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if n := elements(doc, "img"); len(n) != 0 {
				t.Errorf("kind %d: an image got in", kind)
			}
			for _, s := range elements(doc, "script") {
				if src := attr(s, "src"); src != "/mfa/assets/code.js" && (kind != Again || src != "/mfa/assets/again.js") || text(s) != "" {
					t.Errorf("kind %d: a script got in", kind)
				}
			}
			for _, a := range elements(doc, "a") {
				if strings.HasPrefix(strings.ToLower(attr(a, "href")), "javascript:") {
					t.Errorf("kind %d: a script in a link", kind)
				}
			}
			if title := text(elements(doc, "title")[0]); !strings.HasSuffix(title, evil) {
				t.Errorf("kind %d: title %q", kind, title)
			}
			if kind == Number {
				for _, in := range elements(doc, "input") {
					if attr(in, "name") == "phoneno2fa" && attr(in, "value") != evil {
						t.Errorf("typed came back as %q", attr(in, "value"))
					}
				}
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	p := pages(t)
	for _, kind := range kinds() {
		h := write(p, "GET", "de", 403, view(kind)).Header()
		for key, want := range map[string]string{
			"Cache-Control": "no-store, no-transform", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"X-Robots-Tag": "noindex", "Cross-Origin-Resource-Policy": "same-origin", "Content-Language": "de",
			"Content-Type": "text/html; charset=utf-8", "Permissions-Policy": "otp-credentials=(self)",
			"Vary": "Accept-Language, Sec-Fetch-Mode, Sec-Fetch-Dest, Accept",
		} {
			if h.Get(key) != want {
				t.Errorf("kind %d: %s: %q", kind, key, h.Get(key))
			}
		}
		csp := h.Get("Content-Security-Policy")
		ancestors, xfo, coop := "; frame-ancestors 'none'", "DENY", "same-origin"
		switch kind {
		case Frame:
			ancestors, xfo, coop = "", "", ""
		case Again:
			ancestors, xfo, coop = "; frame-ancestors 'self'", "", ""
		}
		if !strings.HasPrefix(csp, "default-src 'none'; ") || !strings.HasSuffix(csp, "base-uri 'none'"+ancestors) ||
			strings.Contains(csp, "unsafe") || strings.Contains(csp, "form-action") {
			t.Errorf("kind %d: %s", kind, csp)
		}
		if h.Get("X-Frame-Options") != xfo || h.Get("Cross-Origin-Opener-Policy") != coop {
			t.Errorf("kind %d: framing %q %q", kind, h.Get("X-Frame-Options"), h.Get("Cross-Origin-Opener-Policy"))
		}
	}
}

func TestHeadHasNoBody(t *testing.T) {
	p := pages(t)
	get, head := write(p, "GET", "en", 401, view(Code)), write(p, "HEAD", "en", 401, view(Code))
	if head.Body.Len() != 0 || head.Code != 401 || head.Header().Get("Content-Length") != get.Header().Get("Content-Length") {
		t.Errorf("%d, %d bytes, %v", head.Code, head.Body.Len(), head.Header())
	}
}

func TestBrokenTemplateTellsNothing(t *testing.T) {
	clone := pages(t)
	if _, err := clone.page.New("page").Parse(`secret text {{.NoSuchField}}`); err != nil {
		t.Fatal(err)
	}
	w := write(clone, "GET", "en", 200, view(Code))
	if w.Code != 500 || strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), "NoSuchField") ||
		!strings.HasPrefix(w.Header().Get("Cache-Control"), "no-store") {
		t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
	}
}

func TestLanguage(t *testing.T) {
	p := pages(t)
	for accept, want := range map[string]string{
		"": "en", "*": "en", "de-AT,de;q=0.9": "de", "fr-CA": "fr", "es-419,en;q=0.5": "es", "ja": "ja", "hu": "en",
		"hu, fr;q=0.4": "fr", "en-GB, de;q=0.9": "en", "de;q=0.1, es;q=0.8": "es", ";;;q=": "en",
		strings.Repeat("x-", 5000): "en",
	} {
		if got := write(p, "GET", accept, 200, view(Code)).Header().Get("Content-Language"); got != want {
			t.Errorf("%.40q: %s, want %s", accept, got, want)
		}
	}
}

func TestCodePage(t *testing.T) {
	p := pages(t)
	body := func(change func(*View)) string {
		v := view(Code)
		change(&v)
		return write(p, "GET", "en", 200, v).Body.String()
	}
	has := func(name, body string, want bool, parts ...string) {
		t.Helper()
		for _, s := range parts {
			if strings.Contains(body, s) != want {
				t.Errorf("%s: %q is there: %t", name, s, !want)
			}
		}
	}
	has("plain", body(func(*View) {}), true, `autocomplete="one-time-code"`, `inputmode="numeric"`, "autofocus",
		`<bdi dir="ltr"><strong>67</strong></bdi>`, "6 numbers", "5 minutes", "in 30 seconds", "/mfa/verify", "/mfa/resend", "/mfa/cancel")
	has("plain", body(func(*View) {}), false, `role="alert"`, `role="status"`, "aria-invalid", "?number=1")
	has("one", body(func(v *View) { v.Wait, v.Minutes = time.Second, 1 }), true, "in 1 second.", "for 1 minute.")
	has("change", body(func(v *View) { v.Change = true }), true, "/mfa?number=1")
	has("sent", body(func(v *View) { v.Sent = true }), true, `role="status"`, "another text")
	has("no more", body(func(v *View) { v.Resend = false }), true, "No more texts")
	has("no more", body(func(v *View) { v.Resend = false }), false, "/mfa/resend")
	has("wrong", body(func(v *View) { v.Reason = event.WrongCode }), true, `role="alert"`, "There is a problem",
		`aria-invalid="true"`, `aria-describedby="hint error"`, "<title>Error: ", "2 tries left")
	has("wrong, one", body(func(v *View) { v.Reason, v.Left = event.WrongCode, 1 }), true, "one try left")
	has("wrong, many", body(func(v *View) { v.Reason, v.Left = event.WrongCode, 3 }), false, "left.")
	// Neither of these is a mistake in the field.
	has("too soon", body(func(v *View) { v.Reason = event.TooSoon }), true, `role="alert"`, "in 30 seconds")
	has("too soon", body(func(v *View) { v.Reason = event.TooSoon }), false, "aria-invalid")
	has("unsent", body(func(v *View) { v.Unsent = event.GatewayDown }), true, `role="status"`, "could not send")
	has("unsent", body(func(v *View) { v.Unsent = event.GatewayDown }), false, "aria-invalid", "ending in", "Error:")
}

func TestMessages(t *testing.T) {
	p := pages(t)
	for _, c := range []struct {
		reason event.Reason
		until  time.Duration
		want   []string
	}{
		{event.LockedOut, 14*time.Minute + time.Second, []string{"in 15 minutes", `href="/login"`}},
		{event.LockedOut, time.Second, []string{"in 1 minute."}},
		{event.LockedOut, 0, []string{"Wait a while"}},
		{event.Disabled, 0, []string{"Contact your administrator"}},
		{event.NotSent, 0, []string{"was not sent", "another tab", "go back", `href="/login"`}},
		{event.BadToken, 0, []string{`href="/mfa"`}},
		{event.StoreDown, 0, []string{"Try again", `href="/login"`}},
	} {
		v := view(Message)
		v.Reason, v.Until = c.reason, c.until
		body := write(p, "GET", "en", 200, v).Body.String()
		for _, s := range c.want {
			if !strings.Contains(body, s) {
				t.Errorf("%s %s: no %q\n%s", c.reason, c.until, s, body)
			}
		}
	}
}

func TestCountriesHaveNames(t *testing.T) {
	p := pages(t)
	v := view(Number)
	for lang, want := range map[string]string{"en": "Germany, United Kingdom", "de": "Deutschland, Vereinigtes Königreich"} {
		if body := write(p, "GET", lang, 200, v).Body.String(); !strings.Contains(body, want) {
			t.Errorf("%s: no %q\n%s", lang, want, body)
		}
	}
}

func TestAsset(t *testing.T) {
	p := pages(t)
	get := func(method, name, tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/mfa/assets/"+name, nil)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		p.Asset(w, r, name)
		return w
	}
	for name, kind := range map[string]string{
		"style.css": "text/css; charset=utf-8", "code.js": "text/javascript; charset=utf-8",
		"loginradius.js": "text/javascript; charset=utf-8",
	} {
		w := get("GET", name, "")
		h := w.Header()
		if w.Code != 200 || w.Body.Len() == 0 || h.Get("Content-Type") != kind || h.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.HasPrefix(h.Get("Cache-Control"), "public") || h.Get("Etag") == "" {
			t.Errorf("%s: %d %v", name, w.Code, h)
		}
		if w := get("GET", name, h.Get("Etag")); w.Code != 304 || w.Body.Len() != 0 {
			t.Errorf("%s again: %d", name, w.Code)
		}
		if w := get("HEAD", name, ""); w.Code != 200 || w.Body.Len() != 0 {
			t.Errorf("HEAD %s: %d, %d bytes", name, w.Code, w.Body.Len())
		}
	}
	for _, name := range []string{"", ".", "..", "../pages.go", "../templates/page.html", "STYLE.CSS", "style.css/"} {
		if w := get("GET", name, ""); w.Code != 404 {
			t.Errorf("%q: %d", name, w.Code)
		}
	}
}

func TestWriteChallenge(t *testing.T) {
	w := httptest.NewRecorder()
	WriteChallenge(w, http.StatusForbidden, Challenge{
		Token: "tok", Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Number: "+4915123456767", Verified: true, Sent: true, ID: "id", Base: "/mfa",
	})
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if w.Code != 403 || got["ErrorCode"] != 1176.0 || got["access_token"] != zeroToken || got["expires_in"] != zeroTime || got["location"] != "/mfa" {
		t.Errorf("%d %v", w.Code, got)
	}
	second, ok := got["SecondFactorAuthentication"].(map[string]any)
	if !ok || second["SecondFactorAuthenticationToken"] != "tok" || second["OTPPhoneNo"] != "XXXXXXXX67" ||
		second["ExpireIn"] != "2030-01-02T03:04:05.0000000Z" || second["IsOTPAuthenticatorVerified"] != true {
		t.Errorf("%v", second)
	}
	if strings.Contains(w.Body.String(), "4915123") || !strings.HasPrefix(w.Header().Get("Cache-Control"), "no-store") {
		t.Errorf("%s %v", w.Body, w.Header())
	}
}

func TestWriteErrorKnowsEveryReason(t *testing.T) {
	for _, reason := range reasons {
		w := httptest.NewRecorder()
		WriteError(w, http.StatusForbidden, reason)
		var got struct {
			ErrorCode int
			Message   string
			Reason    event.Reason `json:"reason"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.ErrorCode == 0 || got.Message == "" || got.Reason != reason {
			t.Errorf("%q: %v %s", reason, err, w.Body)
		}
	}
}

func TestOverviewOffersWhatTheUserMay(t *testing.T) {
	p := pages(t)
	for name, tc := range map[string]struct {
		change   func(*Settings)
		has, not []string
	}{
		"all": {func(*Settings) {}, []string{
			"<strong>67</strong>", "/settings/number", "/settings/remove", "/settings/codes", "You have 3 left", `name="ref" value="s2"`, `name="ref" value="s3"`,
			`name="all" value="others"`, `name="id" value="d1"`, `name="all" value="all"`, "This browser", "Signed in 3 hours ago", "Signed in 2 days ago", "Trusted 1 minute ago",
			"Last used just now", "Unknown browser", "Make new recovery codes", "NIST", "/mfa/logout",
		}, []string{`value="s1"`}},
		"a directory's number": {func(s *Settings) { s.Changeable, s.Removable = false, false }, []string{"administrator"}, []string{"/settings/number", "/settings/remove"}},
		"required":             {func(s *Settings) { s.Removable = false }, []string{"/settings/number"}, []string{"/settings/remove"}},
		"no number":            {func(s *Settings) { s.Ending, s.Removable, s.Left, s.Devices = "", false, -1, nil }, []string{"Turn on", "/settings/number"}, []string{"/settings/codes", "/settings/remove", "NIST", "Trusted browsers"}},
		"no codes":             {func(s *Settings) { s.Left = -1 }, []string{"none yet", ">Make recovery codes<"}, nil},
		"none left":            {func(s *Settings) { s.Left = 0 }, []string{"You have 0 left", "Make new"}, nil},
		"one left":             {func(s *Settings) { s.Left = 1 }, []string{"You have one left"}, nil},
		"one session":          {func(s *Settings) { s.Sessions = s.Sessions[:1] }, nil, []string{`name="ref"`, "others"}},
		"no trust":             {func(s *Settings) { s.Trust, s.Devices = false, nil }, nil, []string{"Trusted browsers"}},
		"no browsers":          {func(s *Settings) { s.Devices = nil }, []string{"Trusted browsers", "asked for at every sign-in"}, []string{`name="id"`}},
	} {
		v := view(Overview)
		tc.change(&v.Settings)
		body := write(p, "GET", "en", 200, v).Body.String()
		for _, s := range tc.has {
			if !strings.Contains(body, s) {
				t.Errorf("%s: no %q\n%s", name, s, body)
			}
		}
		for _, s := range tc.not {
			if strings.Contains(body, s) {
				t.Errorf("%s: %q is there\n%s", name, s, body)
			}
		}
	}
}

func TestStepsLeadToTheirOwnRoutes(t *testing.T) {
	p := pages(t)
	for name, tc := range map[string]struct {
		kind     Kind
		step     string
		has, not []string
	}{
		"login, code":      {Code, "", []string{`"/mfa/verify"`, `"/mfa/recover"`, `"/mfa/cancel"`, `name="trust"`, "for 30 days", "lowers security"}, []string{"/settings", `name="for"`, "checked"}},
		"login, recovery":  {Recovery, "", []string{`"/mfa/recover"`, `"/mfa/cancel"`, `name="backupcode"`, `href="/mfa"`}, []string{"/settings", `name="trust"`}},
		"login, number":    {Number, "", []string{`"/mfa/phone"`, `"/mfa/cancel"`}, []string{"/settings"}},
		"confirm, code":    {Code, StepConfirm, []string{`"/mfa/settings/confirm/verify"`, `name="for" value="codes"`, `/settings/confirm?for=codes&amp;code=recovery`, `href="/mfa/settings"`}, []string{"/mfa/cancel"}},
		"confirm, ask":     {Confirm, StepConfirm, []string{`"/mfa/settings/confirm"`, `name="for" value="codes"`}, []string{"/mfa/cancel", "/mfa/resend"}},
		"confirm, without": {Recovery, StepConfirm, []string{`"/mfa/settings/confirm/verify"`, "Confirm without your phone"}, []string{"/mfa/cancel", `"/mfa/recover"`}},
		"number":           {Number, StepNumber, []string{`"/mfa/settings/number"`, "Your new mobile number"}, []string{"/mfa/cancel", `"/mfa/phone"`}},
		"number, code":     {Code, StepNumber, []string{`"/mfa/settings/number/verify"`, "/settings/number?number=1"}, []string{"/mfa/cancel", "recover"}},
	} {
		v := view(tc.kind)
		v.Step, v.Change = tc.step, tc.step == StepNumber
		if tc.step == StepConfirm {
			v.For = "codes"
		}
		if tc.step != "" {
			v.Trust = 0
		}
		body := write(p, "GET", "en", 200, v).Body.String()
		for _, s := range tc.has {
			if !strings.Contains(body, s) {
				t.Errorf("%s: no %q\n%s", name, s, body)
			}
		}
		for _, s := range tc.not {
			if strings.Contains(body, s) {
				t.Errorf("%s: %q is there\n%s", name, s, body)
			}
		}
	}
	v := view(Code)
	v.Trust, v.Trusting = 12*time.Hour, true
	if body := write(p, "GET", "en", 200, v).Body.String(); !strings.Contains(body, "for 12 hours") || !strings.Contains(body, " checked") {
		t.Error(body)
	}
}

func TestAWrongRecoveryCodeSaysWhatIsLeft(t *testing.T) {
	p := pages(t)
	for left, want := range map[int]string{4: "4 tries left", 1: "one try left"} {
		v := view(Recovery)
		v.Reason, v.Left = event.WrongRecovery, left
		if body := write(p, "GET", "en", 403, v).Body.String(); !strings.Contains(body, want) || !strings.Contains(body, `aria-invalid="true"`) || !strings.Contains(body, `href="#backupcode"`) {
			t.Errorf("%d: %s", left, body)
		}
	}
}
