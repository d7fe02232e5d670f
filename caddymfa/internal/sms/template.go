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
)

// fallback is the language for people whose language nobody has written.
const fallback = "en"

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
	texts   map[string]string
	langs   []string // in the matcher's order, fallback first
	matcher language.Matcher
}

// NewTemplates takes texts by language (BCP 47), which stand in place of, or
// beside, the built-in ones for en, de, fr and es. A text holds {code} once, may
// hold {app} and {minutes}, and is one line: the gate adds the last line itself.
func NewTemplates(custom map[string]string) (*Templates, error) {
	texts := maps.Clone(builtin)
	named := map[string]string{} // canonical language to the way it was written
	for _, lang := range slices.Sorted(maps.Keys(custom)) {
		tag, err := language.Parse(lang)
		if err != nil || tag == language.Und {
			return nil, fmt.Errorf("template language %q: write a language tag such as en or pt-BR", lang)
		}
		if other, twice := named[tag.String()]; twice {
			return nil, fmt.Errorf("template languages %q and %q are the same: remove one, it would never be sent", other, lang)
		}
		if err := checkTemplate(custom[lang]); err != nil {
			return nil, fmt.Errorf("template %s: %w", lang, err)
		}
		named[tag.String()] = lang
		texts[tag.String()] = custom[lang]
	}
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(texts)), func(lang string) bool { return lang == fallback })
	t := &Templates{texts: texts, langs: append([]string{fallback}, others...)}
	tags := make([]language.Tag, 0, len(t.langs))
	for _, lang := range t.langs {
		tags = append(tags, language.Make(lang))
	}
	t.matcher = language.NewMatcher(tags)
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

// maxAccept is how much of an Accept-Language value is read, in bytes; browsers
// send fewer than 100.
const maxAccept = 512

// Match chooses a language for an Accept-Language value: the closest of those
// that have a text, English when none is near or the value cannot be read.
func (t *Templates) Match(accept string) string {
	if len(accept) > maxAccept {
		accept = accept[:max(0, strings.LastIndexByte(accept[:maxAccept], ','))]
	}
	tags, _, err := language.ParseAcceptLanguage(accept)
	if err != nil || len(tags) == 0 {
		return fallback
	}
	_, i, _ := t.matcher.Match(tags...)
	return t.langs[i]
}

// Render writes the text of a code in a language that Match has chosen. After a
// blank line its last line is "@host #code", or missing when Host is empty, an
// address or no host name.
func (t *Templates) Render(lang string, v Vars) string {
	text, ok := t.texts[lang]
	if !ok {
		text = t.texts[fallback]
	}
	return compose(text, v)
}

// Notice writes a text that tells an owner what has happened. It holds no code.
func (t *Templates) Notice(what Notice, lang string, v Vars) string {
	base, _ := language.Make(lang).Base()
	text, ok := notices[what][base.String()]
	if !ok {
		text = notices[what][fallback]
	}
	return fill(text, v)
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
