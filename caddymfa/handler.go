package caddymfa

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddymfa/caddymfa/caddymfa/internal/gate"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/portal"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler is the gate in front of one application: default deny, the
// application's cookies on this side, its own login recognised and an SMS code
// behind it.
type Handler struct {
	// Off says that what stands behind is meant to be open. There is no gate then,
	// and lint does not ask for one.
	Off bool `json:"off,omitempty"`
	// App names the application on pages and in texts, and is what sessions and
	// enrolments are bound to. Default: the site's first host; a site for hosts
	// that it does not name needs it.
	App string `json:"app,omitempty"`
	// SharedUsers: on a site for hosts that it does not name, such as *.example.com,
	// a user of one host is the same person as one of that name at another, with the
	// same number. Default: each host has its own.
	SharedUsers bool `json:"shared_users,omitempty"`
	// Logins are the rules by which logins are recognised. At least one.
	Logins []login.Config `json:"logins,omitempty"`
	// LoginPage is where an anonymous navigation goes: a path, and a query in
	// which {next} stands for the page that was asked for. Default: /.
	LoginPage string `json:"login_page,omitempty"`
	// Home are paths that the application leads to after a login when nobody asked for
	// another page: then the page that was refused before is taken, where the login
	// page has no {next}. Besides / and the directory of the login page.
	Home []string `json:"home,omitempty"`
	// LoginFlow is reachable before a login, with the cookies of before it.
	LoginFlow []match.Request `json:"login_flow,omitempty"`
	// Public is reachable before a login, without any cookie or credential.
	Public []match.Request `json:"public,omitempty"`
	// PublicAssets lets style sheets, scripts, images and fonts through before
	// a login, without any cookie. Default: true.
	PublicAssets *bool `json:"public_assets,omitempty"`
	// PublicAssetPaths are where they lie. Default: anywhere.
	PublicAssetPaths []string `json:"public_asset_paths,omitempty"`
	// Deny is shut for everybody.
	Deny []match.Request `json:"deny,omitempty"`
	// CredentialHeaders and CredentialQuery stand for a login and are removed
	// from every request.
	CredentialHeaders []string `json:"credential_headers,omitempty"`
	CredentialQuery   []string `json:"credential_query,omitempty"`
	// FirstFactor is a placeholder that names the user whom Caddy itself has
	// identified (basic_auth, forward_auth, mTLS), instead of Logins.
	FirstFactor string `json:"first_factor,omitempty"`
	// Tokens says where the application gives out bearer tokens and where it takes
	// them. Only those that were released here pass.
	Tokens match.Bearer `json:"tokens,omitzero"`
	// Bridge adds a script to the application's pages that shows the code step for
	// logins made by fetch or XMLHttpRequest. Default: true when a login reads JSON.
	Bridge *bool `json:"bridge,omitempty"`
	// BrowserCache lets browsers keep pages of a verified session as the application
	// says, also for their Back button. Default: true.
	BrowserCache *bool `json:"browser_cache,omitempty"`
	// ChallengeStatus is the HTTP status of a challenge for a program: 403 or 200.
	// Default: 403.
	ChallengeStatus int `json:"challenge_status,omitempty"`
	// Mode is enforce or observe. To observe is to touch nothing: requests and
	// answers pass as they are, and the log says what the gate would have done.
	// Default: enforce.
	Mode string `json:"mode,omitempty"`
	// Traps are lines of conditions that show a login by an unknown door.
	Traps [][]match.Condition `json:"traps,omitempty"`
	// Logouts end the session.
	Logouts []LogoutConfig `json:"logouts,omitempty"`
	// SessionCookies are names (regular expressions) of the application's
	// session cookies: never copied to the browser, never taken from it.
	SessionCookies []string `json:"session_cookies,omitempty"`
	// ScriptCookies are the browser's own: they pass both ways.
	ScriptCookies []string `json:"script_cookies,omitempty"`
	// Policy is required, optional or off. Default: required.
	Policy string `json:"policy,omitempty"`
	// Enroll is self, directory or invite. Default: directory when one is configured,
	// else self when every login has an identity.
	Enroll string `json:"enroll,omitempty"`
	// TrustedDevice is how long a browser may need no code, where its user wants
	// that; at most 720h. Default: never.
	TrustedDevice caddy.Duration `json:"trusted_device,omitempty"`
	// Session is how long a verified session lives.
	Session *SessionConfig `json:"session,omitempty"`
	// AllowRedirect are foreign hosts that a withheld redirect may name.
	AllowRedirect []string `json:"allow_redirect,omitempty"`
	// AllowOrigin are foreign origins that may post a login, and whose scripts may read
	// what the gate answers.
	AllowOrigin []string `json:"allow_origin,omitempty"`
	// Secure is auto or always: whether the browser sees TLS. Default: auto.
	Secure string `json:"secure,omitempty"`
	// Path is the prefix of our own routes. Default: /mfa.
	Path string `json:"path,omitempty"`
	// MaxReply bounds a withheld answer in bytes. Default: 256 KiB.
	MaxReply int64 `json:"max_reply,omitempty"`

	gate *gate.Gate
	log  *zap.Logger
	app  *App
}

