package caddymfa

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"

	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

func init() {
	httpcaddyfile.RegisterDirective("mfa", parseDirective)
	// Inside encode, so that our pages are compressed for the client; outside
	// templates, or a value that we echo would run as a template; outside
	// everything that reaches the application.
	httpcaddyfile.RegisterDirectiveOrder("mfa", httpcaddyfile.After, "encode")
}

// parseDirective parses the directive and its matcher. Only what the network
// layer knows may decide whether the gate is there: with any other matcher the
// client would choose (attack J12).
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	matchers, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next() // so that errors have their file and line
	if h.NextArg() && h.Val() == "off" {
		if matchers != nil {
			return nil, h.Err("mfa off takes no matcher: it says that the whole site, or the handle that it stands in, is meant to be open")
		}
		if h.NextArg() || h.NextBlock(0) {
			return nil, h.Err("mfa off stands alone: settings behind it would have been without effect")
		}
		return h.NewRoute(nil, &Handler{Off: true}), nil
	}
	for name := range matchers {
		if name != "host" && name != "remote_ip" && name != "client_ip" {
			return nil, h.Errf("mfa cannot stand behind the matcher %q: a client could choose a request that it does not match and reach the application without a code; "+
				"put mfa before the whole site and name what is open with the word public", name)
		}
	}
	m := new(Handler)
	h.Reset()
	if err := m.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(matchers, m), nil
}

// parser reads one block into a handler. A preset is read by the same parser,
// with its base path before every path.
type parser struct {
	h    *Handler
	base string
	seen map[string]bool
	// at collects where logins and entries stand, for lint; nil where nobody asks.
	// preset is what stands there for the lines of a preset.
	at     map[string]string
	preset string
}

// place is where the dispenser is: file and line, or the line of the preset.
func (p *parser) place(d *caddyfile.Dispenser) string {
	if p.preset != "" {
		return p.preset
	}
	return d.File() + ":" + strconv.Itoa(d.Line())
}

// note keeps the place of a login or an entry.
func (p *parser) note(what, place string) {
	if p.at != nil {
		p.at[what] = place
	}
}

// words are the subdirectives. Those that may be repeated add; of the others a
// second one would silently replace the first, and is refused.
var words = map[string]struct {
	parse  func(*parser, *caddyfile.Dispenser) error
	repeat bool
}{}

func init() {
	type f = func(*parser, *caddyfile.Dispenser) error
	single := map[string]f{
		"app":              (*parser).app,
		"preset":           func(_ *parser, d *caddyfile.Dispenser) error { d.NextSegment(); return nil }, // it was read first
		"login_page":       (*parser).loginPage,
		"public_assets":    (*parser).publicAssets,
		"session_cookies":  func(p *parser, d *caddyfile.Dispenser) error { return set(d, &p.h.SessionCookies) },
		"script_cookies":   func(p *parser, d *caddyfile.Dispenser) error { return set(d, &p.h.ScriptCookies) },
		"first_factor":     func(p *parser, d *caddyfile.Dispenser) error { return one(d, &p.h.FirstFactor) },
		"token_query":      func(p *parser, d *caddyfile.Dispenser) error { return set(d, &p.h.Tokens.Query) },
		"bridge":           (*parser).bridge,
		"browser_cache":    (*parser).browserCache,
		"challenge_status": (*parser).challengeStatus,
		"policy":           func(p *parser, d *caddyfile.Dispenser) error { return one(d, &p.h.Policy) },
		"enroll":           (*parser).enroll,
		"session":          (*parser).session,
		"trusted_device":   (*parser).trustedDevice,
		"home":             func(p *parser, d *caddyfile.Dispenser) error { return set(d, &p.h.Home) },
		"allow_redirect":   func(p *parser, d *caddyfile.Dispenser) error { return set(d, &p.h.AllowRedirect) },
		"allow_origin":     func(p *parser, d *caddyfile.Dispenser) error { return set(d, &p.h.AllowOrigin) },
		"secure":           func(p *parser, d *caddyfile.Dispenser) error { return one(d, &p.h.Secure) },
		"mode":             func(p *parser, d *caddyfile.Dispenser) error { return one(d, &p.h.Mode) },
		"path":             func(p *parser, d *caddyfile.Dispenser) error { return one(d, &p.h.Path) },
		"max_reply":        (*parser).maxReply,
	}
	repeated := map[string]f{
		"login":      (*parser).login,
		"login_flow": func(p *parser, d *caddyfile.Dispenser) error { return p.entry(d, &p.h.LoginFlow, false, false) },
		"public":     func(p *parser, d *caddyfile.Dispenser) error { return p.entry(d, &p.h.Public, true, false) },
		"deny":       func(p *parser, d *caddyfile.Dispenser) error { return p.entry(d, &p.h.Deny, true, true) },
		"trap":       func(p *parser, d *caddyfile.Dispenser) error { return p.lines(d, &p.h.Traps) },
		"credential": (*parser).credential,
		"logout":     (*parser).logout,
		"token":      (*parser).token,
	}
	for name, parse := range single {
		words[name] = struct {
			parse  func(*parser, *caddyfile.Dispenser) error
			repeat bool
		}{parse, false}
	}
	for name, parse := range repeated {
		words[name] = struct {
			parse  func(*parser, *caddyfile.Dispenser) error
			repeat bool
		}{parse, true}
	}
}

