package upstream

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
)

// AllowScript changes a page's content security policies (CSP Level 3) just so
// far that a script element with this source runs and may send requests to the
// addresses in connect, all of this site. It returns the nonce that the element
// must carry, "" for none. What a policy allows already is left as it is.
func AllowScript(h http.Header, script string, connect []string) (nonce string) {
	for _, name := range []string{"Content-Security-Policy", "Content-Security-Policy-Report-Only"} {
		values := h[name]
		for i, value := range values {
			policies := strings.Split(value, ",")
			for j, p := range policies {
				policies[j] = allow(p, script, connect, &nonce)
			}
			values[i] = strings.Join(policies, ",")
		}
	}
	return nonce
}

type directive struct {
	name    string
	sources []string
}

func allow(policy, script string, connect []string, nonce *string) string {
	var all []directive
	for part := range strings.SplitSeq(policy, ";") {
		if words := strings.Fields(part); len(words) > 0 {
			all = append(all, directive{strings.ToLower(words[0]), words[1:]})
		}
	}
	changed := false
	// effective finds what governs a kind of request. A fall-back is copied, so
	// that the other kinds that it governs stay as they are.
	effective := func(names ...string) *directive {
		for _, name := range names {
			i := slices.IndexFunc(all, func(d directive) bool { return d.name == name })
			if i < 0 {
				continue
			}
			if name != names[0] {
				all = append(all, directive{names[0], slices.Clone(all[i].sources)})
				i = len(all) - 1
			}
			return &all[i]
		}
		return nil
	}
	before := len(all)
	if d := effective("script-src-elem", "script-src", "default-src"); d != nil {
		switch {
		case has(d.sources, "'strict-dynamic'"):
			if *nonce == "" {
				*nonce = rand.Text()
			}
			d.sources, changed = append(d.sources, "'nonce-"+*nonce+"'"), true
		case !same(d.sources):
			d.sources, changed = append(none(d.sources), script), true
		default:
			all = all[:before]
		}
	}
	before = len(all)
	if d := effective("connect-src", "default-src"); d != nil {
		if same(d.sources) {
			all = all[:before]
		} else {
			d.sources, changed = append(none(d.sources), connect...), true
		}
	}
	if !changed {
		return policy
	}
	var parts []string
	for _, d := range all {
		parts = append(parts, strings.Join(append([]string{d.name}, d.sources...), " "))
	}
	return strings.Join(parts, "; ")
}

// same reports whether a list of sources lets this site's own addresses through.
func same(sources []string) bool { return has(sources, "'self'") || has(sources, "*") }

func has(sources []string, word string) bool {
	return slices.ContainsFunc(sources, func(s string) bool { return strings.EqualFold(s, word) })
}

// none drops 'none', which counts only alone.
func none(sources []string) []string {
	return slices.DeleteFunc(slices.Clone(sources), func(s string) bool { return strings.EqualFold(s, "'none'") })
}
