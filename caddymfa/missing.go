package caddymfa

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// lack is what is missing in a gate, or too wide. line is the line that it is
// about, as the Caddyfile begins it. minor is for lint only.
type lack struct {
	line, what string
	minor      bool
}

// missing says what is missing in the rules, and what lets a password past them.
// Lint and the log say it in the same words.
func (h *Handler) missing() (out []lack) {
	for _, r := range h.gate.Rules {
		line := "login " + r.Name
		for _, what := range r.Missing() {
			out = append(out, lack{line, what, false})
		}
		for _, what := range r.Weak() {
			out = append(out, lack{line, what, true})
		}
		if what := h.anyPath(r); what != "" {
			out = append(out, lack{line, what, false})
		}
	}
	for _, q := range h.LoginFlow {
		if p := h.wide(q); p != "" {
			out = append(out, lack{"login_flow " + q.String(), p + " takes what a form or a script sends, so a password may be posted to an address, or in fields, that no login knows, and its session is used at all login_flow addresses without a code; " +
				"name the addresses that signing in needs, without an asterisk", false})
		}
	}
	for _, q := range h.Public {
		if p := h.wide(q); p != "" {
			out = append(out, lack{"public " + q.String(), p + " takes what a form or a script sends, so an application that reads a name and a password in any request and answers at once does so there without a code; " +
				"name the addresses that strangers need, without an asterisk, or only GET", false})
		}
	}
	return out
}

// sends reports whether an entry is for a method by which something is sent.
func sends(q match.Request) bool {
	return slices.ContainsFunc(q.Methods, func(m string) bool {
		return m != http.MethodGet && m != http.MethodHead && m != http.MethodOptions
	})
}

// everywhere is the path of an entry that is for all directories, "" for none.
func everywhere(q match.Request) string {
	for _, p := range q.Paths {
		if p == "/*" || strings.HasPrefix(p, "*") {
			return p
		}
	}
	return ""
}

// wide finds the path of an entry by which a login can be sent that no rule sees:
// one for all directories, or one that covers a login and more than its rule. What
// a query asks for narrows only the second: a client adds it to any address.
func (h *Handler) wide(q match.Request) string {
	if !sends(q) || q.JSON != nil {
		return ""
	}
	if p := everywhere(q); p != "" || len(q.Query) > 0 {
		return p
	}
	for _, p := range q.Paths {
		m, err := match.ParsePath(p)
		if err != nil || !strings.Contains(p, "*") {
			continue
		}
		for _, c := range h.Logins {
			if c.Basic == "" && !slices.ContainsFunc(c.Paths, func(l string) bool { return strings.EqualFold(l, p) }) &&
				slices.ContainsFunc(c.Paths, func(l string) bool { return m.Match(example(l)) }) {
				return p
			}
		}
	}
	return ""
}

// example is a path that a pattern covers.
func example(pattern string) string {
	return "/" + strings.TrimPrefix(strings.ReplaceAll(strings.ToLower(pattern), "*", "x"), "/")
}

// anyPath says where the answer to a password leaves the gate, for a rule for
// every address and an application that may answer a password at once (K30).
func (h *Handler) anyPath(r *login.Rule) string {
	if !r.AnyPath || r.Config.Basic != "" {
		return ""
	}
	var open, wide, sent []string
	for _, kind := range []struct {
		word string
		list []match.Request
	}{{"login_flow", h.LoginFlow}, {"public", h.Public}} {
		for _, q := range kind.list {
			entry := kind.word + " " + q.String()
			open = append(open, entry)
			if everywhere(q) != "" {
				wide = append(wide, entry)
			}
			if kind.word == "public" && sends(q) {
				sent = append(sent, entry)
			}
		}
	}
	var why []string
	if r.Identity != nil && len(r.Success) == 0 {
		why = append(why, "there is no success line, so a password that is right for one request and gives no session looks like a wrong one")
	}
	if len(sent) > 0 {
		why = append(why, "strangers may send to "+strings.Join(sent, ", "))
	}
	if len(wide) > 0 {
		why = append(why, "nothing stays at the gate with "+strings.Join(wide, ", ")+", which are for addresses everywhere")
	}
	if len(why) == 0 {
		return ""
	}
	return fmt.Sprintf("any_path: the application's answer to a password that is not known as right leaves the gate only at addresses that are open before a login (%s); %s; "+
		"see that the application answers no password with data there, or name those addresses more narrowly", strings.Join(append([]string{"login_page " + h.LoginPage}, open...), ", "), strings.Join(why, "; "))
}
