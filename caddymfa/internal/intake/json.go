package intake

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

const maxDepth = 32

// strictJSON reads one JSON text. Decoders disagree on keys that stand twice or
// differ by case only, on what follows the text, and on bytes that are no UTF-8
// (RFC 8259 4 and 8.1): all of that is refused.
func strictJSON(text []byte) (any, error) {
	if !utf8.Valid(text) || bytes.HasPrefix(text, []byte("\ufeff")) || halves(text) {
		return nil, bad("json_encoding")
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	fields := 0
	v, err := value(d, 0, &fields)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("json_trailing")
	}
	return v, nil
}

// halves reports whether an escape stands for half a letter: readers keep it, drop
// it or put a sign in its place.
func halves(text []byte) bool {
	pair := false // the first half stands right before
	for i := 0; i < len(text); i++ {
		var low, high bool
		if text[i] == '\\' && i+1 < len(text) {
			if i++; text[i] == 'u' && i+4 < len(text) {
				n, err := strconv.ParseUint(string(text[i+1:i+5]), 16, 32)
				high, low = err == nil && n >= 0xd800 && n < 0xdc00, err == nil && n >= 0xdc00 && n < 0xe000
				i += 4
			}
		}
		if pair != low {
			return true
		}
		pair = high
	}
	return pair
}

const maxJSONFields = 10_000

func value(d *json.Decoder, depth int, fields *int) (any, error) {
	if *fields++; depth > maxDepth || *fields > maxJSONFields {
		return nil, bad("json_too_large")
	}
	t, err := d.Token()
	if err != nil {
		return nil, bad("json")
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if delim == '[' {
		list := []any{}
		for d.More() {
			v, err := value(d, depth+1, fields)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	object, seen := map[string]any{}, map[string]bool{}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, bad("json")
		}
		key := k.(string) //nolint:forcetypeassert // the decoder gives no other key
		if f := FoldUser(key); seen[f] {
			return nil, bad("json_duplicate_key")
		} else {
			seen[f] = true
		}
		if object[key], err = value(d, depth+1, fields); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, bad("json")
	}
	return object, nil
}

// JSONState says how the value at a dotted path stands in a JSON body. A key
// that differs by case only is Ambiguous.
func (f *Form) JSONState(path string) State {
	_, state := f.at(path)
	return state
}

// JSONText is the value at a dotted path: strings as they are, booleans and whole
// numbers as text. Other numbers have none: applications write 1e3 and what is
// longer than 15 digits in different ways.
func (f *Form) JSONText(path string) (string, bool) {
	v, state := f.at(path)
	if n, ok := v.(json.Number); ok && !wholeNumber.MatchString(n.String()) || state != Exact {
		return "", false
	}
	return Text(v)
}

var wholeNumber = regexp.MustCompile(`^(0|-?[1-9]\d{0,14})$`)

// Text is a JSON value as text: strings as they are, numbers and booleans as
// they are written. null, objects and arrays have none.
func Text(v any) (string, bool) {
	switch leaf := v.(type) {
	case string:
		return leaf, true
	case json.Number:
		return leaf.String(), true
	case bool:
		return strconv.FormatBool(leaf), true
	}
	return "", false
}

// Step goes one step of a dotted path into a JSON value: to a key of an object,
// or an element of an array.
func Step(v any, step string) (any, bool) {
	switch node := v.(type) {
	case map[string]any:
		next, ok := node[step]
		return next, ok
	case []any:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(node) {
			return node[i], true
		}
	}
	return nil, false
}

func (f *Form) at(path string) (any, State) {
	if f.Kind != JSONBody {
		return nil, Absent
	}
	v, state := f.json, Exact
	for step := range strings.SplitSeq(path, ".") {
		next, ok := Step(v, step)
		if object, is := v.(map[string]any); is && !ok {
			for k, other := range object {
				if FoldUser(k) == FoldUser(step) {
					next, ok, state = other, true, Ambiguous
				}
			}
		}
		if !ok {
			return nil, Absent
		}
		v = next
	}
	return v, state
}

// JSONMay reports whether a JSON body may have this value, "" for any, at a dotted
// path: in some spelling, also in one of several objects (JSON-RPC 2.0 6).
func (f *Form) JSONMay(path, value string) bool {
	list, ok := f.json.([]any)
	if !ok {
		list = []any{f.json}
	}
	for _, v := range list {
		one := Form{Kind: f.Kind, json: v}
		switch _, state := one.at(path); state {
		case Absent:
			continue
		case Ambiguous:
			return true
		case Exact:
		}
		if text, ok := one.JSONText(path); value == "" || !ok || FoldUser(text) == FoldUser(value) {
			return true
		}
	}
	return false
}

// Bracketed is the name that a dotted path has in a form: a[b] for a.b.
func Bracketed(path string) string {
	steps := strings.Split(path, ".")
	for i := range steps[1:] {
		steps[i+1] = "[" + steps[i+1] + "]"
	}
	return strings.Join(steps, "")
}

// JSONMeans reports whether a JSON body has a key that some application takes for
// the field of a form of this name.
func (f *Form) JSONMeans(name string) bool {
	want := readName(name)
	var find func(v any, at string, depth int) bool
	find = func(v any, at string, depth int) bool {
		object, _ := v.(map[string]any)
		for key, inner := range object {
			here := key
			if at != "" {
				here = at + "[" + key + "]"
			}
			if n := readName(here); n.flat == want.flat || depth < len(want.within) && find(inner, here, depth+1) {
				return true
			}
		}
		return false
	}
	return find(f.json, "", 0)
}
