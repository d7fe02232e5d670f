package match

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
)

// Answer is the application's answer as conditions see it.
type Answer struct {
	Status int
	Header http.Header
	// Body is nil where only the head is known.
	Body []byte
	// Sets are the cookies of the answer; Jar is what the session had before it.
	Sets []jar.Set
	Jar  *jar.Jar
	// Next asks for a page with the new cookies. Nil where that is not possible.
	Next func(ctx context.Context, target string) (*Answer, error)
	// Trap: the question is whether somebody was logged in who was not before.
	// Then a cookie that the session already had is none.
	Trap bool
}

// Condition is the configuration of one condition on an answer. Exactly one of
// its fields besides Not is set.
type Condition struct {
	// Not turns the condition round.
	Not bool `json:"not,omitempty"`
	// Status: the answer has one of these; 2 to 5 are classes, such as all of 2xx.
	Status []int `json:"status,omitempty"`
	// Location: the redirect's target matches the regular expression.
	Location string `json:"location,omitempty"`
	// Cookie: the answer sets a cookie whose name, and value if given, match
	// the regular expressions; a deleted or blank one does not count.
	Cookie *Pair `json:"cookie,omitempty"`
	// CookieChanged: the answer gives a cookie whose name matches another value
	// than the session had.
	CookieChanged string `json:"cookie_changed,omitempty"`
	// CookieDeleted: the answer takes a cookie whose name matches away.
	CookieDeleted string `json:"cookie_deleted,omitempty"`
	// Header: the header field of this name has a value that matches.
	Header *Pair `json:"header,omitempty"`
	// Body: the body matches.
	Body string `json:"body,omitempty"`
	// JSON: the body is JSON with a value at this dotted path; a value, if
	// given, is compared as text, else anything but null, false and "" will do.
	JSON *Pair `json:"json,omitempty"`
	// Next: the answer is a redirect, and this page, asked for with the new
	// cookies, has one of these states, and a body that matches if given.
	Next *Following `json:"next,omitempty"`
}

// Pair is a name and what its value must be.
type Pair struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

// Following is what the next answer must be.
type Following struct {
	// Path is asked for, by GET; {user} in it is the name that the request gives. It
	// is the operator's: a redirect's own target may be the client's choice (attack
	// K5).
	Path   string `json:"path"`
	Status []int  `json:"status"`
	Body   string `json:"body,omitempty"`
}

// String is the condition much as a Caddyfile has it.
func (c Condition) String() string {
	words := ""
	pair := func(kind string, p *Pair) { words = strings.TrimSpace(kind + " " + p.Name + " " + p.Value) }
	switch {
	case c.Status != nil:
		words = "status " + codes(c.Status)
	case c.Location != "":
		words = "location " + c.Location
	case c.Cookie != nil:
		pair("cookie", c.Cookie)
	case c.CookieChanged != "":
		words = "cookie_changed " + c.CookieChanged
	case c.CookieDeleted != "":
		words = "cookie_deleted " + c.CookieDeleted
	case c.Header != nil:
		pair("header", c.Header)
	case c.Body != "":
		words = "body " + c.Body
	case c.JSON != nil:
		pair("json", c.JSON)
	case c.Next != nil:
		words = strings.TrimSpace("next " + c.Next.Path + " status " + codes(c.Next.Status))
		if c.Next.Body != "" {
			words += " body " + c.Next.Body
		}
	}
	if c.Not {
		words = "not " + words
	}
	return words
}

// codes are statuses as a Caddyfile has them.
func codes(list []int) string {
	var words []string
	for _, n := range list {
		if n < 10 {
			words = append(words, fmt.Sprintf("%dxx", n))
		} else {
			words = append(words, fmt.Sprint(n))
		}
	}
	return strings.Join(words, " ")
}

// HeadOnly reports whether the condition can be judged before the body.
func (c Condition) HeadOnly() bool { return c.Body == "" && c.JSON == nil && c.Next == nil }

// Sound reports whether the condition, in a success line, proves a login by
// itself: applications answer wrong passwords with the same status, the same
// redirect and changed cookies, too (attack J9).
func (c Condition) Sound() bool {
	return !c.Not && (c.Cookie != nil || c.JSON != nil || c.Header != nil || c.Body != "" || c.Next != nil && c.Next.Body != "")
}

// test is a compiled condition.
type test struct {
	Condition
	name, value *regexp.Regexp
}

// Lines are alternatives, each of several conditions that must all hold.
type Lines [][]test

// Compile checks and compiles lines of conditions.
func Compile(lines [][]Condition) (Lines, error) {
	var out Lines
	for _, line := range lines {
		if len(line) == 0 {
			return nil, errors.New("a line without a condition holds always: name one")
		}
		var tests []test
		for _, c := range line {
			t, err := c.compile()
			if err != nil {
				return nil, err
			}
			tests = append(tests, t)
		}
		out = append(out, tests)
	}
	return out, nil
}

