package gate

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/page"
	"github.com/caddymfa/caddymfa/caddymfa/internal/session"
)

// Origins are the foreign origins whose pages may post a login, and may read what
// the gate itself answers.
type Origins struct {
	protect http.CrossOriginProtection
	listed  map[string]bool
}

// Add adds an origin: scheme and host, such as https://www.example.com.
func (o *Origins) Add(origin string) error {
	origin = strings.ToLower(origin) // as browsers send it
	if err := o.protect.AddTrustedOrigin(origin); err != nil {
		return fmt.Errorf("write scheme and host, such as https://www.example.com: %w", err)
	}
	if o.listed == nil {
		o.listed = map[string]bool{}
	}
	o.listed[origin] = true
	return nil
}

// of is the listed origin whose page has sent the request, "" for none. The site
// itself is not foreign, although somebody lists it.
func (o *Origins) of(r *http.Request) string {
	from := r.Header["Origin"]
	if len(from) != 1 || !o.listed[from[0]] {
		return ""
	}
	if _, host, _ := strings.Cut(from[0], "://"); strings.EqualFold(host, r.Host) {
		return ""
	}
	return from[0]
}

// maxPreflight bounds the names of header fields that a preflight asks for, in bytes.
const maxPreflight = 1024

// preflight answers a browser that asks whether a page of a listed origin may call
// one of our routes, or send a login. The question comes without cookies, so it
// belongs to nobody's session and never reaches the application.
func (g *Gate) preflight(v *visit) bool {
	method := v.r.Header.Get("Access-Control-Request-Method")
	if v.r.Method != http.MethodOptions || v.call.Origin == "" || method == "" {
		return false
	}
	methods := method
	if g.own(v.in.URL.Path) || g.own(v.r.URL.Path) {
		methods = "GET, POST"
	} else if !g.Rules.Takes(&v.target, method) {
		return false
	}
	g.announce(v)
	h := v.w.Header()
	page.Readable(h, v.call.Origin)
	h.Set("Access-Control-Allow-Methods", methods)
	if names := strings.Join(v.r.Header["Access-Control-Request-Headers"], ","); names != "" && len(names) <= maxPreflight && !strings.ContainsFunc(names, noList) {
		h.Set("Access-Control-Allow-Headers", names)
	}
	h.Set("Access-Control-Max-Age", "600")
	h.Set("Cache-Control", "no-store")
	v.w.WriteHeader(http.StatusNoContent)
	return true
}

// noList reports whether a letter does not belong into a list of header fields' names.
func noList(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_, ", c))
}

// maxAgain bounds what a form may hold that is posted once more, in bytes.
const maxAgain = 256 << 10

// again lets the browser post a form once more, from a page of ours. A form that
// an identity provider posts comes without the handle, which is SameSite, and so
// without the session that it is an answer to; our own page's form has it. That
// one is no foreign page's any more, so it is not asked for twice.
func (g *Gate) again(v *visit) bool {
	if v.call.Origin == "" || v.r.Method != http.MethodPost || !v.call.Navigation || v.call.State != session.NoHandle {
		return false
	}
	form, reason := g.read(v)
	if reason != "" {
		return false
	}
	fields, kind := form.Plain(maxAgain)
	if kind == "" {
		return false
	}
	g.announce(v)
	g.page(v, http.StatusOK, page.View{Kind: page.Again, Fields: fields, Encoding: kind})
	return true
}
