package login

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"

	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

// Fill is how a login is filled in that the gate makes itself, where neither the
// rule nor a form on the login page says it.
type Fill struct {
	// Path is where the request goes; it is needed only where the rule's own
	// paths are patterns and no form names one.
	Path string `json:"path,omitempty"`
	// Fields are further fields of the form, or dotted paths of the JSON body. The
	// value {user} stands for the user's name.
	Fields []match.Pair `json:"fields,omitempty"`
}

// ErrNoForm: no rule of the site can be filled in on the page that was found.
var ErrNoForm = errors.New("no login that could be filled in")

// Filled is a login request as a browser would send it.
type Filled struct {
	// Target is an absolute path with an optional query.
	Method, Target, ContentType string
	Body                        []byte
}

// Fillable reports whether the gate could make such a login itself: the rule
// names the password's field, or is for HTTP Basic.
func (r *Rule) Fillable() bool { return r.Config.Basic != "" || r.Password != nil }

// Fill makes the login request of the first rule that it can fill in: a form of
// the login page with the rule's fields, all its other inputs as they stand
// there, or a JSON body. at is the page's address.
func (rs Rules) Fill(at *url.URL, page *upstream.Reply, user, password string) (*Filled, error) {
	fail := fmt.Errorf("%w: no login names its password", ErrNoForm)
	var doc *html.Node
	for _, r := range rs {
		if r.Config.Basic != "" || r.Password == nil {
			continue
		}
		values := r.values(user, password)
		if r.Password.Source == JSON {
			if f, err := r.fillJSON(values); err == nil {
				return f, nil
			} else {
				fail = err
			}
			continue
		}
		if doc == nil {
			var err error
			if doc, err = html.Parse(bytes.NewReader(page.Body)); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrNoForm, err)
			}
		}
		if f := r.fillForm(doc, at, values); f != nil {
			return f, nil
		}
		names := make([]string, 0, len(values))
		for _, v := range values {
			names = append(names, v.Name)
		}
		fail = fmt.Errorf("%w: %s (status %d) has no form of login %s, with the fields %s", ErrNoForm, at.Path, page.Status, r.Name, strings.Join(names, " "))
	}
	return nil, fail
}

// values are the fields that the rule itself fills in.
func (r *Rule) values(user, password string) (values []match.Pair) {
	if r.User != nil && (r.User.Source == Form && r.Password.Source == Form || r.User.Source == JSON && r.Password.Source == JSON) {
		values = append(values, match.Pair{Name: r.User.Name, Value: user})
	}
	values = append(values, match.Pair{Name: r.Password.Name, Value: password})
	if r.Config.Fill == nil {
		return values
	}
	for _, f := range r.Config.Fill.Fields {
		if f.Value == "{user}" {
			f.Value = user
		}
		values = append(values, f)
	}
	return values
}

// method is by which the request goes.
func (r *Rule) method() string {
	if slices.Contains(r.Methods, http.MethodPost) {
		return http.MethodPost
	}
	return r.Methods[0]
}