// LogoutConfig is a request that ends the session, when its answer fulfils one
// of the lines, or any below 400.
type LogoutConfig struct {
	match.Request
	Answer [][]match.Condition `json:"answer,omitempty"`
}

// SessionConfig is how long a verified session lives.
type SessionConfig struct {
	// Idle ends it when it is not used. Default 60m (NIST SP 800-63B-4 2.2.3: at most 1 h).
	Idle caddy.Duration `json:"idle,omitempty"`
	// Lifetime ends it in any case. Default 12h (NIST SP 800-63B-4 2.2.3: at most 24 h).
	Lifetime caddy.Duration `json:"lifetime,omitempty"`
}

// CaddyModule returns the module's information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.mfa", New: func() caddy.Module { return new(Handler) }}
}

const (
	modeEnforce     = "enforce"
	modeObserve     = "observe"
	defaultPrefix   = "/mfa"
	defaultMaxReply = 256 << 10
	maxMaxReply     = 512 << 10 // sealed and in JSON it must fit into a record
)

// Provision compiles the configuration. What it refuses would leave a way
// around the code, or lock everybody out.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	if h.Off {
		return nil
	}
	mod, err := ctx.AppIfConfigured("mfa")
	if err != nil && !errors.Is(err, caddy.ErrNotConfigured) {
		return fmt.Errorf("global option mfa: %w", err)
	} else if err != nil {
		return fmt.Errorf("the directive mfa needs the global option mfa, with an sms block in it: without it no code could be sent: %w", err)
	}
	app := mod.(*App) //nolint:forcetypeassert // the app of that name
	g := &gate.Gate{
		Flow: app.flow, Pages: app.pages, Prefix: h.Path, PublicAssets: h.PublicAssets == nil || *h.PublicAssets,
		CredentialQuery: h.CredentialQuery, Prepare: prepare, Spool: app.spool, SharedUsers: h.SharedUsers,
	}
	if g.Prefix == "" {
		g.Prefix = defaultPrefix
	}
	if h.Mode != "" && h.Mode != modeEnforce && h.Mode != modeObserve {
		return fmt.Errorf("mode %q: use enforce or observe", h.Mode)
	}
	if h.Mode == modeObserve {
		h.log.Warn("mode observe: nothing is asked for and nothing is refused; the log says what would have been", zap.String("app", h.App))
	}
	if err := checkPrefix(g.Prefix); err != nil {
		return err
	}
	if err := h.compileRules(g); err != nil {
		return err
	}
	if err := h.compileEntries(g); err != nil {
		return err
	}
	if h.LoginPage == "" && slices.ContainsFunc(h.Logins, func(c login.Config) bool { return c.AnyPath }) {
		return errors.New("login_page is missing: with any_path nobody can guess where people sign in")
	}
	if h.LoginPage != "" || slices.ContainsFunc(h.Logins, func(c login.Config) bool { return c.Basic == "" }) {
		if g.LoginPage, err = compileLoginPage(h.LoginPage); err != nil {
			return fmt.Errorf("login_page: %w", err)
		}
	}
	if err := h.compileSite(g, app); err != nil {
		return err
	}
	p := &portal.Portal{Flow: app.flow, Pages: app.pages, Prefix: g.Prefix, Login: g.LoginURL(), Regions: app.phones.Countries}
	g.Portal = p.Serve
	if err := h.provisionAPI(g, app); err != nil {
		return err
	}
	h.gate, h.app = g, app
	return app.planned(ctx)
}