// UnmarshalCaddyfile sets up the handler from tokens. Syntax:
//
//	mfa off
//	mfa [<matcher>] {
//		app             <name> [shared]
//		preset          <name> [<base path>]
//		login [<name>] {
//			method   <method>...
//			path     <path>... | any_path
//			fields   <name>...
//			json     <path> [<value>]
//			basic    <probe path with {user}> [<status>...]
//			user     form|query|json|answer_cookie|answer_header|answer_json <name> [<regexp>] | constant <name> | basic
//			password form|json <name>
//			identity <path with {user}> <regexp> | <path with {user}> json <path>
//			success  <condition>...
//			failure  <condition>...
//			hold     follow <path>|<duration>
//		}
//		first_factor    <placeholder>
//		login_page      <path>[?<query with {next}>]
//		home            <path>...
//		login_flow      [<method>...] <path>... [query <name>[=<value>]...]
//		public          [<method>...] <path>... [query <name>[=<value>]...] [json <path> <value>]
//		public_assets   on|off|<path>...
//		deny            [<method>...] <path>... [query …] [json …] [header <name>]
//		credential      header|query <name>...
//		trap            <condition>...
//		token           json <path> [<scheme>] | header <name> [<scheme>]
//		token_query     <name>...
//		bridge          on|off
//		browser_cache   on|off
//		challenge_status 403|200
//		logout          [<method>...] <path> [query …] [json …] [<condition>...]
//		session_cookies <regexp>...
//		script_cookies  <name>...
//		policy          required|optional|off
//		enroll          self|directory|invite
//		trusted_device  off|<duration>
//		session {
//			idle     <duration>
//			lifetime <duration>
//		}
//		allow_redirect  <host>...
//		allow_origin    <origin>...
//		secure          auto|always
//		path            <prefix>
//		mode            enforce|observe
//		max_reply       <size>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return h.parse(d, nil) }

// parse is UnmarshalCaddyfile. Where at is no nil, it is told where things stand.
func (h *Handler) parse(d *caddyfile.Dispenser, at map[string]string) error {
	d.Next()
	tokens := d.NextSegment()
	p := &parser{h: h, seen: map[string]bool{}, at: at}
	// A preset's lines come first, wherever the preset stands: the operator's
	// lines add to them, or replace them.
	first := caddyfile.NewDispenser(tokens)
	first.Next()
	if first.NextArg() {
		return first.Errf("unexpected argument %q: settings stand in the block", first.Val())
	}
	for nest := first.Nesting(); first.NextBlock(nest); {
		if line := first.NewFromNextSegment(); line.Next() && line.Val() == "preset" {
			if err := p.parsePreset(line); err != nil {
				return err
			}
		}
	}
	d = caddyfile.NewDispenser(tokens)
	d.Next()
	return p.block(d)
}

func (p *parser) block(d *caddyfile.Dispenser) error {
	for nest := d.Nesting(); d.NextBlock(nest); {
		name := d.Val()
		w, ok := words[name]
		switch {
		case ok && !w.repeat && p.seen[name]:
			return d.Errf("%s is there twice: the first would be lost", name)
		case !ok:
			return d.Errf("%q is no setting of mfa: it would have been without effect; the settings are %s", name, strings.Join(slices.Sorted(maps.Keys(words)), ", "))
		}
		p.seen[name] = true
		if err := w.parse(p, d); err != nil {
			return err
		}
	}
	return nil
}

