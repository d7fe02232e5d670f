package caddymfa

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

func (p *parser) login(d *caddyfile.Dispenser) error {
	c := login.Config{}
	place := p.place(d)
	if d.NextArg() {
		c.Name = d.Val()
		if d.NextArg() {
			return d.ArgErr()
		}
	}
	seen := map[string]bool{}
	for nest := d.Nesting(); d.NextBlock(nest); {
		word := d.Val()
		if seen[word] && word != "success" && word != "failure" {
			return d.Errf("login: %s is there twice: the first would be lost", word)
		}
		seen[word] = true
		if err := p.loginWord(d, &c, word); err != nil {
			return err
		}
	}
	if _, err := c.Compile(); err != nil {
		return d.WrapErr(fmt.Errorf("login %s: %w", cmp.Or(c.Name, "block"), err))
	}
	if i := slices.IndexFunc(p.h.Logins, func(o login.Config) bool { return c.Name != "" && o.Name == c.Name }); i >= 0 {
		if !p.presetLogin(c.Name) {
			return d.Errf("login %s is there twice: the first would be lost", c.Name)
		}
		p.h.Logins[i] = c
		p.note("login "+c.Name, place)
		return nil
	}
	p.note("login "+nameOf(c, len(p.h.Logins)), place)
	p.h.Logins = append(p.h.Logins, c)
	return nil
}

// presetLogin reports whether a login is a preset's, which may be replaced once.
func (p *parser) presetLogin(name string) bool {
	key := "preset login " + name
	if !p.seen[key] {
		return false
	}
	delete(p.seen, key)
	return true
}

func (p *parser) loginWord(d *caddyfile.Dispenser, c *login.Config, word string) error {
	switch word {
	case "method":
		return many(d, &c.Methods)
	case "path":
		if err := many(d, &c.Paths); err != nil {
			return err
		}
		for i := range c.Paths {
			c.Paths[i] = p.under(c.Paths[i])
		}
		return nil
	case "any_path":
		c.AnyPath = true
		if d.NextArg() {
			return d.ArgErr()
		}
		return nil
	case "fields":
		return many(d, &c.Fields)
	case "json":
		c.JSON = &match.Pair{}
		if !d.Args(&c.JSON.Name) {
			return d.ArgErr()
		}
		if d.NextArg() {
			c.JSON.Value = d.Val()
		}
		return none(d)
	case "user":
		return user(d, c)
	case "password":
		c.Password = &login.Field{}
		var source string
		if !d.AllArgs(&source, &c.Password.Name) || source != "form" && source != "json" {
			return d.Err("password: write form or json, and a name")
		}
		c.Password.Source = login.Source(source)
		return nil
	case "fill":
		args := d.RemainingArgs()
		c.Fill = &login.Fill{}
		if len(args) > 0 && strings.HasPrefix(args[0], "/") {
			c.Fill.Path, args = p.under(args[0]), args[1:]
		}
		if len(args)%2 != 0 || c.Fill.Path == "" && len(args) == 0 {
			return d.Err("fill: write a path, and names with their values; or one of the two")
		}
		for i := 0; i < len(args); i += 2 {
			c.Fill.Fields = append(c.Fill.Fields, match.Pair{Name: args[i], Value: args[i+1]})
		}
		return nil
	case "identity":
		c.Identity = &login.Identity{}
		args := d.RemainingArgs()
		switch {
		case len(args) == 2:
			c.Identity.Path, c.Identity.Pattern = p.under(args[0]), args[1]
		case len(args) == 3 && args[1] == "json":
			c.Identity.Path, c.Identity.JSON = p.under(args[0]), args[2]
		default:
			return d.Err("identity: write a path and a regular expression with one group, or a path, json and a dotted path")
		}
		return nil
	case "success":
		return p.lines(d, &c.Success)
	case "failure":
		return p.lines(d, &c.Failure)
	case "basic":
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.ArgErr()
		}
		c.Basic = p.under(args[0])
		for _, a := range args[1:] {
			n, err := strconv.Atoi(a)
			if err != nil {
				return d.Errf("basic: %q is no status such as 403: behind the path stand further statuses that mean a right password", a)
			}
			c.BasicStatus = append(c.BasicStatus, n)
		}
		return nil
	case "hold":
		if !d.Args(&c.Hold) {
			return d.ArgErr()
		}
		if c.Hold == login.HoldFollow && d.NextArg() {
			c.HoldPath = p.under(d.Val())
		}
		return none(d)
	}
	return d.Errf("%q is no setting of login: use method, path, any_path, fields, json, basic, user, password, fill, identity, success, failure or hold", word)
}