func (c Condition) compile() (t test, err error) {
	t.Condition = c
	kinds := 0
	re := func(kind, expr string) *regexp.Regexp {
		r, e := regexp.Compile(expr)
		if e != nil && err == nil {
			err = fmt.Errorf("%s: %w (Go's RE2 syntax: no look-ahead, no back-references)", kind, e)
		}
		return r
	}
	states := func(kind string, codes []int) {
		for _, s := range codes {
			if (s < 200 || s > 599) && (s < 2 || s > 5) && err == nil {
				err = fmt.Errorf("%s: %d is no final HTTP status", kind, s)
			}
		}
	}
	if c.Status != nil {
		kinds++
		states("status", c.Status)
	}
	if c.Location != "" {
		kinds++
		t.value = re("location", c.Location)
	}
	if c.Cookie != nil {
		kinds++
		t.name, t.value = re("cookie name", c.Cookie.Name), re("cookie value", c.Cookie.Value)
	}
	if c.CookieChanged != "" {
		kinds++
		t.name = re("cookie_changed", c.CookieChanged)
	}
	if c.CookieDeleted != "" {
		kinds++
		t.name = re("cookie_deleted", c.CookieDeleted)
	}
	if c.Header != nil {
		kinds++
		t.value = re("header", c.Header.Value)
		if strings.EqualFold(c.Header.Name, "Set-Cookie") && err == nil {
			err = errors.New("header Set-Cookie: use the condition cookie, which knows deleted cookies")
		}
	}
	if c.Body != "" {
		kinds++
		t.value = re("body", c.Body)
	}
	if c.JSON != nil {
		kinds++
	}
	if c.Next != nil {
		kinds++
		if path := strings.ReplaceAll(c.Next.Path, "{user}", "x"); (!intake.Local(path) || strings.ContainsAny(path, "{}")) && err == nil {
			err = errors.New("next needs a path of the application, which is asked for with the new cookies, as in next /home status 200: the redirect itself may lead to where the client wants it to")
		}
		states("next status", c.Next.Status)
		t.value = re("next body", c.Next.Body)
	}
	if kinds != 1 && err == nil {
		err = fmt.Errorf("a condition needs exactly one kind, this one has %d", kinds)
	}
	return t, err
}

// Any reports whether one of the lines holds. An error means that nobody can
// say, and is no verdict.
func (l Lines) Any(ctx context.Context, a *Answer) (bool, error) {
	for _, line := range l {
		all := true
		for _, t := range line {
			ok, err := t.holds(ctx, a)
			if err != nil {
				return false, err
			}
			if ok == t.Not {
				all = false
				break
			}
		}
		if all {
			return true, nil
		}
	}
	return false, nil
}

func (t *test) holds(ctx context.Context, a *Answer) (bool, error) {
	switch {
	case t.Status != nil:
		return among(t.Status, a.Status), nil
	case t.Location != "":
		loc := a.Header.Get("Location")
		return loc != "" && t.value.MatchString(loc), nil
	case t.Cookie != nil:
		return slices.ContainsFunc(a.Sets, func(s jar.Set) bool {
			return !s.Delete && !s.Blank && t.name.MatchString(s.Cookie.Name) && t.value.MatchString(s.Cookie.Value) &&
				!(a.Trap && a.Jar.Has(s.Cookie.Name))
		}), nil
	case t.CookieChanged != "":
		return slices.ContainsFunc(a.Sets, func(s jar.Set) bool {
			return !s.Delete && !s.Blank && t.name.MatchString(s.Cookie.Name) && !(a.Jar != nil && a.Jar.Holds(s.Cookie))
		}), nil
	case t.CookieDeleted != "":
		return slices.ContainsFunc(a.Sets, func(s jar.Set) bool { return s.Blank && t.name.MatchString(s.Cookie.Name) }), nil
	case t.Header != nil:
		return slices.ContainsFunc(a.Header.Values(t.Header.Name), t.value.MatchString), nil
	case t.Body != "":
		return t.value.Match(a.Body), nil
	case t.JSON != nil:
		if t.JSON.Value == "" {
			v, ok := jsonAt(a.Body, t.JSON.Name)
			return ok && v != nil && v != false && v != "", nil
		}
		v, ok := JSONText(a.Body, t.JSON.Name)
		return ok && v == t.JSON.Value, nil
	case t.Next != nil:
		if a.Status < 300 || a.Status > 399 || a.Header.Get("Location") == "" {
			return false, nil
		}
		if a.Next == nil {
			return false, errors.New("next: the page cannot be asked for")
		}
		n, err := a.Next(ctx, t.Next.Path)
		if err != nil {
			return false, fmt.Errorf("next: %w", err)
		}
		return among(t.Next.Status, n.Status) && t.value.Match(n.Body), nil
	}
	return false, errors.New("empty condition")
}

// among reports whether a status is one of these, or of a class of these.
func among(codes []int, status int) bool {
	return slices.Contains(codes, status) || slices.Contains(codes, status/100)
}

// JSONText reads the value at a dotted path of a JSON text: strings as they
// are, numbers and booleans as text. null, objects and arrays have none.
func JSONText(body []byte, path string) (string, bool) {
	v, ok := jsonAt(body, path)
	if !ok {
		return "", false
	}
	return intake.Text(v)
}

func jsonAt(body []byte, path string) (any, bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.More() {
		return nil, false
	}
	for step := range strings.SplitSeq(path, ".") {
		next, ok := intake.Step(v, step)
		if !ok {
			return nil, false
		}
		v = next
	}
	return v, true
}
