package caddymfa

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

func checkPrefix(p string) error {
	ok := strings.HasPrefix(p, "/") && len(p) > 1 && !strings.HasSuffix(p, "/") &&
		!strings.ContainsFunc(p[1:], func(c rune) bool {
			return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '/')
		}) && !strings.Contains(p, "//")
	if !ok {
		return fmt.Errorf("path %q: our own routes need a prefix such as /mfa: small letters, digits, - and _", p)
	}
	return nil
}

func (h *Handler) compileRules(g *gate.Gate) error {
	if h.FirstFactor != "" {
		return h.compileFirstFactor(g)
	}
	if len(h.Logins) == 0 {
		return errors.New("mfa has no login: nobody could ever sign in; name a preset or a login block")
	}
	seen := map[string]bool{}
	for i, c := range h.Logins {
		c.Name = nameOf(c, i)
		if seen[c.Name] {
			return fmt.Errorf("login %s is there twice: the second would never be asked", c.Name)
		}
		seen[c.Name] = true
		r, err := c.Compile()
		if err != nil {
			return fmt.Errorf("login %s: %w", c.Name, err)
		}
		g.Rules = append(g.Rules, r)
	}
	return nil
}

// nameOf is the name of a login; one without a name goes by its place.
func nameOf(c login.Config, i int) string { return cmp.Or(c.Name, fmt.Sprintf("login%d", i+1)) }

// compileFirstFactor checks the placeholder. A text without one would name the
// same user for everybody.
func (h *Handler) compileFirstFactor(g *gate.Gate) error {
	switch {
	case len(h.Logins) > 0 || h.LoginPage != "":
		return errors.New("first_factor together with login, preset or login_page: where Caddy identifies the user, the application's own login is never seen")
	case !strings.HasPrefix(h.FirstFactor, "{") || !strings.HasSuffix(h.FirstFactor, "}") || strings.Count(h.FirstFactor, "{") != 1:
		return fmt.Errorf("first_factor %s: write one placeholder that names the user, such as {http.auth.user.id}", h.FirstFactor)
	}
	g.FirstFactor = true
	return nil
}

func compileAll(what string, list []match.Request) ([]*match.Entry, error) {
	var out []*match.Entry
	for _, q := range list {
		e, err := q.Compile()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		out = append(out, e)
	}
	return out, nil
}

func (h *Handler) compileEntries(g *gate.Gate) (err error) {
	if g.LoginFlow, err = compileAll("login_flow", h.LoginFlow); err != nil {
		return err
	}
	if g.Public, err = compileAll("public", h.Public); err != nil {
		return err
	}
	if g.AssetPaths, err = match.ParsePaths(h.PublicAssetPaths); err != nil {
		return fmt.Errorf("public_assets: %w", err)
	}
	for _, q := range h.Deny {
		e, err := q.CompileShut()
		if err != nil {
			return fmt.Errorf("deny: %w", err)
		}
		g.Deny = append(g.Deny, e)
	}
	for _, line := range h.Traps {
		for _, c := range line {
			if !c.HeadOnly() {
				return errors.New("trap: only status, location, cookie, cookie_changed, cookie_deleted and header can be judged before an answer leaves")
			}
		}
	}
	if g.Site.Traps, err = match.Compile(h.Traps); err != nil {
		return fmt.Errorf("trap: %w", err)
	}
	for _, l := range h.Logouts {
		e, err := l.Compile()
		if err != nil {
			return fmt.Errorf("logout: %w", err)
		}
		for _, line := range l.Answer {
			for _, c := range line {
				if !c.HeadOnly() {
					return errors.New("logout: only status, location, cookie, cookie_changed, cookie_deleted and header can be judged before an answer leaves")
				}
			}
		}
		answer, err := match.Compile(l.Answer)
		if err != nil {
			return fmt.Errorf("logout: %w", err)
		}
		g.Logouts = append(g.Logouts, gate.Logout{Entry: e, Answer: answer})
	}
	return nil
}

// compileLoginPage reads a path with an optional query; a value {next} names
// the parameter that takes the page the visitor wanted.
func compileLoginPage(page string) (*gate.LoginPage, error) {
	if page == "" {
		page = "/"
	}
	path, query, _ := strings.Cut(page, "?")
	l := &gate.LoginPage{Path: path}
	q := match.Request{Paths: []string{path}}
	var fixed []string
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(k)
		if err != nil {
			return nil, fmt.Errorf("parameter %q: %w", k, err)
		}
		if v == "{next}" {
			if l.Next != "" {
				return nil, errors.New("{next} stands in it twice")
			}
			l.Next = name
			continue
		}
		value, err := url.QueryUnescape(v)
		if err != nil || strings.ContainsAny(value, "{}") {
			return nil, fmt.Errorf("value %q: only {next} may be in braces", v)
		}
		q.Query = append(q.Query, match.Param{Name: name, Value: &value})
		fixed = append(fixed, pair)
	}
	l.Query = strings.Join(fixed, "&")
	if strings.ContainsAny(path, "{}*") {
		return nil, fmt.Errorf("path %q must be one fixed path", path)
	}
	var err error
	l.Entry, err = q.Compile()
	return l, err
}