func user(d *caddyfile.Dispenser, c *login.Config) error {
	var source string
	c.User = &login.User{}
	if d.CountRemainingArgs() == 1 && d.NextArg() && d.Val() == string(login.FromBasic) {
		c.User.Source, c.User.Name = login.FromBasic, "user"
		return nil
	}
	if !d.Args(&source, &c.User.Name) {
		return d.Err("user: write where the name is (form, query, json, answer_cookie, answer_header, answer_json, constant), and its name; or basic")
	}
	c.User.Source = login.Source(source)
	if d.NextArg() {
		c.User.Pattern = d.Val()
	}
	return none(d)
}

// isCondition reports whether a word begins a condition.
func isCondition(s string) bool {
	switch s {
	case "not", "status", "location", "cookie", "cookie_changed", "cookie_deleted", "header", "body", "json", "next":
		return true
	}
	return false
}

// lines adds a line of conditions.
func (p *parser) lines(d *caddyfile.Dispenser, to *[][]match.Condition) error {
	line, err := p.conditions(d, d.RemainingArgsAsTokens())
	if err != nil {
		return err
	}
	if _, err := match.Compile([][]match.Condition{line}); err != nil {
		return d.WrapErr(err)
	}
	*to = append(*to, line)
	return nil
}

// conditions reads conditions: an unquoted condition word begins a new one.
func (p *parser) conditions(d *caddyfile.Dispenser, tokens []caddyfile.Token) ([]match.Condition, error) {
	var out []match.Condition
	for len(tokens) > 0 {
		var c match.Condition
		if tokens[0].Text == "not" && !tokens[0].Quoted() {
			c.Not, tokens = true, tokens[1:]
		}
		if len(tokens) == 0 || tokens[0].Quoted() || !isCondition(tokens[0].Text) {
			word := "the end of the line"
			if len(tokens) > 0 {
				word = strconv.Quote(tokens[0].Text)
			}
			return nil, d.Errf("%s is no condition: use status, location, cookie, cookie_changed, cookie_deleted, header, body, json or next", word)
		}
		kind := tokens[0].Text
		tokens = tokens[1:]
		n := 0
		for n < len(tokens) && (tokens[n].Quoted() || !isCondition(tokens[n].Text) || kind == "next" && (tokens[n].Text == "status" || tokens[n].Text == "body")) {
			n++
		}
		var args []string
		for _, t := range tokens[:n] {
			args = append(args, t.Text)
		}
		tokens = tokens[n:]
		if err := condition(&c, kind, args); err != nil {
			return nil, d.WrapErr(err)
		}
		if c.Next != nil {
			c.Next.Path = p.under(c.Next.Path)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, d.Err("name a condition: status, location, cookie, cookie_changed, cookie_deleted, header, body, json or next")
	}
	return out, nil
}

func condition(c *match.Condition, kind string, args []string) (err error) {
	pair := func(least, most int) *match.Pair {
		if len(args) < least || len(args) > most {
			err = fmt.Errorf("%s has %d values, it takes %d to %d; a value that is a word for conditions stands in quotes, as in json \"status\" ok", kind, len(args), least, most)
			return nil
		}
		p := &match.Pair{Name: args[0]}
		if len(args) > 1 {
			p.Value = args[1]
		}
		return p
	}
	single := func() string {
		if p := pair(1, 1); p != nil {
			return p.Name
		}
		return ""
	}
	switch kind {
	case "status":
		c.Status, err = statuses(args)
	case "location":
		c.Location = single()
	case "cookie":
		c.Cookie = pair(1, 2)
	case "cookie_changed":
		c.CookieChanged = single()
	case "cookie_deleted":
		c.CookieDeleted = single()
	case "header":
		c.Header = pair(2, 2)
	case "body":
		c.Body = single()
	case "json":
		c.JSON = pair(1, 2)
	case "next":
		c.Next, err = following(args)
	}
	return err
}

func statuses(args []string) ([]int, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("status: name one or more numbers")
	}
	var out []int
	for _, a := range args {
		digits := a
		if len(a) == 3 && strings.HasSuffix(a, "xx") { // a class, as in Caddy's own matcher
			digits = a[:1]
		}
		n, err := strconv.Atoi(digits)
		if err != nil || n < 100 && digits == a {
			return nil, fmt.Errorf("status %q is no number such as 302 and no class such as 3xx", a)
		}
		out = append(out, n)
	}
	return out, nil
}

func following(args []string) (*match.Following, error) {
	f := &match.Following{}
	if len(args) > 0 && strings.HasPrefix(args[0], "/") {
		f.Path, args = args[0], args[1:]
	}
	if len(args) < 2 || args[0] != "status" {
		return nil, fmt.Errorf("next: write the path of a page, status and a number, and body and a regular expression after it")
	}
	var err error
	args = args[1:]
	if i := slices.Index(args, "body"); i >= 0 {
		if i != len(args)-2 {
			return nil, fmt.Errorf("next: body takes one regular expression")
		}
		f.Body, args = args[i+1], args[:i]
	}
	f.Status, err = statuses(args)
	return f, err
}
