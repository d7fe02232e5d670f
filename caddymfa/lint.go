package caddymfa

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/spf13/cobra"

	"github.com/caddymfa/caddymfa/caddymfa/internal/flow"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

func lintCommand() *cobra.Command {
	var config, adapter string
	c := &cobra.Command{
		Use:   "lint --config <file>",
		Short: "Finds ways round the gate, and what weakens it",
		Long:  "Loads a configuration as caddy validate does and looks for what operators get wrong: handlers that no gate covers, error routes and caches outside of it, proxies that are believed too much, secrets in the file, public paths that cover a login, and what is missing in a login rule. In a Caddyfile it names the line. A site that is meant to be open says so by mfa off. Ends with 0 only when nothing was found, so that a script may go on.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			servers, text, file, err := provisioned(config, adapter)
			if err != nil {
				return err
			}
			found := lint(servers, text, linesOf(file))
			for _, f := range found {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", f.where, f.what)
			}
			if len(found) > 0 {
				cmd.SilenceUsage = true
				return fmt.Errorf("%d findings", len(found))
			}
			fmt.Fprintln(cmd.OutOrStdout(), "nothing found")
			return nil
		},
	}
	c.Flags().StringVarP(&config, "config", "c", "", "configuration file")
	c.Flags().StringVarP(&adapter, "adapter", "a", "", "name of the adapter, where the file is no Caddyfile and no JSON")
	return c
}

// finding is one thing that an operator should look at.
type finding struct{ where, what string }

// linter walks the routes of one server.
type linter struct {
	server *caddyhttp.Server
	lines  lines
	found  []finding
	gates  []*Handler
	// anonymous are the gates before which nothing sets the header that names the
	// user, at one of their places at least.
	anonymous []*Handler
	cached    bool // a cache stands before what is walked
	depth     int
}

// lint looks at all servers. text is the configuration in JSON: what Caddy has
// loaded from it is not kept in the servers.
func lint(app *caddyhttp.App, text []byte, at lines) (found []finding) {
	if _, err := placeAll(app); err != nil {
		found = append(found, finding{"all sites", err.Error()})
	}
	var root configuration
	if err := json.Unmarshal(text, &root); err != nil {
		return append(found, finding{"configuration", err.Error()})
	}
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		s := app.Servers[name]
		l := &linter{server: s, lines: at}
		l.walk(s.Routes, "", coverage{})
		if s.Errors != nil {
			l.walk(s.Errors.Routes, "handle_errors, ", coverage{})
		}
		if len(l.gates) > 0 {
			l.proxies(root.Apps.HTTP.Servers[name].TrustedProxies)
		}
		for _, h := range l.gates {
			l.gate(h)
		}
		for _, f := range l.found {
			found = append(found, finding{strings.Trim(strings.Join(s.Listen, " ")+" "+f.where, " ,"), f.what})
		}
	}
	found = append(found, receipts(app, root.Apps.MFA)...)
	return append(found, literals(root.Apps.MFA)...)
}

// receipts looks whether reports of providers find a gate. The address is checked
// here and not when the configuration loads, because another server may stand
// before this one.
func receipts(app *caddyhttp.App, mfa any) (found []finding) {
	root, _ := mfa.(map[string]any)
	senders, _ := root["senders"].([]any)
	for i, s := range senders {
		sender, _ := s.(map[string]any)
		to, _ := sender["status_callback"].(string)
		u, err := url.Parse(caddy.NewReplacer().ReplaceKnown(to, ""))
		if to == "" || err != nil {
			continue
		}
		var write []string
		served := false
		for _, h := range gatesOf(app, u.Host) {
			served = served || h.Mode != modeObserve && u.Path == h.gate.Prefix+flow.ReceiptPath
			write = append(write, "https://"+u.Host+h.gate.Prefix+flow.ReceiptPath)
		}
		if len(write) == 0 {
			for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
				for h, at := range places(app.Servers[name]) {
					for _, host := range at.hosts {
						if fixed(host) && h.Mode != modeObserve {
							write = append(write, "https://"+host+h.gate.Prefix+flow.ReceiptPath)
						}
					}
				}
			}
			slices.Sort(write)
		}
		if !served {
			what := "status_callback " + u.Redacted() + " leads to no gate of this configuration, so no report would be read"
			if len(write) > 0 {
				what += "; write " + strings.Join(slices.Compact(write), " or ")
			}
			found = append(found, finding{fmt.Sprintf("sms block %d", i+1), what})
		}
	}
	return found
}

