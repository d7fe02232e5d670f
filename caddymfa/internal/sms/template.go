package sms

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/language"

	"github.com/caddymfa/caddymfa/caddymfa/internal/lang"
)

// Vars are what a text names.
type Vars struct {
	// Code is the one-time code, 4 to 10 digits.
	Code string
	// App is the application's name; it is cleaned by [Name]. When nothing of it
	// is left, Host takes its place.
	App string
	// Minutes is how long the code is valid; less than 1 is written as 1.
	Minutes int
	// Host is the site that the code is bound to, from the configuration and
	// never from a request (attack D6). A port is dropped.
	Host string
}

// Templates are the wordings of one configuration, by language.
type Templates struct {
	texts  map[string]string
	custom []string // the languages that are not built in, or not as they are
	langs  *lang.Matcher
}

// NewTemplates takes texts by language (BCP 47), which stand in place of, or beside,
// the built-in ones: who reads a language that is not among them gets the built-in
// text of that language. A text holds {code} once, may
// hold {app} and {minutes}, and is one line: the gate adds the last line itself.
func NewTemplates(custom map[string]string) (*Templates, error) {
	texts := maps.Clone(builtIn().codes)
	named := map[string]string{} // canonical language to the way it was written
	t := &Templates{texts: texts}
	for _, written := range slices.Sorted(maps.Keys(custom)) {
		tag, err := language.Parse(written)
		if err != nil || tag == language.Und {
			did := "write a language tag such as en or pt-BR"
			if near := lang.Near(written); near != "" {
				did = "did you mean " + near + "?"
			}
			return nil, fmt.Errorf("template language %q is no language tag (BCP 47): %s", written, did)
		}
		if other, twice := named[tag.String()]; twice {
			return nil, fmt.Errorf("template languages %q and %q are the same: remove one, it would never be sent", other, written)
		}
		if err := checkTemplate(custom[written]); err != nil {
			return nil, fmt.Errorf("template %s: %w", written, err)
		}
		named[tag.String()] = written
		texts[tag.String()] = custom[written]
		t.custom = append(t.custom, tag.String())
	}
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(texts)), func(l string) bool { return l == lang.Default })
	t.langs = lang.NewMatcher(append([]string{lang.Default}, others...))
	return t, nil
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}|[{}]`)

func checkTemplate(text string) error {
	codes := 0
	for _, p := range placeholder.FindAllString(text, -1) {
		switch p {
		case "{code}":
			codes++
		case "{app}", "{minutes}":
		case "{", "}":
			return fmt.Errorf("a brace %q stands alone: remove it, or complete {code}, {app} or {minutes}", p)
		default:
			return fmt.Errorf("%q is not known: use {code}, {app} and {minutes}, and no other braces", p)
		}
	}
	switch {
	case codes == 0:
		return errors.New("{code} is missing: put it in, best at the beginning, where a locked screen shows it")
	case codes > 1:
		return fmt.Errorf("{code} stands there %d times: leave it in once", codes)
	case strings.ContainsAny(text, "\r\n\v\f\u0085\u2028\u2029"):
		return errors.New("there is a line break: write one line, the gate adds the last line itself")
	case strings.ContainsFunc(text, func(c rune) bool { return unicode.In(c, unicode.Cc, unicode.Cf) }):
		return errors.New("there is an invisible control character: remove it")
	case strings.ContainsAny(text, "@#＠＃﹫﹟"):
		return errors.New("there is a sign @ or #: remove it, phones read these as the line that binds the code to a site")
	}
	return nil
}

// Match chooses a language for an Accept-Language value: the closest of those
// that have a text, English when none is near or the value cannot be read.
func (t *Templates) Match(accept string) string { return t.langs.Match(accept) }

// Render writes the text of a code in a language that Match has chosen. After a
// blank line its last line is "@host #code", or missing when Host is empty, an
// address or no host name.
func (t *Templates) Render(l string, v Vars) string {
	text, ok := t.texts[l]
	if !ok {
		text = t.texts[lang.Default]
	}
	return compose(text, v)
}

// Notice writes a text that tells an owner what has happened, in the built-in
// language that is the closest. It holds no code.
func (t *Templates) Notice(what Notice, accept string, v Vars) string {
	w := builtIn()
	return fill(w.notices[what][w.langs.Match(accept)], v)
}

func compose(template string, v Vars) string {
	text := fill(template, v)
	if last := originLine(v.Host, v.Code); last != "" {
		text += "\n\n" + last
	}
	return text
}

// fill puts the values in, all at once: a value is never read as a template.
func fill(template string, v Vars) string {
	app := cmp.Or(Name(v.App), Name(v.Host))
	text := strings.NewReplacer("{code}", v.Code, "{app}", app, "{minutes}", strconv.Itoa(max(1, v.Minutes))).Replace(template)
	if app == "" { // the blanks round a name that is not there
		text = strings.Join(strings.Fields(text), " ")
	}
	return text
}
