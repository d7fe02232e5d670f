package login

import (
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// Request is a request as rules see it.
type Request struct {
	*http.Request
	// Path is cleaned and in lower case; Spellings are all paths that some
	// server could take it for (attack C1). Canonical: there is only one.
	Path      string
	Spellings []string
	Canonical bool
}

// Rules are a gate's login rules, in order.
type Rules []*Rule

// Candidate reports whether the request may be a login, so that its body must
// be read. It is cheap: most requests are none.
func (rs Rules) Candidate(q *Request) bool {
	for _, r := range rs {
		if r.candidate(q) {
			return true
		}
	}
	return false
}

func (r *Rule) candidate(q *Request) bool {
	if r.Config.Basic != "" || !r.covers(q) {
		return false
	}
	// Without a query, a body or a method of the rule there is nothing that
	// could carry a password.
	return q.URL.RawQuery != "" || slices.Contains(r.Methods, q.Method) || q.ContentLength != 0
}

// Takes reports whether a login of some rule can be sent to the request's address
// with this method.
func (rs Rules) Takes(q *Request, method string) bool {
	return slices.ContainsFunc(rs, func(r *Rule) bool {
		return r.covers(q) && (r.Config.Basic != "" || slices.Contains(r.Methods, method))
	})
}

// Index answers for all rules of a site at once what is asked of every request.
type Index struct {
	paths match.Paths
	any   bool
	// Basic: there is a rule for HTTP Basic; Forms: there is another one.
	Basic, Forms bool
}

// Index gathers what the rules are for.
func (rs Rules) Index() *Index {
	x := &Index{}
	for _, r := range rs {
		if r.Config.Basic != "" {
			x.Basic = true
			continue
		}
		x.Forms = true
		x.any = x.any || r.AnyPath
		x.paths = append(x.paths, r.paths...)
	}
	return x
}

// Covers reports whether a rule, but for those for HTTP Basic, is for the
// request's path, whatever it carries.
func (x *Index) Covers(q *Request) bool {
	return x.any || x.paths.Match(q.Path) || x.paths.Any(q.Spellings)
}

// Near reports whether some application may take the request's path for the one
// of a rule that names paths.
func (x *Index) Near(q *Request) bool {
	return x.paths.Near(q.Path) || slices.ContainsFunc(q.Spellings, func(s string) bool { return x.paths.Near(strings.ToLower(s)) })
}

// MayCarry reports whether a request carries what a rule reads as a password, or
// may do so. A form that could not be read may, where a rule is for any path.
func (rs Rules) MayCarry(f *intake.Form) bool {
	return slices.ContainsFunc(rs, func(r *Rule) bool {
		names := r.Fields
		switch {
		case r.Config.Basic != "":
			return false
		case r.AnyPath && f.Kind == intake.Opaque:
			return true
		case r.Password != nil && r.Password.Source == JSON:
			names = []string{intake.Bracketed(r.Password.Name)}
		case r.Password != nil:
			names = []string{r.Password.Name}
		}
		return slices.ContainsFunc(names, func(name string) bool {
			_, state := f.Lookup(intake.Any, name)
			return state != intake.Absent || f.JSONMeans(name)
		})
	})
}

func (r *Rule) covers(q *Request) bool {
	return r.AnyPath || r.paths.Match(q.Path) || r.paths.Any(q.Spellings)
}

// Match finds the rules of a login request: all of them, because an application
// may have several logins at one address, and what one rule takes for a wrong
// password may be another's success. A reason other than "" means that the
// request could be a login and must not be forwarded: it can be read in two
// ways, or carries a password where none belongs.
func (rs Rules) Match(q *Request, f *intake.Form) (found Rules, _ event.Reason) {
	elsewhere := false
	for _, r := range rs {
		if !r.candidate(q) {
			continue
		}
		switch is, reason := r.match(q, f); {
		case reason == event.LoginByGet:
			elsewhere = true // unless another rule is for this method (attack K28)
		case reason != "":
			return nil, reason
		case is:
			found = append(found, r)
		}
	}
	if len(found) == 0 && elsewhere {
		return nil, event.LoginByGet
	}
	return found, ""
}

// Explain says why a request is a login of the rule, or none.
func (r *Rule) Explain(q *Request, f *intake.Form) string {
	switch {
	case r.Config.Basic != "":
		if !r.covers(q) {
			return "no: not one of its paths"
		}
		cred, err := ReadBasic(q.Header)
		switch {
		case err != nil:
			return "refused: the Authorization field could be read in two ways"
		case cred == nil:
			return "no: the request carries no HTTP Basic credential"
		}
		return "yes: an HTTP Basic credential, which is tried at " + r.Config.Basic
	case !r.covers(q):
		return "no: not one of its paths"
	case !r.candidate(q):
		return "no: by method " + q.Method + " with neither query nor body it carries no password"
	}
	is, reason := r.match(q, f)
	switch {
	case reason == event.LoginByGet:
		return "refused: a password in a request by " + q.Method + "; the rule is for " + strings.Join(r.Methods, ", ")
	case reason != "":
		return "refused: what the rule reads could be read in two ways, or the path is not written plainly"
	case is:
		return "yes"
	case r.JSON != nil:
		return "no: the body has no " + strings.TrimSpace(r.JSON.Name+" "+r.JSON.Value)
	case len(r.Fields) > 0:
		var missing []string
		for _, name := range r.Fields {
			if _, state := f.Lookup(intake.Any, name); state == intake.Absent {
				missing = append(missing, name)
			}
		}
		return "no: fields are missing: " + strings.Join(missing, " ")
	}
	return "no: method " + q.Method + "; the rule is for " + strings.Join(r.Methods, ", ")
}

func (r *Rule) match(q *Request, f *intake.Form) (bool, event.Reason) {
	method := slices.Contains(r.Methods, q.Method)
	if method && f.Kind == intake.Opaque && (!r.AnyPath || r.Config.ReadsJSON() && f.MayBeJSON()) {
		return false, event.Ambiguous // a body that we cannot read, where a login may be in it
	}
	if r.twoKinds(f) {
		return false, event.Ambiguous
	}
	switch {
	case r.JSON != nil:
		has, clear := r.hasJSON(f)
		if !has {
			return false, ""
		}
		if !clear {
			return false, event.Ambiguous
		}
	case len(r.Fields) > 0:
		has, clear := hasFields(f, r.Fields)
		if !has {
			return false, ""
		}
		if !clear {
			return false, event.Ambiguous
		}
	case !method:
		// The login's address by another method is the login page, unless it
		// carries the fields of a login (attack J5).
		if r.carries(f) {
			return false, event.LoginByGet
		}
		return false, ""
	}
	if !method {
		return false, event.LoginByGet
	}
	if !q.Canonical && !r.AnyPath {
		return false, event.Ambiguous
	}
	for _, field := range r.fieldsOfRequest() {
		if _, state := f.Lookup(intake.Any, field); state == intake.Ambiguous {
			return false, event.Ambiguous // attacks F5, J3, J4
		}
	}
	if r.User != nil && r.User.Source == JSON && f.JSONState(r.User.Name) == intake.Ambiguous {
		return false, event.Ambiguous
	}
	return true, ""
}

// twoKinds reports whether a JSON body holds what the rule reads of a form, or the
// query beside it what the rule reads of JSON. Applications that merge all
// parameters of a request take the one for the other (attack K10).
func (r *Rule) twoKinds(f *intake.Form) bool {
	if f.Kind != intake.JSONBody {
		return false
	}
	form := append(slices.Clone(r.Fields), r.fieldsOfRequest()...)
	if len(form) > 0 && !slices.ContainsFunc(form, func(name string) bool { return !f.JSONMeans(name) }) {
		return true
	}
	return slices.ContainsFunc(r.jsonOfRequest(), func(path string) bool {
		_, state := f.Lookup(intake.Any, intake.Bracketed(path))
		return state != intake.Absent
	})
}

// jsonOfRequest are the dotted paths that the rule reads of a JSON body.
func (r *Rule) jsonOfRequest() (paths []string) {
	if r.JSON != nil {
		paths = append(paths, r.JSON.Name)
	}
	if r.User != nil && r.User.Source == JSON {
		paths = append(paths, r.User.Name)
	}
	if r.Password != nil && r.Password.Source == JSON {
		paths = append(paths, r.Password.Name)
	}
	return paths
}

// hasFields reports whether all names are there as applications fold names, and
// whether each is there once and spelt exactly.
func hasFields(f *intake.Form, names []string) (has, clear bool) {
	clear = true
	for _, name := range names {
		switch _, state := f.Lookup(intake.Any, name); state {
		case intake.Absent:
			return false, false
		case intake.Ambiguous:
			clear = false
		case intake.Exact:
		}
	}
	return true, clear
}

func (r *Rule) hasJSON(f *intake.Form) (has, clear bool) {
	switch f.JSONState(r.JSON.Name) {
	case intake.Absent:
		return false, false
	case intake.Ambiguous:
		return true, false
	case intake.Exact:
	}
	if r.JSON.Value == "" {
		return true, true
	}
	v, ok := f.JSONText(r.JSON.Name)
	return ok && v == r.JSON.Value, true
}

// fieldsOfRequest are the form fields that say who logs in, and with what.
func (r *Rule) fieldsOfRequest() []string {
	var names []string
	if r.User != nil && (r.User.Source == Form || r.User.Source == Query) {
		names = append(names, r.User.Name)
	}
	if r.Password != nil && r.Password.Source == Form {
		names = append(names, r.Password.Name)
	}
	return names
}

func (r *Rule) carries(f *intake.Form) bool {
	return slices.ContainsFunc(r.fieldsOfRequest(), func(name string) bool {
		_, state := f.Lookup(intake.Any, name)
		return state != intake.Absent
	})
}

// RequestUser reads the user's name of the request, folded. It is "" when the
// rule reads it elsewhere or it is not there. It says who wants to be logged
// in, not who was.
func (r *Rule) RequestUser(f *intake.Form) string {
	name := r.requestUser(f)
	if !utf8.ValidString(name) {
		return "" // folded, it could be another user's
	}
	return intake.FoldUser(name)
}

func (r *Rule) requestUser(f *intake.Form) string {
	if r.User == nil || !r.User.Source.ofRequest() {
		return ""
	}
	var value string
	switch r.User.Source {
	case Form, Query:
		from := intake.Body
		if r.User.Source == Query {
			from = intake.Query
		}
		v, state := f.Lookup(from, r.User.Name)
		if state != intake.Exact {
			return ""
		}
		value = v
	case JSON:
		v, ok := f.JSONText(r.User.Name)
		if !ok {
			return ""
		}
		value = v
	}
	return cut(r.user, value)
}

// Typed is RequestUser for a rule by which nobody else says who logged in. ok is
// false for a name that the application may read in another way (attack K9).
func (rs Rules) Typed(f *intake.Form) (ok bool) {
	return !slices.ContainsFunc(rs, func(r *Rule) bool {
		if r.Names() || r.User == nil {
			return false
		}
		_, plain := intake.TypedUser(r.requestUser(f))
		return !plain
	})
}

// RequestPassword reads the password of the request, "" where the rule does not
// say which field it is.
func (r *Rule) RequestPassword(f *intake.Form) string {
	switch {
	case r.Password == nil:
	case r.Password.Source == JSON:
		if v, ok := f.JSONText(r.Password.Name); ok {
			return v
		}
	default:
		if v, state := f.Lookup(intake.Body, r.Password.Name); state == intake.Exact {
			return v
		}
	}
	return ""
}

// RequestUser reads the user's name of the request by the first rule that finds one.
func (rs Rules) RequestUser(f *intake.Form) string {
	for _, r := range rs {
		if name := r.RequestUser(f); name != "" {
			return name
		}
	}
	return ""
}

// AsTyped is RequestUser as the request has it.
func (rs Rules) AsTyped(f *intake.Form) string {
	for _, r := range rs {
		if name := r.requestUser(f); name != "" {
			return name
		}
	}
	return ""
}

// Judged reports whether the application itself is asked who was logged in.
func (rs Rules) Judged() bool {
	return !slices.ContainsFunc(rs, func(r *Rule) bool { return r.Identity == nil })
}