// configuration is what lint reads of a configuration's text.
type configuration struct {
	Apps struct {
		MFA  any `json:"mfa"`
		HTTP struct {
			Servers map[string]struct {
				TrustedProxies json.RawMessage `json:"trusted_proxies"`
			} `json:"servers"`
		} `json:"http"`
	} `json:"apps"`
}

// coverage is what stands before a handler.
type coverage struct {
	gate *Handler // enforcing, and for every client
	// part is why a gate stands there for some clients only, or only looks.
	part string
	// open: mfa off says that it is meant.
	open bool
	// copied are the request headers that a forward_auth has set, and taken from the
	// client.
	copied []string
}

func (l *linter) say(where, format string, args ...any) {
	f := finding{where, fmt.Sprintf(format, args...)}
	if !slices.Contains(l.found, f) {
		l.found = append(l.found, f)
	}
}

// walk goes through routes in the order in which they run. What it returns
// covers the routes that follow.
func (l *linter) walk(routes caddyhttp.RouteList, where string, c coverage) coverage {
	for _, r := range routes {
		at := where + describe(r.MatcherSets)
		within := c
		for _, h := range r.Handlers {
			within = l.handler(h, at, within, r.MatcherSets)
		}
		// A gate behind a matcher covers what follows for some requests only.
		switch {
		case len(r.MatcherSets) == 0:
			c = within
		case c.gate == nil && within.part != "":
			c.part = within.part
		case c.gate == nil && within.gate != nil && !only(r.MatcherSets, "host"):
			c.part = "the gate before it is for " + strings.TrimSuffix(describe(r.MatcherSets), ", ") + " only"
		}
	}
	return c
}

func (l *linter) handler(h caddyhttp.MiddlewareHandler, at string, c coverage, sets caddyhttp.MatcherSets) coverage {
	switch h := h.(type) {
	case *Handler:
		if h.Off {
			if c.gate != nil {
				l.say(at, "mfa off stands behind a gate and opens nothing; write public in the block of mfa, or put what is open into a handle of its own beside that of the gate")
			}
			c.open = true
			return c
		}
		if c.open {
			l.say(at, "mfa and mfa off stand in one site: say one of them")
		}
		if !slices.Contains(l.gates, h) {
			l.gates = append(l.gates, h)
		}
		if header := believed(h); header != "" && !slices.Contains(c.copied, header) {
			l.anonymous = append(l.anonymous, h)
		}
		if l.cached {
			l.say(at, "a cache stands outside of mfa: it may show a page of one user to another who has not signed in; put it inside, by route { mfa … cache … }")
		}
		switch {
		case h.Mode == modeObserve:
			return coverage{part: "its gate only observes (mode observe)"}
		case clientsOnly(sets):
			return coverage{part: "its gate is for some client addresses only"}
		}
		return coverage{gate: h}
	case *caddyhttp.Subroute:
		inner := l.walk(h.Routes, at, c)
		if h.Errors != nil {
			l.walk(h.Errors.Routes, at+"handle_errors, ", coverage{})
		}
		return inner
	case *caddyhttp.Invoke:
		if named, ok := l.server.NamedRoutes[h.Name]; ok && l.depth < 16 {
			l.depth++
			defer func() { l.depth-- }()
			return l.walk(caddyhttp.RouteList{*named}, at, c)
		}
	case *reverseproxy.Handler:
		if copies, ok := forwardAuth(h); ok {
			if len(sets) == 0 { // with a matcher it asks for some requests only
				c.copied = append(slices.Clone(c.copied), copies...)
			}
			return c
		}
		l.uncovered(at, "reverse_proxy to "+upstreams(h), c)
		if c.gate != nil {
			l.upstreams(at, h)
		}
	case *fileserver.FileServer:
		l.uncovered(at, "file_server", c)
	case *caddyhttp.StaticResponse:
		if h.Body != "" && !redirects(h) {
			l.uncovered(at, "respond", c)
		}
	default:
		if m, ok := h.(caddy.Module); ok && strings.HasPrefix(string(m.CaddyModule().ID), "http.handlers.cache") && c.gate == nil {
			l.cached = true
		}
	}
	return c
}