func (r *Rule) fillJSON(values []match.Pair) (*Filled, error) {
	target := ""
	for _, p := range r.Paths {
		if !strings.ContainsAny(p, "*[?") {
			target = p
			break
		}
	}
	if r.Config.Fill != nil && r.Config.Fill.Path != "" {
		target = r.Config.Fill.Path
	}
	if target == "" {
		return nil, fmt.Errorf("%w: login %s does not say at which path; write fill <path>", ErrNoForm, r.Name)
	}
	if r.JSON != nil && r.JSON.Value != "" {
		values = append(values, *r.JSON)
	}
	var body any
	var err error
	for _, v := range values {
		if body, err = put(body, strings.Split(v.Name, "."), v.Value); err != nil {
			return nil, fmt.Errorf("%w: login %s: %w", ErrNoForm, r.Name, err)
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	return &Filled{r.method(), target, "application/json", text}, nil
}

// put sets the value at a path of a JSON value: numbers are places of an array.
func put(v any, path []string, value string) (any, error) {
	if len(path) == 0 {
		if v != nil {
			return nil, errors.New("two fields have the same place")
		}
		return value, nil
	}
	if i, err := strconv.Atoi(path[0]); err == nil && i >= 0 && i < 64 {
		list, ok := v.([]any)
		if v != nil && !ok {
			return nil, errors.New("two fields have the same place")
		}
		for len(list) <= i {
			list = append(list, nil)
		}
		list[i], err = put(list[i], path[1:], value)
		return list, err
	}
	object, ok := v.(map[string]any)
	switch {
	case v == nil:
		object = map[string]any{}
	case !ok:
		return nil, errors.New("two fields have the same place")
	}
	next, err := put(object[path[0]], path[1:], value)
	object[path[0]] = next
	return object, err
}

// fillForm finds the form of the page that the rule is for, nil for none: its
// action is one of the rule's addresses on this site, and it has every field that
// is filled in.
func (r *Rule) fillForm(doc *html.Node, at *url.URL, values []match.Pair) *Filled {
	base := at
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == "base" && attribute(n, "href") != "" {
			if u, err := at.Parse(attribute(n, "href")); err == nil {
				base = u
			}
			break
		}
	}
	for form := range doc.Descendants() {
		if form.Type != html.ElementNode || form.Data != "form" || !slices.Contains(r.Methods, cmpMethod(attribute(form, "method"))) {
			continue
		}
		to := at
		if action := strings.TrimSpace(attribute(form, "action")); action != "" {
			u, err := base.Parse(action)
			if err != nil {
				continue
			}
			to = u
		}
		if to.Host != "" && !strings.EqualFold(to.Hostname(), at.Hostname()) || !r.AnyPath && !r.paths.Match(strings.ToLower(to.Path)) {
			continue
		}
		fields, all := inputs(doc, form), true
		for _, v := range values {
			all = all && fields.set(v.Name, v.Value)
		}
		if !all {
			continue
		}
		method := cmpMethod(attribute(form, "method"))
		f := &Filled{Method: method, Target: to.EscapedPath()}
		if f.Target == "" {
			f.Target = "/"
		}
		if method == http.MethodGet { // HTML 4.10.21.3: the action's own query is replaced
			f.Target += "?" + fields.encode()
			return f
		}
		if to.RawQuery != "" {
			f.Target += "?" + to.RawQuery
		}
		f.ContentType, f.Body = "application/x-www-form-urlencoded", []byte(fields.encode())
		return f
	}
	return nil
}

func cmpMethod(method string) string {
	if strings.EqualFold(method, http.MethodPost) {
		return http.MethodPost
	}
	return http.MethodGet // HTML: the missing and the invalid value
}

// entries are a form's fields in the order of the page (HTML 4.10.21.4).
type entries []match.Pair

func (e entries) set(name, value string) (found bool) {
	for i := range e {
		if e[i].Name == name {
			e[i].Value, found = value, true
		}
	}
	return found
}

func (e entries) encode() string {
	pairs := make([]string, 0, len(e))
	for _, f := range e {
		pairs = append(pairs, url.QueryEscape(f.Name)+"="+url.QueryEscape(f.Value))
	}
	return strings.Join(pairs, "&")
}

// inputs are what a browser would send of a form that nobody has touched,
// submitted by its first button.
func inputs(doc, form *html.Node) (out entries) {
	pressed := false
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || !belongs(n, form) || has(n, "disabled") {
			continue
		}
		name, value, kind := attribute(n, "name"), attribute(n, "value"), strings.ToLower(attribute(n, "type"))
		switch n.Data {
		case "input":
		case "button":
			if kind == "" {
				kind = "submit"
			}
			if kind != "submit" {
				continue
			}
		case "select":
			kind, value = "text", selected(n)
		case "textarea":
			kind, value = "text", strings.TrimPrefix(text(n), "\n")
		default:
			continue
		}
		switch kind {
		case "submit", "image":
			if pressed {
				continue
			}
			if pressed = true; kind == "image" {
				continue
			}
		case "button", "reset", "file":
			continue
		case "checkbox", "radio":
			if !has(n, "checked") {
				continue
			}
			if !has(n, "value") {
				value = "on"
			}
		}
		if name != "" {
			out = append(out, match.Pair{Name: name, Value: value})
		}
	}
	return out
}

// belongs reports whether a control is the form's: it names it, or stands in it
// and names none.
func belongs(n, form *html.Node) bool {
	if id := attribute(n, "form"); id != "" {
		return id == attribute(form, "id")
	}
	for p := range n.Ancestors() {
		if p == form {
			return true
		}
	}
	return false
}

func selected(list *html.Node) string {
	var first *html.Node
	for n := range list.Descendants() {
		if n.Type != html.ElementNode || n.Data != "option" || has(n, "disabled") {
			continue
		}
		if first == nil || has(n, "selected") {
			first = n
		}
		if has(n, "selected") {
			break
		}
	}
	switch {
	case first == nil:
		return ""
	case has(first, "value"):
		return attribute(first, "value")
	}
	return strings.Join(strings.Fields(text(first)), " ")
}

func text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name && a.Namespace == "" {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name && a.Namespace == "" })
}
