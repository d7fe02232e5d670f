package upstream

import (
	"net/http"
	"strings"
)

// sharedOnly are fields that speak to caches in front alone, and above
// Cache-Control: to those that follow RFC 9213, to nginx, and to networks that
// deliver content.
var sharedOnly = []string{
	"Cdn-Cache-Control", "Surrogate-Control", "Edge-Control", "X-Accel-Expires",
	"Cloudflare-Cdn-Cache-Control", "Akamai-Cache-Control", "Netlify-Cdn-Cache-Control", "Vercel-Cdn-Cache-Control",
}

// Private makes an answer one that no cache in front keeps, because it is one
// person's: what an application calls public behind its login is not. How long the
// browser itself keeps it stays as it was (RFC 9111 5.2.2.7).
func Private(h http.Header) {
	for _, name := range sharedOnly {
		delete(h, name)
	}
	lines := h["Cache-Control"]
	if len(lines) == 0 {
		h["Cache-Control"] = []string{"private"}
		return
	}
	private := false
	kept := make([]string, 0, 4)
	for directive := range directives(strings.Join(lines, ",")) {
		name, _, qualified := strings.Cut(directive, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "", "public", "s-maxage":
			continue
		case "private":
			if qualified { // of some fields only; the rest may be kept
				continue
			}
			private = true
		case "no-store":
			private = true
		}
		kept = append(kept, directive)
	}
	if !private {
		kept = append([]string{"private"}, kept...)
	}
	h["Cache-Control"] = []string{strings.Join(kept, ", ")}
}

// directives are the parts of a list whose values may be quoted strings with
// commas in them (RFC 9110 5.6.1). A quote that is not closed takes in the rest.
func directives(list string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for list != "" {
			end, quoted := len(list), false
			for i := 0; i < len(list); i++ {
				if c := list[i]; c == '"' {
					quoted = !quoted
				} else if c == '\\' && quoted {
					i++
				} else if c == ',' && !quoted {
					end = i
					break
				}
			}
			if part := strings.TrimSpace(list[:end]); !yield(part) || end == len(list) {
				return
			}
			list = list[end+1:]
		}
	}
}