func (l *linter) uncovered(at, what string, c coverage) {
	switch {
	case c.gate != nil, c.open:
	case c.part != "":
		l.say(at, "%s can be reached without a second factor: %s", what, c.part)
	case strings.Contains(at, "handle_errors"):
		l.say(at, "%s runs outside of every gate when something fails: an error that a client can cause shows it; put mfa there as well, or answer errors with a fixed page", what)
	default:
		l.say(at, "%s stands before or beside mfa: no gate covers it", what)
	}
}

// forwardAuth reports whether a proxy is what forward_auth stands for: a question to
// another server, whose good answer lets the request go on, and whose other answers
// are the client's. The headers are those that it takes from a client and sets itself.
func forwardAuth(h *reverseproxy.Handler) (copied []string, ok bool) {
	if h.Rewrite == nil || h.Rewrite.Method != http.MethodGet || len(h.HandleResponse) == 0 {
		return nil, false
	}
	good := h.HandleResponse[0]
	if good.Match == nil || !slices.Equal(good.Match.StatusCode, []int{2}) {
		return nil, false
	}
	for _, r := range good.Routes {
		for _, one := range r.Handlers {
			switch one := one.(type) {
			case *headers.Handler:
				if one.Request != nil && len(r.MatcherSets) == 0 {
					copied = append(copied, one.Request.Delete...)
				}
			case *caddyhttp.VarsMiddleware, caddyhttp.VarsMiddleware:
			default:
				return nil, false // it answers by itself
			}
		}
	}
	return copied, true
}

// believed is the request header that names the user for a gate, "" for none.
func believed(h *Handler) string {
	name, ok := strings.CutPrefix(h.FirstFactor, "{http.request.header.")
	if !ok {
		return ""
	}
	return http.CanonicalHeaderKey(strings.TrimSuffix(name, "}"))
}

func redirects(r *caddyhttp.StaticResponse) bool {
	n, err := strconv.Atoi(string(r.StatusCode))
	return err == nil && (n >= 300 || n < 200)
}

// describe is how an operator finds a route again.
func describe(sets caddyhttp.MatcherSets) string {
	var alternatives []string
	for _, set := range sets {
		var words []string
		for _, m := range set {
			switch m := m.(type) {
			case *caddyhttp.MatchHost:
				words = append(words, strings.Join(*m, " "))
			case caddyhttp.MatchHost:
				words = append(words, strings.Join(m, " "))
			case *caddyhttp.MatchPath:
				words = append(words, strings.Join(*m, " "))
			case caddyhttp.MatchPath:
				words = append(words, strings.Join(m, " "))
			case caddy.Module:
				words = append(words, "matcher "+m.CaddyModule().ID.Name())
			}
		}
		alternatives = append(alternatives, strings.Join(words, " and "))
	}
	if len(alternatives) == 0 {
		return ""
	}
	return strings.Join(alternatives, " or ") + ", "
}

// clientsOnly reports whether a gate stands there for some client addresses.
func clientsOnly(sets caddyhttp.MatcherSets) bool {
	return slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool {
		return slices.ContainsFunc(set, func(m any) bool {
			mod, ok := m.(caddy.Module)
			return ok && (mod.CaddyModule().ID.Name() == "remote_ip" || mod.CaddyModule().ID.Name() == "client_ip")
		})
	})
}

func only(sets caddyhttp.MatcherSets, name string) bool {
	for _, set := range sets {
		for _, m := range set {
			if mod, ok := m.(caddy.Module); !ok || mod.CaddyModule().ID.Name() != name {
				return false
			}
		}
	}
	return true
}

func upstreams(h *reverseproxy.Handler) string {
	var dials []string
	for _, u := range h.Upstreams {
		dials = append(dials, u.Dial)
	}
	if len(dials) == 0 {
		return "dynamic upstreams"
	}
	return strings.Join(dials, " ")
}

