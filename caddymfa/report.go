package caddymfa

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
)

// observation is the log line of one request that a gate has observed.
type observation struct {
	Message     string        `json:"msg"`
	Reason      event.Reason  `json:"reason"`
	App         string        `json:"app"`
	Rule        string        `json:"rule"`
	Client      event.Client  `json:"client"`
	Status      int           `json:"status"`
	Method      string        `json:"method"`
	Path        string        `json:"path"`
	Params      []string      `json:"params"`
	Credentials bool          `json:"credentials"`
	NewSession  bool          `json:"new_session"`
	Verdict     event.Verdict `json:"verdict"`
}

// observations are what was seen, by application.
type observations struct{ apps map[string]*observed }

type observed struct {
	requests int
	reasons  map[event.Reason]int
	verdicts map[event.Verdict]int
	// open, flow and doors are what strangers were answered, by method and path.
	open, flow, doors map[place]*use
}

type place struct{ method, path string }

// use is how often something was used, and whether by clients who may have been
// signed in before observing began.
type use struct {
	n       int
	unsure  bool
	example string
}

func newObservations() *observations { return &observations{apps: map[string]*observed{}} }

// maxLogLine bounds one line of a log, in bytes.
const maxLogLine = 1 << 20

// read reads a log. Lines of others are left out.
func (o *observations) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLogLine)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte(`"observed"`)) {
			continue
		}
		var one observation
		if err := json.Unmarshal(lines.Bytes(), &one); err == nil && one.Message == string(event.Observed) {
			o.add(one)
		}
	}
	return lines.Err()
}

func (o *observations) add(one observation) {
	a := o.apps[one.App]
	if a == nil {
		a = &observed{
			reasons: map[event.Reason]int{}, verdicts: map[event.Verdict]int{},
			open: map[place]*use{}, flow: map[place]*use{}, doors: map[place]*use{},
		}
		o.apps[one.App] = a
	}
	a.requests++
	a.reasons[one.Reason]++
	if one.Verdict != "" {
		a.verdicts[one.Verdict]++
	}
	answered := one.Status >= 200 && one.Status < 300 || one.Status == http.StatusNotModified
	stranger := one.Client != event.SignedIn
	switch {
	case one.Reason == event.TrapHit, stranger && answered && one.Credentials && one.Reason != event.IsLogin:
		note(a.doors, one)
	case one.Reason != event.Gated || !stranger || !answered && (one.Status < 300 || one.Status > 399 || one.Method == http.MethodGet):
		// Closed to strangers by the application itself, or open already.
	case one.NewSession, one.Method != http.MethodGet && one.Method != http.MethodHead:
		note(a.flow, one)
	default:
		note(a.open, one)
	}
}

func note(to map[place]*use, one observation) {
	p := place{one.Method, one.Path}
	u := to[p]
	if u == nil {
		u = &use{}
		to[p] = u
	}
	u.n++
	u.unsure = u.unsure || one.Client == event.WithSession
	if len(one.Params) > 0 {
		u.example = "with the parameters " + strings.Join(one.Params, ", ")
	}
}

// write sums up, in the grammar of a block of mfa: what is no line is a comment.
func (o *observations) write(w io.Writer) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(o.apps)) {
		a := o.apps[name]
		fmt.Fprintf(&b, "# %s: %d requests\n", comment(name), a.requests)
		for _, r := range slices.SortedFunc(maps.Keys(a.reasons), func(x, y event.Reason) int {
			return cmp.Or(cmp.Compare(a.reasons[y], a.reasons[x]), cmp.Compare(x, y))
		}) {
			fmt.Fprintf(&b, "#   %7d %s\n", a.reasons[r], r)
		}
		if a.reasons[event.IsLogin] == 0 {
			b.WriteString("# No login was recognised. Nobody could sign in with mode enforce: look at the login blocks.\n")
		} else {
			fmt.Fprintf(&b, "# Logins: %d accepted, %d rejected, %d that only identity can judge\n",
				a.verdicts[event.Accepted], a.verdicts[event.Rejected], a.verdicts[event.Unasked])
		}
		section(&b, a.doors, "deny", "Answered to credentials, or to a login that no rule knows. Write a login for it, or shut it:")
		section(&b, a.flow, "login_flow", "Answered to strangers with a session, or took a form of theirs. With mode enforce it is closed; keep open what belongs to signing in:")
		section(&b, a.open, "public", "Shown to strangers. With mode enforce it is closed; keep open what nobody should sign in for:")
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// manyBelow is how many pages of one folder become one line for the folder.
const manyBelow = 4

func section(b *strings.Builder, uses map[place]*use, word, why string) {
	if len(uses) == 0 {
		return
	}
	fmt.Fprintf(b, "\n# %s\n", why)
	folders := map[place]int{}
	for p := range uses {
		folders[folder(p)]++
	}
	lines := map[place]*use{}
	for p, u := range uses {
		if f := folder(p); folders[f] >= manyBelow && f.path != "/*" {
			p = f
		}
		sum := lines[p]
		if sum == nil {
			sum = &use{}
			lines[p] = sum
		}
		sum.n, sum.unsure = sum.n+u.n, sum.unsure || u.unsure
		sum.example = cmp.Or(sum.example, u.example)
	}
	for _, p := range slices.SortedFunc(maps.Keys(lines), func(x, y place) int {
		return cmp.Or(cmp.Compare(lines[y].n, lines[x].n), cmp.Compare(x.path, y.path), cmp.Compare(x.method, y.method))
	}) {
		u := lines[p]
		says := strconv.Itoa(u.n) + "×"
		if u.example != "" {
			says += ", " + u.example
		}
		if u.unsure {
			says += ", perhaps by users who had signed in before"
		}
		target, ok := quoted(p.path)
		line := fmt.Sprintf("%s %s %s", word, p.method, target)
		if !ok {
			line = "# " + line + " (not written as one plain path: choose one yourself)"
		}
		fmt.Fprintf(b, "%s # %s\n", line, comment(says))
	}
}

func folder(p place) place { return place{p.method, strings.TrimSuffix(path.Dir(p.path), "/") + "/*"} }

// quoted is a path as a Caddyfile takes it, or false for one that is no plain
// path: it would not be opened anyway.
func quoted(p string) (string, bool) {
	if path.Clean(p) != strings.TrimSuffix(p, "/") && p != "/" || strings.ContainsFunc(p, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune("\"`\\{}%;#?<>|^", c)
	}) {
		return comment(p), false
	}
	return p, true
}

// comment keeps what a client may have sent within one line.
func comment(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c > 0x2000 && c != '×' {
			return '?'
		}
		return c
	}, s)
}