func one(d *caddyfile.Dispenser, to *string) error {
	if !d.AllArgs(to) {
		return d.ArgErr()
	}
	return nil
}

func many(d *caddyfile.Dispenser, to *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*to = append(*to, args...)
	return nil
}

// set is many for a word that stands once: it replaces a preset's values.
func set(d *caddyfile.Dispenser, to *[]string) error {
	*to = nil
	return many(d, to)
}

func (p *parser) app(d *caddyfile.Dispenser) error {
	if !d.Args(&p.h.App) {
		return d.ArgErr()
	}
	if d.NextArg() {
		if d.Val() != "shared" {
			return d.Errf("app: %q: behind the name may stand shared, which lets the users of all hosts of a wildcard site be the same people", d.Val())
		}
		p.h.SharedUsers = true
	}
	return none(d)
}

func (p *parser) loginPage(d *caddyfile.Dispenser) error {
	if err := one(d, &p.h.LoginPage); err != nil {
		return err
	}
	p.h.LoginPage = p.base + p.h.LoginPage
	return nil
}

func (p *parser) publicAssets(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	on := args[0] != "off"
	p.h.PublicAssets, p.h.PublicAssetPaths = &on, nil
	if len(args) == 1 && (args[0] == "on" || args[0] == "off") {
		return nil
	}
	for _, path := range args {
		if !strings.HasPrefix(path, "/") {
			return d.Errf("public_assets %s: write on, off, or the paths below which they lie", path)
		}
		p.h.PublicAssetPaths = append(p.h.PublicAssetPaths, p.under(path))
	}
	return nil
}

func (p *parser) enroll(d *caddyfile.Dispenser) error {
	return one(d, &p.h.Enroll)
}

func (p *parser) maxReply(d *caddyfile.Dispenser) error {
	if err := size(d, &p.h.MaxReply); err != nil {
		return err
	}
	if p.h.MaxReply > maxMaxReply {
		return d.Errf("max_reply %s: write a size up to 512KiB", d.Val())
	}
	return nil
}

// size reads a size in bytes, such as 64KiB.
func size(d *caddyfile.Dispenser, to *int64) error {
	word := d.Val()
	var v string
	if !d.AllArgs(&v) {
		return d.ArgErr()
	}
	n, err := humanize.ParseBytes(v)
	if err != nil || n == 0 || n > 1<<50 {
		return d.Errf("%s %s: write a size such as 64KiB or 1GiB", word, v)
	}
	*to = int64(n) //nolint:gosec // bounded above
	return nil
}

func (p *parser) session(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	p.h.Session = &SessionConfig{}
	for nest := d.Nesting(); d.NextBlock(nest); {
		to, ok := map[string]*caddy.Duration{"idle": &p.h.Session.Idle, "lifetime": &p.h.Session.Lifetime}[d.Val()]
		if !ok {
			return d.Errf("%q is no setting of session: use idle or lifetime", d.Val())
		}
		if err := duration(d, to); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) trustedDevice(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() == 1 && d.NextArg() && d.Val() == "off" {
		p.h.TrustedDevice = 0
		return nil
	}
	d.Prev()
	return duration(d, &p.h.TrustedDevice)
}

func duration(d *caddyfile.Dispenser, to *caddy.Duration) error {
	var v string
	if !d.AllArgs(&v) {
		return d.ArgErr()
	}
	t, err := caddy.ParseDuration(v)
	if err != nil || t <= 0 {
		return d.Errf("%q is no duration: write 30s, 5m or 12h", v)
	}
	*to = caddy.Duration(t)
	return nil
}

func (p *parser) credential(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	switch d.Val() {
	case "header":
		return many(d, &p.h.CredentialHeaders)
	case "query":
		return many(d, &p.h.CredentialQuery)
	}
	return d.Errf("credential %s: write header or query, and names", d.Val())
}

func (p *parser) token(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 && len(args) != 3 {
		return d.Err("token: write json and a dotted path, or header and a name; behind it the word that the application wants before its token, where that is not Bearer")
	}
	t := &p.h.Tokens
	switch args[0] {
	case "json":
		t.JSON = append(t.JSON, args[1])
	case "header":
		t.Headers = append(t.Headers, args[1])
	default:
		return d.Errf("token %s: write json and a dotted path, or header and a name", args[0])
	}
	if len(args) == 3 {
		if t.Scheme != "" && t.Scheme != args[2] {
			return d.Errf("token: %s and %s: an application wants one word before its tokens", t.Scheme, args[2])
		}
		t.Scheme = args[2]
	}
	return nil
}

func (p *parser) bridge(d *caddyfile.Dispenser) error       { return onOff(d, &p.h.Bridge) }
func (p *parser) browserCache(d *caddyfile.Dispenser) error { return onOff(d, &p.h.BrowserCache) }

// onOff reads a setting that is on or off.
func onOff(d *caddyfile.Dispenser, to **bool) error {
	name := d.Val()
	var v string
	if !d.AllArgs(&v) || v != "on" && v != "off" {
		return d.Errf("%s: write on or off", name)
	}
	on := v == "on"
	*to = &on
	return nil
}

func (p *parser) challengeStatus(d *caddyfile.Dispenser) error {
	return number(d, &p.h.ChallengeStatus)
}

func isMethod(s string) bool {
	return s == "*" || s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c < 'A' || c > 'Z' })
}