// upstreams warns of an application on a public address: whoever reaches it
// there does not pass the gate.
func (l *linter) upstreams(at string, h *reverseproxy.Handler) {
	for _, u := range h.Upstreams {
		addr, err := caddy.ParseNetworkAddress(u.Dial)
		if err != nil || addr.IsUnixNetwork() {
			continue
		}
		ip, err := netip.ParseAddr(addr.Host)
		if err != nil {
			continue // a name says nothing about who else can reach it
		}
		if !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast() && !ip.IsUnspecified() {
			l.say(at, "the application listens on the public address %s: whoever reaches it there does not pass the gate; bind it to a private one, or let a firewall admit this server only", u.Dial)
		}
	}
}

// proxies looks at whom the server believes about a client's address.
func (l *linter) proxies(text json.RawMessage) {
	raw := string(text)
	if raw == "" {
		return
	}
	for _, wide := range []string{`"0.0.0.0/0"`, `"::/0"`, `"0.0.0.0/1"`, `"128.0.0.0/1"`} {
		if strings.Contains(raw, wide) {
			l.say("", "trusted_proxies believes every client (%s) about its own address: limits per client and remote_ip say nothing then; name the proxies", strings.Trim(wide, `"`))
		}
	}
	if l.server.TrustedProxiesStrict == 0 {
		l.say("", "trusted_proxies without trusted_proxies_strict takes the leftmost X-Forwarded-For, which a client may have written itself; add trusted_proxies_strict")
	}
}

// gate looks at one gate's own settings.
func (l *linter) gate(h *Handler) {
	where := "mfa " + cmp.Or(h.App, h.gate.Site.App) + ", "
	for _, q := range h.Public {
		for _, rule := range h.Logins {
			if p := covers(q, rule); p != "" {
				l.say(where+l.lines.of(h, "public "+q.String()), "public %s covers the login %s at %s: pages that show the login are then asked for without their cookies; name what is public more narrowly", q, rule.Name, p)
			}
		}
	}
	if slices.Contains(l.anonymous, h) {
		l.say(where, "first_factor %s believes a request header: without forward_auth (copy_headers) before it, for every request, a client names itself", h.FirstFactor)
	}
	if string(h.gate.Site.Enroll) == "self" && !slices.ContainsFunc(h.Logins, func(c login.Config) bool { return c.Identity != nil }) && h.FirstFactor == "" {
		l.say(where, "users give their own number, and no login asks the application who they are (identity): a name that the answer gives in another spelling would enrol again; add identity, or use a directory")
	}
	if h.Policy == "off" {
		l.say(where, "policy off asks nobody for a code")
	}
	for _, m := range h.missing() {
		l.say(where+l.lines.of(h, m.line), "%s", m.what)
	}
}

// lines are where the logins and entries of gates stand in a Caddyfile, by the
// gate's own configuration: what Caddy has loaded knows no lines any more.
type lines map[string][]map[string]string

// linesOf reads a configuration's file again. Of one that is no Caddyfile nothing
// is known.
func linesOf(file string) lines {
	text, err := os.ReadFile(file) //nolint:gosec // the operator's file
	if err != nil {
		return nil
	}
	blocks, err := caddyfile.Parse(file, text)
	if err != nil {
		return nil
	}
	found := lines{}
	for _, block := range blocks {
		if len(block.Keys) == 0 {
			continue // the global options
		}
		for _, tokens := range block.Segments {
			found.add(tokens)
		}
	}
	return found
}

// add looks for blocks of mfa among the tokens of a site, at any depth. What is
// none cannot be read as one, or is like no gate.
func (l lines) add(tokens []caddyfile.Token) {
	for i, t := range tokens {
		if t.Text != "mfa" || t.Quoted() {
			continue
		}
		d := caddyfile.NewDispenser(tokens[i:])
		d.Next()
		block := d.NextSegment()
		if len(block) > 1 && block[1].Text != "{" {
			block = slices.Delete(block, 1, 2) // its matcher
		}
		h, at := new(Handler), map[string]string{}
		if h.parse(caddyfile.NewDispenser(block), at) != nil {
			continue
		}
		if key, err := json.Marshal(h); err == nil {
			l[string(key)] = append(l[string(key)], at)
		}
	}
}

