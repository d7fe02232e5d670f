package webhook

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/sms"
)

// values are what the placeholders of a body stand for.
var values = map[string]func(sms.Message) string{
	"to":      func(m sms.Message) string { return m.To },
	"text":    func(m sms.Message) string { return m.Text },
	"code":    func(m sms.Message) string { return m.Code },
	"lang":    func(m sms.Message) string { return m.Lang },
	"minutes": func(m sms.Message) string { return strconv.Itoa(max(1, int(m.Validity/time.Minute))) },
}

// template is a text and its placeholders, parsed once: what a value holds is
// never read as a placeholder.
type template []part

// part is literal text, or the value of a name.
type part struct{ literal, name string }

// placeholder is a word in braces. The braces of JSON hold a quote or a blank.
var placeholder = regexp.MustCompile(`\{[A-Za-z][^{}"\s]*\}`)

// parse reads a template. Names that are not of the message are looked up, once
// and for all: env.SMS_KEY and the like.
func parse(text string, lookUp func(name string) (string, error), escape func(string) string) (template, error) {
	var t template
	for text != "" {
		at := placeholder.FindStringIndex(text)
		if at == nil {
			return append(t, part{literal: text}), nil
		}
		if at[0] > 0 {
			t = append(t, part{literal: text[:at[0]]})
		}
		name := text[at[0]+1 : at[1]-1]
		text = text[at[1]:]
		switch {
		case values[name] != nil:
			t = append(t, part{name: name})
		case strings.Contains(name, ".") && lookUp != nil:
			v, err := lookUp(name)
			if err != nil {
				return nil, err
			}
			t = append(t, part{literal: escape(v)})
		default:
			return nil, fmt.Errorf("{%s} is unknown: write one of {%s}, or a placeholder of Caddy such as {env.SMS_KEY}", name, strings.Join(slices.Sorted(maps.Keys(values)), "}, {"))
		}
	}
	return t, nil
}

// has reports whether the template names a value.
func (t template) has(name string) bool { return slices.Contains(t, part{name: name}) }

// fill puts the values of a message in.
func (t template) fill(m sms.Message, escape func(string) string) string {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.literal)
		if p.name != "" {
			b.WriteString(escape(values[p.name](m)))
		}
	}
	return b.String()
}

// inner is the inside of a JSON string.
func inner(s string) string {
	b, _ := json.Marshal(s) //nolint:errchkjson // a string always has a form
	return string(b[1 : len(b)-1])
}