// request reads the part of an entry that is about the request. It stops at the
// first unquoted word of stop.
func (p *parser) request(d *caddyfile.Dispenser, tokens []caddyfile.Token, stop func(string) bool) (q match.Request, rest []caddyfile.Token, err error) {
	mode := "path"
	for len(tokens) > 0 {
		t := tokens[0]
		if !t.Quoted() && stop != nil && stop(t.Text) {
			break
		}
		tokens = tokens[1:]
		word := t.Text
		switch {
		case !t.Quoted() && (word == "query" || word == "json" || word == "header"):
			mode = word
			if word == "json" {
				if len(tokens) < 1 {
					return q, nil, d.Err("json: name a path and a value")
				}
				q.JSON = &match.Pair{Name: tokens[0].Text}
				tokens = tokens[1:]
				if len(tokens) > 0 && (stop == nil || tokens[0].Quoted() || !stop(tokens[0].Text)) {
					q.JSON.Value, tokens = tokens[0].Text, tokens[1:]
				}
			}
		case mode == "query":
			name, value, has := strings.Cut(word, "=")
			param := match.Param{Name: name}
			if has {
				param.Value = &value
			}
			q.Query = append(q.Query, param)
		case mode == "header":
			q.Headers = append(q.Headers, word)
		case mode == "path" && len(q.Paths) == 0 && isMethod(word):
			q.Methods = append(q.Methods, word)
		case mode == "path" && (strings.HasPrefix(word, "/") || strings.HasPrefix(word, "*")):
			q.Paths = append(q.Paths, p.under(word))
		default:
			return q, nil, d.Errf("%q is neither a method in capitals nor a path", word)
		}
	}
	if len(q.Paths) == 0 {
		return q, nil, d.Err("name a path")
	}
	return q, tokens, nil
}

// under puts the base path of a preset before a path.
func (p *parser) under(path string) string {
	if strings.HasPrefix(path, "/") {
		return p.base + path
	}
	return path
}

func (p *parser) entry(d *caddyfile.Dispenser, to *[]match.Request, withJSON, withHeader bool) error {
	word, place := d.Val(), p.place(d)
	q, _, err := p.request(d, d.RemainingArgsAsTokens(), nil)
	switch {
	case err != nil:
		return err
	case q.JSON != nil && !withJSON:
		return d.Err("json is not possible here")
	case len(q.Headers) > 0 && !withHeader:
		return d.Err("header is not possible here")
	}
	if _, err := q.Compile(); err != nil {
		return d.WrapErr(err)
	}
	*to = append(*to, q)
	p.note(word+" "+q.String(), place)
	return nil
}

func (p *parser) logout(d *caddyfile.Dispenser) error {
	// A json here is the request's: an answer's body comes too late for a logout.
	answer := func(s string) bool { return s != "json" && isCondition(s) }
	q, rest, err := p.request(d, d.RemainingArgsAsTokens(), answer)
	if err != nil {
		return err
	}
	l := LogoutConfig{Request: q}
	if len(rest) > 0 {
		line, err := p.conditions(d, rest)
		if err != nil {
			return err
		}
		l.Answer = [][]match.Condition{line}
	}
	p.h.Logouts = append(p.h.Logouts, l)
	return nil
}

func none(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*Handler)(nil)