// of is where a line of a gate stands. Two blocks that say the same are not told
// apart.
func (l lines) of(h *Handler, line string) string {
	key, err := json.Marshal(h)
	if err != nil {
		return line
	}
	var places []string
	for _, at := range l[string(key)] {
		if place := at[line]; place != "" && !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	if len(places) == 0 {
		return line
	}
	return strings.Join(places, " or ") + ", " + line
}

// covers finds a path of a login that a public entry opens by GET.
func covers(q match.Request, c login.Config) string {
	e, err := q.Compile()
	if err != nil || !e.Method(http.MethodGet) || len(q.Query) > 0 || q.JSON != nil {
		return ""
	}
	for _, p := range c.Paths {
		if p = strings.ToLower(strings.TrimSuffix(p, "*")); strings.HasPrefix(p, "/") && e.Path(p) {
			return p
		}
	}
	return ""
}

// SecretKeeper is what a module of the app mfa implements to name its own secrets.
type SecretKeeper interface {
	// SecretFields are the names in JSON of the fields that hold secrets. The values
	// of a field that is an object or a list are all secrets.
	SecretFields() []string
}

// guests are the fields of the app that hold modules, and where their names stand.
var guests = map[string]struct{ namespace, key string }{
	"store": {"mfa.stores", "backend"}, "senders": {"mfa.senders", "provider"}, "directories": {"mfa.directories", "kind"},
}

// secretFields are those that the module of a configuration names itself.
func secretFields(field string, config map[string]any) []string {
	where, ok := guests[field]
	if !ok {
		return nil
	}
	name, _ := config[where.key].(string)
	info, err := caddy.GetModule(where.namespace + "." + name)
	if err != nil {
		return nil
	}
	keeper, _ := info.New().(SecretKeeper)
	if keeper == nil {
		return nil
	}
	return keeper.SecretFields()
}

// placed is a value that Caddy puts in when it loads a configuration.
var placed = regexp.MustCompile(`\{[a-z_]+\.[^{}]+\}`)

// harmless are headers and fields of gateways that hold no secret.
var harmless = regexp.MustCompile(`(?i)^(accept.*|content-.*|user-agent|to|from|text|body|message|sender|type|lang.*|unicode)$`)

// literals finds secrets that stand in a configuration itself, written there or
// put there by {$VAR}: the admin API, caddy adapt and autosave.json show them.
func literals(app any) (found []finding) {
	var walk func(path, name string, v any, secrets []string, secret bool)
	walk = func(path, name string, v any, secrets []string, secret bool) {
		switch v := v.(type) {
		case map[string]any:
			if own := secretFields(strings.Split(path, ".")[0], v); own != nil {
				secrets = own
			}
			if n, ok := v["name"].(string); ok && secret { // a field of a form
				walk(path+" "+n, n, v["value"], nil, true)
				return
			}
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(strings.TrimPrefix(path+"."+k, "."), k, v[k], secrets, secret || slices.Contains(secrets, k))
			}
		case []any:
			for i, e := range v {
				walk(fmt.Sprintf("%s.%d", path, i), name, e, secrets, secret)
			}
		case string:
			if v != "" && !placed.MatchString(v) && (secret && !harmless.MatchString(name) && !texted(v) || carriesPassword(v)) {
				found = append(found, finding{"global option mfa, " + path, "the secret stands in the configuration itself (perhaps by {$VAR}), where the admin API and autosave.json show it: use {env.VAR} or {file./path}"})
			}
		}
	}
	walk("", "", app, []string{"secrets", "secret"}, false)
	return found
}

// texted reports whether a value is made of what is sent.
func texted(v string) bool { return strings.Contains(v, "{to}") || strings.Contains(v, "{text}") }

// carriesPassword reports whether a value is an address with a password in it.
func carriesPassword(v string) bool {
	u, err := url.Parse(v)
	if err != nil || u.User == nil {
		return false
	}
	word, ok := u.User.Password()
	return ok && word != ""
}
