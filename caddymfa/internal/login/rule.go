// Package login knows logins: whether a request is one, who it is for, and
// whether the application accepted it.
package login

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/match"
)

// Config is one login block.
type Config struct {
	// Name tells rules apart in logs and lets a Caddyfile replace a preset's.
	Name string `json:"name,omitempty"`
	// Methods of a login request. Default POST. GET must be named.
	Methods []string `json:"methods,omitempty"`
	// Paths are path matchers; AnyPath matches all, by the fields alone.
	Paths   []string `json:"paths,omitempty"`
	AnyPath bool     `json:"any_path,omitempty"`
	// Fields must all be in the request, in query or body.
	Fields []string `json:"fields,omitempty"`
	// JSON must be in a JSON body.
	JSON *match.Pair `json:"json,omitempty"`
	// Basic makes HTTP Basic the first factor: the path of a harmless GET that
	// needs it. {user} in it is the name, escaped. Without Paths the rule is for all.
	Basic string `json:"basic,omitempty"`
	// BasicStatus are further statuses of the probe that mean a right password,
	// where nobody is let in without one: 403 where each user has a page of his
	// own and is kept from the others'.
	BasicStatus []int `json:"basic_status,omitempty"`
	// User says where the user's name is.
	User *User `json:"user,omitempty"`
	// Password names the field of the password.
	Password *Field `json:"password,omitempty"`
	// Fill says what else a login needs that the API makes itself.
	Fill *Fill `json:"fill,omitempty"`
	// Identity asks the application who is logged in. It is the judge.
	Identity *Identity `json:"identity,omitempty"`
	// Success and Failure are lines of conditions on the answer; Failure wins.
	Success [][]match.Condition `json:"success,omitempty"`
	Failure [][]match.Condition `json:"failure,omitempty"`
	// Hold is for applications that forget a login quickly: "follow" asks for the
	// page HoldPath at once in place of the withheld redirect and keeps that
	// answer, a duration caps the life of the challenge (30s to 10m).
	Hold string `json:"hold,omitempty"`
	// HoldPath is the page that "follow" asks for. The redirect itself may lead to
	// where the client wants it to, and would act as the user before the code.
	HoldPath string `json:"hold_path,omitempty"`
}

// HoldFollow is the word for a withheld redirect that is followed at once.
const HoldFollow = "follow"

// ReadsJSON reports whether the login is one that pages make by script.
func (c Config) ReadsJSON() bool {
	return c.JSON != nil || c.User != nil && c.User.Source == JSON || c.Password != nil && c.Password.Source == JSON
}

// Source is where a name is read.
type Source string

// The sources. Those of the answer, and a constant, are the application's or
// the operator's word; those of the request are the client's.
const (
	Form         Source = "form"
	Query        Source = "query"
	JSON         Source = "json"
	AnswerCookie Source = "answer_cookie"
	AnswerHeader Source = "answer_header"
	AnswerJSON   Source = "answer_json"
	Constant     Source = "constant"
	// FromBasic is the name in the credential of HTTP Basic.
	FromBasic Source = "basic"
)

func (s Source) ofRequest() bool { return s == Form || s == Query || s == JSON || s == FromBasic }

// User says where the user's name is.
type User struct {
	Source Source `json:"source"`
	// Name of the field, cookie or header, the dotted path in JSON, or the
	// constant itself.
	Name string `json:"name"`
	// Pattern cuts the name out of the value: the first group, or the match.
	Pattern string `json:"pattern,omitempty"`
}

// Field is a form field or a dotted path of a JSON body.
type Field struct {
	Source Source `json:"source"`
	Name   string `json:"name"`
}

// Identity is a page of the application that names the user who is logged in.
type Identity struct {
	// Path is asked for by GET, with the cookies of the login; it may have a query.
	// {user} in it is the name that the request gives, escaped.
	Path string `json:"path"`
	// Pattern is a regular expression with one group: the user's name in the page.
	Pattern string `json:"pattern,omitempty"`
	// JSON is the dotted path of the name, instead of Pattern.
	JSON string `json:"json,omitempty"`
}

