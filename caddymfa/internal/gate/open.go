package gate

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// opening is why a request may be forwarded before verification.
type opening struct {
	entry *match.Entry
	// restricts: parameters that the entry does not name are not forwarded,
	// except also.
	restricts bool
	also      []string
	loginPage bool
	// asset: a file, which takes no query. Where the application answers an
	// address that is none of its files, a query could make it answer with any
	// page that it shows to strangers (attack B4).
	asset bool
}

// opens holds an entry that opens something against a request. A path counts
// only in its canonical form: where two servers could read it in two ways, the
// application's reading is not known (attack C1).
func (g *Gate) opens(v *visit, e *match.Entry) bool {
	if v.r.Method == http.MethodConnect { // over HTTP/2 and HTTP/3 it opens a WebSocket, which needs proof (attack B5)
		return false
	}
	if !v.target.Canonical || !e.Method(v.r.Method) || !e.Path(v.target.Path) || !e.Strict(v.params()) {
		return false
	}
	if len(e.Headers) > 0 && !slices.ContainsFunc(e.Headers, func(h string) bool { return len(v.r.Header.Values(h)) == 1 }) {
		return false
	}
	if e.JSON == nil {
		return true
	}
	f, reason := g.read(v)
	if reason != "" || f.JSONState(e.JSON.Name) != intake.Exact {
		return false
	}
	text, ok := f.JSONText(e.JSON.Name)
	return ok && (e.JSON.Value == "" || text == e.JSON.Value)
}

// loginFlow finds what lets a request through with the anonymous jar.
func (g *Gate) loginFlow(v *visit) *opening {
	for _, e := range g.LoginFlow {
		if g.opens(v, e) {
			return &opening{entry: e, restricts: len(e.Query) > 0}
		}
	}
	if l := g.LoginPage; l != nil && g.opens(v, l.Entry) {
		o := &opening{entry: l.Entry, restricts: len(l.Entry.Query) > 0 || l.Next != "", loginPage: true}
		if l.Next != "" {
			o.also = []string{l.Next}
		}
		return o
	}
	return nil
}

// public finds what lets a request through without cookies and credentials.
func (g *Gate) public(v *visit) *opening {
	for _, e := range g.Public {
		if g.opens(v, e) {
			return &opening{entry: e, restricts: len(e.Query) > 0}
		}
	}
	// Where Caddy knows the user, every request is his, and so would an asset be
	// that is none (attack K6).
	if g.PublicAssets && !g.FirstFactor && asset(v) && (g.AssetPaths == nil || g.AssetPaths.Match(v.target.Path)) {
		return &opening{asset: true}
	}
	return nil
}

// assetTypes are the endings of what a login page is made of. Nothing here is
// ever forwarded with a cookie, so an application that guards such a file
// refuses it itself.
var assetTypes = []string{
	".css", ".js", ".mjs", ".map", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".avif", ".ico", ".woff", ".woff2", ".ttf", ".otf", ".eot",
}

func asset(v *visit) bool {
	if v.r.Method != http.MethodGet && v.r.Method != http.MethodHead || !v.target.Canonical {
		return false
	}
	i := strings.LastIndexByte(v.target.Path, '.')
	return i >= 0 && slices.Contains(assetTypes, v.target.Path[i:]) && !pathInfo.MatchString(v.target.Path)
}

// pathInfo is a path that goes on behind a page of the application, which the page
// is then asked for (CGI, RFC 3875 4.1.5).
var pathInfo = regexp.MustCompile(`\.(php\d?|phtml|f?cgi|p[ly]|aspx?|jspx?|do|cfm)/`)

// answersLeave reports whether the application's answer to a wrong password may
// leave at the address of a login: a rule names the address, or it is open before
// a login, whatever the method. An application that takes a password at any
// address would show there what is closed (attack K30).
func (g *Gate) answersLeave(v *visit, rules login.Rules) bool {
	if slices.ContainsFunc(rules, func(r *login.Rule) bool { return !r.AnyPath }) {
		return true
	}
	open := func(e *match.Entry) bool {
		return v.target.Canonical && e.Path(v.target.Path) && !slices.ContainsFunc(e.Query, func(p match.Param) bool {
			value, state := v.form.Lookup(intake.Any, p.Name)
			return state != intake.Exact || p.Value != nil && value != *p.Value
		})
	}
	return g.LoginPage != nil && open(g.LoginPage.Entry) || slices.ContainsFunc(g.LoginFlow, open) || slices.ContainsFunc(g.Public, open)
}

// loginURL is where signing in begins, for a visitor who wanted next.
func (g *Gate) loginURL(next string) string {
	l := g.LoginPage
	if l == nil {
		return "/"
	}
	query := l.Query
	if l.Next != "" && next != "" && len(next) <= maxNext {
		if query != "" {
			query += "&"
		}
		query += escape(l.Next) + "=" + escape(next)
	}
	if query != "" {
		query = "?" + query
	}
	return l.Path + query
}

// maxNext bounds the address that is handed to the login page, in bytes.
const maxNext = 2048

// LoginURL is where signing in begins.
func (g *Gate) LoginURL() string { return g.loginURL("") }
