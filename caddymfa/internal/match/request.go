package match

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
)

// Request is the configuration of an entry that matches requests. Different
// words must all hold, several values of a word are alternatives.
type Request struct {
	// Methods; none means GET and HEAD, "*" any.
	Methods []string `json:"methods,omitempty"`
	// Paths are path matchers, see Path.
	Paths []string `json:"paths"`
	// Query are parameters that must be there, each once; a value, if given,
	// must be equal. An entry with parameters forwards no others before login.
	Query []Param `json:"query,omitempty"`
	// JSON is a value in a JSON body, at a dotted path.
	JSON *Pair `json:"json,omitempty"`
	// Headers are header fields of which one must be there.
	Headers []string `json:"headers,omitempty"`
}

// String is the entry as a Caddyfile has it, without its first word.
func (q Request) String() string {
	words := append(slices.Clone(q.Methods), q.Paths...)
	if len(q.Query) > 0 {
		words = append(words, "query")
	}
	for _, p := range q.Query {
		if p.Value != nil {
			words = append(words, p.Name+"="+*p.Value)
		} else {
			words = append(words, p.Name)
		}
	}
	if q.JSON != nil {
		words = append(words, "json", q.JSON.Name)
		if q.JSON.Value != "" {
			words = append(words, q.JSON.Value)
		}
	}
	if len(q.Headers) > 0 {
		words = append(append(words, "header"), q.Headers...)
	}
	return strings.Join(words, " ")
}

// Param is a query parameter: a name, and a value unless any will do.
type Param struct {
	Name  string  `json:"name"`
	Value *string `json:"value,omitempty"`
}

// Entry is a compiled Request.
type Entry struct {
	methods []string
	paths   Paths
	Request
}

// CompileShut checks an entry that shuts something: without methods it is for
// all of them.
func (q Request) CompileShut() (*Entry, error) {
	e, err := q.Compile()
	if err == nil && len(q.Methods) == 0 {
		e.methods = []string{"*"}
	}
	return e, err
}

// Compile checks an entry that opens something.
func (q Request) Compile() (*Entry, error) {
	if len(q.Paths) == 0 {
		return nil, fmt.Errorf("an entry needs a path")
	}
	paths, err := ParsePaths(q.Paths)
	if err != nil {
		return nil, err
	}
	e := &Entry{paths: paths, Request: q}
	for _, m := range q.Methods {
		if m != strings.ToUpper(m) {
			return nil, fmt.Errorf("method %q: write it in capitals", m)
		}
		e.methods = append(e.methods, m)
	}
	if len(e.methods) == 0 {
		e.methods = []string{http.MethodGet, http.MethodHead}
	}
	return e, nil
}

// Method reports whether the entry is for this method.
func (e *Entry) Method(m string) bool {
	return slices.Contains(e.methods, m) || e.methods[0] == "*"
}

// Path reports whether the entry covers a cleaned, lower-case path.
func (e *Entry) Path(clean string) bool { return e.paths.Match(clean) }

// Spelt reports whether the entry covers one of the spellings of a path.
func (e *Entry) Spelt(spellings []string) bool { return e.paths.Any(spellings) }

// Strict reports whether the parameters are there, each exactly once. It is
// for entries that open something.
func (e *Entry) Strict(q url.Values) bool {
	for _, p := range e.Query {
		v := q[p.Name]
		if len(v) != 1 || (p.Value != nil && v[0] != *p.Value) {
			return false
		}
	}
	return true
}

// Shuts reports whether some reading of a request is what the entry shuts, its
// body aside. spellings are all paths that some server could take it for. A
// query that cannot be read may hold every parameter.
func (e *Entry) Shuts(r *http.Request, path string, spellings []string) bool {
	return e.loose(r, path, spellings, true)
}

// Ends is Shuts for an entry that ends a session: what cannot be read is not it.
func (e *Entry) Ends(r *http.Request, path string, spellings []string) bool {
	return e.loose(r, path, spellings, false)
}

func (e *Entry) loose(r *http.Request, path string, spellings []string, unclear bool) bool {
	if !e.Method(r.Method) || !e.covers(path) && !slices.ContainsFunc(spellings, e.covers) {
		return false
	}
	if len(e.Headers) > 0 && !slices.ContainsFunc(e.Headers, func(h string) bool { return intake.HasHeader(r.Header, h) }) {
		return false
	}
	if len(e.Query) == 0 {
		return true
	}
	pairs, clear := intake.Pairs(r.URL.RawQuery)
	for _, p := range e.Query {
		if !slices.ContainsFunc(pairs, func(have [2]string) bool {
			return intake.Means(have[0], p.Name) && (p.Value == nil || intake.FoldUser(have[1]) == intake.FoldUser(*p.Value))
		}) {
			return unclear && !clear
		}
	}
	return true
}

// covers is Path for who does not mind a slash at the end.
func (e *Entry) covers(path string) bool {
	path = strings.ToLower(path)
	return e.paths.Match(path) || e.paths.Match(strings.TrimRight(path, "/")) || e.paths.Match(path+"/")
}

// Keep returns the query with the entry's own parameters only, in their order.
// An entry without parameters keeps all.
func (e *Entry) Keep(q url.Values, also ...string) string {
	kept := url.Values{}
	for _, p := range e.Query {
		kept[p.Name] = q[p.Name]
	}
	for _, name := range also {
		if v, ok := q[name]; ok {
			kept[name] = v
		}
	}
	return kept.Encode()
}