// prepare gives one of the gate's own requests what the server gives to every
// request: a replacer, variables, the client's address.
func prepare(parent, own *http.Request, w http.ResponseWriter) *http.Request {
	s, _ := parent.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	repl := caddy.NewReplacer()
	repl.Map((&route{}).placeholder) // it is nobody's yet
	return caddyhttp.PrepareRequest(own, repl, w, s)
}

// ServeHTTP runs the gate.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.Off {
		return next.ServeHTTP(w, r)
	}
	if h.Mode == modeObserve {
		return h.observe(w, r, next)
	}
	ctx := r.Context()
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if err := h.app.place(); err != nil {
		// Only before Start has refused this configuration.
		w.WriteHeader(http.StatusServiceUnavailable)
		return nil //nolint:nilerr // written, because a returned error runs routes outside the gate
	}
	route := &route{ctx: ctx}
	repl := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer) //nolint:forcetypeassert // the server sets it
	in := h.input(r, repl)                                    // before the placeholder of Caddy's own identification is taken away
	in.Server = route
	repl.Delete("http.auth.user.id")
	repl.Map(route.placeholder)
	reason, err := h.gate.Serve(w, r, in, next)
	if server != nil && server.Logs != nil {
		if extra, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
			extra.Set(zap.String("mfa", string(reason)))
		}
	}
	return err
}

// input is what only the server knows of a request.
func (h *Handler) input(r *http.Request, repl *caddy.Replacer) gate.Input {
	in := gate.Input{Method: r.Method, URL: r.URL, Secure: secure(r)}
	if orig, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		in.Method, in.URL = orig.Method, orig.URL
	}
	if h.FirstFactor != "" {
		in.FirstFactor = identified(repl.ReplaceAll(h.FirstFactor, ""))
	}
	return in
}

// observe passes the request on. Not even a placeholder is changed.
func (h *Handler) observe(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if err := h.app.place(); err != nil {
		return next.ServeHTTP(w, r) //nolint:nilerr // nothing can be said of a gate that stands nowhere
	}
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer) //nolint:forcetypeassert // the server sets it
	return h.gate.Observe(w, r, h.input(r, repl), next)
}

// identified is the name of a user whom Caddy has identified, "" for what can be
// no name.
func identified(name string) string {
	if len(name) > 256 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return ""
	}
	return name
}

// route is what the gate tells the rest of the Caddyfile about one request.
type route struct {
	ctx   context.Context //nolint:containedctx // of one request, for as long as it lives
	level session.Level
	user  string
	at    time.Time
}

// Announce implements [gate.Server].
func (t *route) Announce(level session.Level, user string, at time.Time) {
	t.level, t.user, t.at = level, user, at
}

// ClientIP implements [gate.Server].
func (t *route) ClientIP() string {
	ip, _ := caddyhttp.GetVar(t.ctx, caddyhttp.ClientIPVarKey).(string)
	return ip
}

// NoLog implements [gate.Server].
func (t *route) NoLog() { caddyhttp.SetVar(t.ctx, caddyhttp.LogSkipVar, true) }

// placeholder gives what was announced. A name of ours is always known, so that
// a header made of it is empty and not the placeholder's own text.
func (t *route) placeholder(key string) (any, bool) {
	switch key {
	case "http.auth.user.id":
		if t.level == session.Verified {
			return t.user, true
		}
	case "http.auth.candidate.id":
		if t.level == session.Pending {
			return t.user, true
		}
	case "http.mfa.level":
		return string(t.level), true
	case "http.mfa.verified_at":
		if t.level == session.Verified {
			return t.at.UTC().Format(time.RFC3339), true
		}
	default:
		return nil, false
	}
	return "", true
}

// secure reports whether the browser sees TLS: here, or at a proxy that is trusted.
func secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	if !strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		return false
	}
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