// Rule is a compiled Config. It is safe for concurrent use.
type Rule struct {
	Config
	paths            match.Paths
	user, identity   *regexp.Regexp
	success, failure match.Lines
	hold             time.Duration
}

// Compile checks a rule. What it refuses would let wrong passwords through the
// judge, or could never match.
func (c Config) Compile() (*Rule, error) {
	r := &Rule{Config: c}
	if c.Basic != "" {
		return r, r.compileBasic()
	}
	if len(r.Methods) == 0 {
		r.Methods = []string{"POST"}
	}
	for _, m := range r.Methods {
		if m != strings.ToUpper(m) {
			return nil, fmt.Errorf("method %q: write it in capitals", m)
		}
	}
	var err error
	switch {
	case len(c.Paths) == 0 && !c.AnyPath:
		return nil, errors.New("which requests are logins? Name a path, or any_path together with fields")
	case len(c.Paths) > 0 && c.AnyPath:
		return nil, errors.New("path and any_path together: any_path alone covers every path")
	case c.AnyPath && len(c.Fields) == 0 && c.JSON == nil:
		return nil, errors.New("any_path needs fields or json, or every request would be a login")
	case c.JSON != nil && len(c.Fields) > 0:
		return nil, errors.New("fields and json together: a body is either a form or JSON")
	}
	if r.paths, err = match.ParsePaths(c.Paths); err != nil {
		return nil, err
	}
	if err := r.compileUser(); err != nil {
		return nil, err
	}
	if err := r.compileFill(); err != nil {
		return nil, err
	}
	if err := r.compileIdentity(); err != nil {
		return nil, err
	}
	if r.success, err = match.Compile(c.Success); err != nil {
		return nil, fmt.Errorf("success: %w", err)
	}
	if r.failure, err = match.Compile(c.Failure); err != nil {
		return nil, fmt.Errorf("failure: %w", err)
	}
	if err := r.compileHold(); err != nil {
		return nil, err
	}
	return r, r.sound()
}

// compileBasic checks a rule for HTTP Basic. The request itself is never
// forwarded to find out, so what is about forms and their answers says nothing.
func (r *Rule) compileBasic() (err error) {
	c := r.Config
	switch {
	case !intake.Local(InPath(c.Basic, "x")) || !filledWhole(c.Basic):
		return fmt.Errorf("basic: the probe %q must be a path of the application, with one slash before it; {user} may stand in it", c.Basic)
	case len(c.Methods) > 0 || len(c.Fields) > 0 || c.JSON != nil || c.Password != nil || c.Fill != nil || len(c.Success) > 0 || len(c.Failure) > 0 || c.Hold != "":
		return errors.New("basic together with method, fields, json, password, fill, success, failure or hold: they would be without effect, because a login by HTTP Basic has no form and no answer of its own; write another login block for a form")
	case slices.ContainsFunc(c.BasicStatus, func(s int) bool { return s < 200 || s > 499 || s == http.StatusUnauthorized }):
		return errors.New("basic: only statuses from 200 to 499 but 401 can mean a right password")
	case c.User != nil && c.User.Source != FromBasic && c.User.Source != Constant:
		return fmt.Errorf("basic: user %s says nothing: use basic or constant, or identity", c.User.Source)
	}
	r.AnyPath = len(c.Paths) == 0
	if r.paths, err = match.ParsePaths(c.Paths); err != nil {
		return err
	}
	if err := r.compileUser(); err != nil {
		return err
	}
	return r.compileIdentity()
}

func (r *Rule) compileFill() error {
	f := r.Config.Fill
	switch {
	case f == nil:
		return nil
	case r.Password == nil:
		return errors.New("fill without password: the API cannot make a login whose password it has no field for")
	case f.Path != "" && (!strings.HasPrefix(f.Path, "/") || strings.ContainsAny(f.Path, "*?#%") || !r.AnyPath && !r.paths.Match(strings.ToLower(f.Path))):
		return fmt.Errorf("fill: %s is no path of this login", f.Path)
	}
	return nil
}

