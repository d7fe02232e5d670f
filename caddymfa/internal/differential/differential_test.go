// Package differential holds what the gate reads in a request, and forwards,
// against what the parsers of real applications read in it (attacks J3, J4, K1,
// K2, K10). The parsers are in test/differential.
package differential

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
)

// check asks a parser about inputs that the gate handles by gate. passed says
// which of them the gate let through.
func check(tb testing.TB, ask ask, gate gate, all ...input) (found []*difference, passed []bool) {
	tb.Helper()
	found, passed = make([]*difference, len(all)), make([]bool, len(all))
	var forms []*intake.Form
	var at []int
	var given []input
	for i, in := range all {
		f, in := gate(in)
		if passed[i] = f != nil; passed[i] {
			forms, at, given = append(forms, f), append(at, i), append(given, in)
		}
	}
	app, err := ask(given)
	if err != nil {
		tb.Fatal(err)
	}
	for i, f := range forms {
		found[at[i]] = differs(f, app[i])
	}
	return found, passed
}

// one is check for a single input.
func one(tb testing.TB, ask ask, gate gate, in input) (*difference, bool) {
	tb.Helper()
	found, passed := check(tb, ask, gate, in)
	return found[0], passed[0]
}

// shrink makes an input that check finds something in as small as it can.
func shrink(in input, bad func(input) bool) input {
	parts := func(in *input) []*string {
		list := []*string{&in.query, &in.body}
		for i := range in.types {
			list = append(list, &in.types[i])
		}
		return list
	}
	for n := range slices.Backward(slices.Clone(in.types)) {
		try := in
		try.types = slices.Delete(slices.Clone(in.types), n, n+1)
		if bad(try) {
			in = try
		}
	}
	for smaller := true; smaller; {
		smaller = false
		for i := range parts(&in) {
			for size := max(1, len(*parts(&in)[i])/2); size > 0; size /= 2 {
				for at := 0; at+size <= len(*parts(&in)[i]); {
					try := in
					try.types = slices.Clone(in.types)
					p := parts(&try)[i]
					*p = (*p)[:at] + (*p)[at+size:]
					if bad(try) {
						in, smaller = try, true
					} else {
						at += size
					}
				}
			}
		}
	}
	return in
}

// String is the input as the corpus has it.
func (in input) String() string {
	var b strings.Builder
	for _, t := range in.types {
		fmt.Fprintf(&b, "type %q\n", t)
	}
	return b.String() + fmt.Sprintf("query %q\nbody %q\n", in.query, in.body)
}

// known is an input of the corpus, and the parsers that read it otherwise than
// the gate unless the request is written anew.
type known struct {
	input
	about  string
	finds  []string
	honest bool // it must reach the application
}

// corpus reads testdata/corpus.txt.
func corpus(tb testing.TB) (all []known) {
	tb.Helper()
	file, err := os.Open("testdata/corpus.txt")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	next := known{}
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		text, err := strconv.Unquote(rest)
		switch word {
		case "type", "query", "body":
			if err != nil {
				tb.Fatalf("%q: %v", lines.Text(), err)
			}
		}
		switch word {
		case "#":
			next.about = strings.TrimSpace(next.about + " " + rest)
		case "finds":
			next.finds = strings.Fields(rest)
		case "honest":
			next.honest = true
		case "type":
			next.types = append(next.types, text)
		case "query":
			next.query = text
		case "body": // the last line of each
			next.body = text
			all = append(all, next)
			next = known{}
		case "":
			next = known{}
		default:
			tb.Fatalf("%q", lines.Text())
		}
	}
	return all
}