func (h *Handler) compileSite(g *gate.Gate, app *App) error {
	s := &g.Site
	s.Idle, s.Lifetime = time.Hour, 12*time.Hour
	if h.Session != nil {
		if h.Session.Idle != 0 {
			s.Idle = time.Duration(h.Session.Idle)
		}
		if h.Session.Lifetime != 0 {
			s.Lifetime = time.Duration(h.Session.Lifetime)
		}
	}
	if s.Idle < 2*time.Minute || s.Lifetime < s.Idle || s.Lifetime > 30*24*time.Hour {
		return fmt.Errorf("session: idle %s and lifetime %s: idle is at least 2m, lifetime at least idle and at most 720h", s.Idle, s.Lifetime)
	}
	if s.TrustedDevice = time.Duration(h.TrustedDevice); s.TrustedDevice < 0 || s.TrustedDevice > maxTrust {
		return fmt.Errorf("trusted_device %s: at most %s is possible: whoever has the browser needs the password only", s.TrustedDevice, maxTrust)
	}
	suffix := ""
	if g.Prefix != defaultPrefix {
		// A second gate on the host: its own path tells the handles apart.
		suffix = cookieName(h.App, g.Prefix)
	}
	s.Cookie = session.NewCookie(suffix)
	s.Cookies = &jar.Policy{Script: map[string]bool{}, Own: "mfa"}
	for _, name := range h.SessionCookies {
		re, err := regexp.Compile(name)
		if err != nil {
			return fmt.Errorf("session_cookies: %w", err)
		}
		s.Cookies.Session = append(s.Cookies.Session, re)
	}
	g.Session = s.Cookies.Session
	for _, name := range h.ScriptCookies {
		if slices.ContainsFunc(g.Session, func(re *regexp.Regexp) bool { return re.MatchString(name) }) {
			return fmt.Errorf("script_cookies: %s is a session cookie as well: scripts could take it", name)
		}
		s.Cookies.Script[name] = true
	}
	if len(h.Tokens.Query) > 0 && !h.Tokens.On() {
		return errors.New("token_query without token: no token would ever be released, so none could be used")
	}
	if err := h.Tokens.Check(); err != nil {
		return err
	}
	s.Bearer = h.Tokens
	g.NoStore = h.BrowserCache != nil && !*h.BrowserCache
	g.Bridge = slices.ContainsFunc(h.Logins, login.Config.ReadsJSON)
	if h.Bridge != nil {
		g.Bridge = *h.Bridge
	}
	switch g.ChallengeStatus = h.ChallengeStatus; h.ChallengeStatus {
	case 0:
		g.ChallengeStatus = http.StatusForbidden
	case http.StatusForbidden, http.StatusOK:
	default:
		return fmt.Errorf("challenge_status %d: use 403 or 200", h.ChallengeStatus)
	}
	s.Credentials = h.CredentialHeaders
	s.AllowRedirect = h.AllowRedirect
	if s.Home = append([]string{"/"}, h.Home...); g.LoginPage != nil {
		s.Home = append(s.Home, g.LoginPage.Path[:strings.LastIndexByte(g.LoginPage.Path, '/')+1])
	}
	for _, p := range h.Home {
		if !intake.Local(p) || strings.ContainsAny(p, "?#{}*") {
			return fmt.Errorf("home %s: write the path of a page, such as /start", p)
		}
	}
	s.MaxReply = h.MaxReply
	if s.MaxReply == 0 {
		s.MaxReply = defaultMaxReply
	}
	if s.MaxReply < 1024 || s.MaxReply > maxMaxReply {
		return fmt.Errorf("max_reply %d: 1KiB to 512KiB are possible", s.MaxReply)
	}
	switch h.Secure {
	case "", "auto":
	case "always":
		g.SecureAlways = true
	default:
		return fmt.Errorf("secure %q: use auto or always", h.Secure)
	}
	g.Origins = new(gate.Origins)
	for _, o := range h.AllowOrigin {
		if err := g.Origins.Add(o); err != nil {
			return fmt.Errorf("allow_origin %s: %w", o, err)
		}
	}
	return h.compilePolicy(g, app)
}

// maxTrust bounds how long a browser may need no code.
const maxTrust = 30 * 24 * time.Hour

// compilePolicy refuses ways to enrol by which a stranger with a password could
// become somebody whose spelling was never seen.
func (h *Handler) compilePolicy(g *gate.Gate, app *App) error {
	s := &g.Site
	named := h.FirstFactor != "" || !slices.ContainsFunc(g.Rules, func(r *login.Rule) bool { return !r.Names() })
	const how = "the application must say who was logged in: give every login an identity (a page that names the user), or user answer_cookie, answer_header, answer_json or constant"
	switch s.Policy = flow.Policy(h.Policy); s.Policy {
	case "":
		s.Policy = flow.Required
	case flow.Required:
	case flow.Optional:
		if !named {
			return errors.New("policy optional: " + how + "; a name spelt in a new way would get in without a code otherwise")
		}
	case flow.Off:
		h.log.Warn("policy off: no second factor is asked for; the gate only keeps the application's cookies", zap.String("app", h.App))
		if !named {
			return errors.New("policy off: " + how)
		}
	default:
		return fmt.Errorf("policy %q: use required, optional or off", h.Policy)
	}
	switch s.Enroll = flow.Enroll(h.Enroll); s.Enroll {
	case "":
		switch {
		case app.flow.Directory != nil:
			s.Enroll = flow.FromDirectory
		case named:
			s.Enroll = flow.Self
		default:
			return errors.New("nobody could enrol: add a directory to the global option mfa, or let users give their number themselves, for which " + how)
		}
	case flow.Self:
		if !named {
			return errors.New("enroll self: " + how + "; otherwise a new spelling of a name would enrol a stranger's phone")
		}
	case flow.FromDirectory:
		if app.flow.Directory == nil {
			return errors.New("enroll directory: there is no directory in the global option mfa, so nobody has a number")
		}
	case flow.Invite:
		if s.Policy == flow.Optional {
			return errors.New("enroll invite: with policy optional nobody would be asked for his invitation; use policy required")
		}
	default:
		return fmt.Errorf("enroll %q: use self, directory or invite", h.Enroll)
	}
	return nil
}