func (r *Rule) compileHold() (err error) {
	follows := r.Config.Hold == HoldFollow
	switch {
	case follows != (r.HoldPath != ""), follows && !intake.Local(r.HoldPath):
		return errors.New("hold follow needs the path of the page that people come to after the login, as in hold follow /home: the redirect itself may lead to where the client wants it to, and would be asked for as the user before the code")
	case r.Config.Hold == "" || follows:
		return nil
	}
	r.hold, err = time.ParseDuration(r.Config.Hold)
	if err != nil || r.hold < 30*time.Second || r.hold > 10*time.Minute {
		return fmt.Errorf("hold %q: write follow and a path, or a duration from 30s to 10m", r.Config.Hold)
	}
	return nil
}

// Follows reports whether a withheld redirect is followed at once.
func (r *Rule) Follows() bool { return r.Config.Hold == HoldFollow }

// HoldFor caps the life of a challenge; 0 for no cap of the rule's.
func (r *Rule) HoldFor() time.Duration { return r.hold }

func (r *Rule) compileUser() (err error) {
	u := r.User
	if u == nil {
		return nil
	}
	switch u.Source {
	case Form, Query, JSON, AnswerHeader, AnswerJSON, Constant:
	case FromBasic:
		if r.Config.Basic == "" {
			return errors.New("user basic: only a login with basic has such a name")
		}
		return nil
	case AnswerCookie:
		if _, err := regexp.Compile(u.Name); err != nil {
			return fmt.Errorf("user: cookie name: %w", err)
		}
	default:
		return fmt.Errorf("user: %q is no source: use form, query, json, answer_cookie, answer_header, answer_json or constant", u.Source)
	}
	if u.Name == "" {
		return errors.New("user: the name is missing")
	}
	if u.Pattern == "" {
		return nil
	}
	if r.user, err = regexp.Compile(u.Pattern); err != nil {
		return fmt.Errorf("user: %w", err)
	}
	if r.user.NumSubexp() > 1 {
		return errors.New("user: the regular expression has several groups: one group is the name, use (?:…) for the others")
	}
	return nil
}

func (r *Rule) compileIdentity() (err error) {
	id := r.Identity
	if id == nil {
		return nil
	}
	switch {
	case !intake.Local(InPath(id.Path, "x")) || !filledWhole(id.Path):
		return fmt.Errorf("identity: path %q must be one of the application, with one slash before it; {user} may stand in it", id.Path)
	case (id.Pattern == "") == (id.JSON == ""):
		return errors.New("identity: give a regular expression with one group, or json and a path")
	case id.JSON != "":
		return nil
	}
	if r.identity, err = regexp.Compile(id.Pattern); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if r.identity.NumSubexp() != 1 {
		return fmt.Errorf("identity: the regular expression has %d groups: exactly one must hold the user's name", r.identity.NumSubexp())
	}
	return nil
}

// sound refuses success lines that an application's answer to a wrong password
// can fulfil as well (design, section 4).
func (r *Rule) sound() error {
	if r.Identity != nil {
		return nil
	}
	if len(r.Success) == 0 {
		return errors.New("nothing tells a right password from a wrong one: give identity, or success with a cookie, json, header or body condition")
	}
	for _, line := range r.Success {
		ok := false
		for _, c := range line {
			ok = ok || c.Sound()
		}
		if !ok {
			return errors.New("this success line also holds for wrong passwords in many applications, which answer them with the same status, redirect or changed cookies: " +
				"add a cookie, json, header or body condition or a next with a body to it, or give identity; otherwise texts would go out for wrong passwords")
		}
	}
	return nil
}

// userWord stands for the user's name in the path of a page.
const userWord = "{user}"

// InPath is the path of a page with a user's name in the place of {user}.
func InPath(path, user string) string {
	name := url.PathEscape(user)
	if strings.Trim(name, ".") == "" {
		name = strings.ReplaceAll(name, ".", "%2E") // dots alone lead to another page
	}
	return strings.ReplaceAll(path, userWord, name)
}

// filledWhole reports whether nothing in braces is left that nobody would fill in.
func filledWhole(path string) bool { return !strings.ContainsAny(InPath(path, "x"), "{}") }

// Names reports whether the user is named by the application or the operator,
// not by the request alone.
func (r *Rule) Names() bool {
	return r.Identity != nil || r.User != nil && !r.User.Source.ofRequest()
}