// TestAttack_K1_Corpus gives every parser the inputs that some parser once read
// otherwise than the gate.
func TestAttack_K1_Corpus(t *testing.T) {
	all := corpus(t)
	for _, p := range parsers {
		t.Run(p.name, func(t *testing.T) {
			ask, finds := p.start(t), 0
			for _, k := range all {
				found, passed := one(t, ask, forwarded, k.input)
				if found != nil {
					t.Errorf("%s\n%s\n%s", k.about, found, k.input)
				}
				if k.honest && !passed {
					t.Errorf("%s\nthe gate refuses it\n%s", k.about, k.input)
				} else if name := arrives(t, ask, k.input); k.honest && name != "" && p.reads(k.input) {
					t.Errorf("%s\nthe application does not find %s\n%s", k.about, name, k.input)
				}
				// Without the rule it is a find, or this input holds nothing.
				if !slices.Contains(k.finds, p.name) || refused(k.input) {
					continue
				}
				if found, _ := one(t, ask, asItWas, k.input); found == nil {
					t.Errorf("%s\nnothing is found without the rule\n%s", k.about, k.input)
				}
				finds++
			}
			if finds == 0 && p.name != "go" { // the gate reads as net/http does
				t.Error("no input tells this parser from the gate: a find would not be seen")
			}
		})
	}
}

// refused reports whether the gate has doubts of its own about an input.
func refused(in input) bool {
	f, _ := asItWas(in)
	if f == nil {
		return true
	}
	if f.Kind == intake.JSONBody {
		// JSON passes as it came: what is odd in it is refused by the rule of a login,
		// or names nobody there.
		_, names := f.JSONText("user")
		return !names || jsonReason(f) != ""
	}
	return slices.ContainsFunc(watched, func(name string) bool {
		_, state := f.Lookup(intake.Any, name)
		return state == intake.Ambiguous
	})
}

// arrives gives the first field that the gate reads and the application does not.
func arrives(tb testing.TB, ask ask, in input) string {
	tb.Helper()
	f, given := forwarded(in)
	if f == nil {
		return ""
	}
	app, err := ask([]input{given})
	if err != nil {
		tb.Fatal(err)
	}
	return lost(f, app[0])
}

// TestAttack_K1_Differential gives every parser generated inputs for DURATION,
// a second by default. SEED repeats a run.
func TestAttack_K1_Differential(t *testing.T) {
	duration, seed := time.Second, rand.Uint64()
	if s := os.Getenv("DURATION"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SEED=%d", seed)
	var inputs []input
	for _, k := range corpus(t) {
		inputs = append(inputs, k.input)
	}
	gate := gate(forwarded)
	if os.Getenv("AS_IT_WAS") != "" {
		gate = asItWas
	}
	for _, p := range parsers {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel() // each goes through the same inputs, at its own speed
			ask := p.start(t)
			check(t, ask, gate, inputs...) // it is up when the clock starts
			finds := map[string]int{}      // by the kind of find: one hole has many inputs
			passed, n, shrinking, start := 0, uint64(0), time.Duration(0), time.Now()
			for time.Since(start) < duration {
				batch := make([]input, 64)
				for i := range batch {
					batch[i] = generator{rand.New(rand.NewPCG(seed, n)), inputs}.input()
					n++
				}
				found, through := check(t, ask, gate, batch...)
				for i, d := range found {
					if through[i] {
						passed++
					}
					kind, _ := batch[i].contentType()
					if d == nil || finds[d.kind(kind)] >= maxOfAKind {
						continue
					}
					began := time.Now()
					small := shrink(batch[i], func(in input) bool {
						other, _ := one(t, ask, gate, in)
						return other.like(d)
					})
					shrinking += time.Since(began)
					d, _ = one(t, ask, gate, small)
					kind, _ = small.contentType()
					if finds[d.kind(kind)]++; finds[d.kind(kind)] <= maxOfAKind {
						t.Errorf("%s\n%s", d, small)
					}
				}
			}
			t.Logf("%d inputs, %d of them passed, %.0f a second", n, passed, float64(n)/(time.Since(start)-shrinking).Seconds())
		})
	}
}

const maxOfAKind = 2
