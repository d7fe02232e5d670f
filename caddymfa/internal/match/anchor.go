package match

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
)

// A page shows texts of other users beside what the application says itself.
// Applications escape them: < and quotes reach a page by its own markup only. A
// pattern that demands none of these may find what somebody wrote (attack K22).

// What stands for other than literal text in what a pattern demands.
const (
	some  = "\x00" // anything, within one text or one tag
	gap   = "\x01" // anything, markup as well
	start = "\x02" // the beginning of the page
)

// maxDemands bounds the alternatives of a pattern that are looked at.
const maxDemands = 256

var (
	// marked is markup that no escaped text holds: a tag, the end of one, a quote
	// where a value begins. An apostrophe within a word is none, and a > alone
	// stands before every text.
	marked = regexp.MustCompile(`\x02|<|[\w/]>|(?:^|[=:({\[,>\s\\\x00\x02])["']`)
	// follows is markup behind a name that does not end every text.
	follows = regexp.MustCompile(`<[A-Za-z!]|=["']|["']\s*:`)
)

// AnchoredGroup reports whether a regular expression with a group demands markup
// next to it, so that no text of a user can be what the group finds.
func AnchoredGroup(pattern string) bool {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return true // it is refused elsewhere
	}
	before, after, ok := around(re)
	if !ok || len(before) > maxDemands || len(after) > maxDemands {
		return true // nothing can be said for certain
	}
	return every(before, func(s string) bool { return marked.MatchString(s[strings.LastIndex(s, gap)+1:]) }) ||
		every(after, func(s string) bool { s, _, _ = strings.Cut(s, gap); return follows.MatchString(s) })
}

// Anchored reports whether a regular expression demands markup with the last
// words that it looks for.
func Anchored(pattern string) bool {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return true
	}
	all := demands(re)
	return len(all) > maxDemands || every(all, func(s string) bool {
		pieces := strings.Split(s, gap)
		for i := len(pieces) - 1; i > 0; i-- {
			if strings.ContainsFunc(pieces[i], unicode.IsLetter) {
				return marked.MatchString(pieces[i])
			}
		}
		return marked.MatchString(pieces[0])
	})
}

func every(list []string, ok func(string) bool) bool {
	for _, s := range list {
		if !ok(s) {
			return false
		}
	}
	return true
}

// around is what an expression demands before and after its first group. Other
// alternatives than the group's find no name.
func around(re *syntax.Regexp) (before, after []string, ok bool) {
	if re.Op == syntax.OpCapture {
		return []string{""}, []string{""}, true
	}
	for i, sub := range re.Sub {
		if before, after, ok = around(sub); !ok {
			continue
		}
		if re.Op == syntax.OpConcat {
			before, after = cross(demandsOf(re.Sub[:i]), before), cross(after, demandsOf(re.Sub[i+1:]))
		}
		return before, after, true
	}
	return nil, nil, false
}

// demands are the texts of which a match holds one.
func demands(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		return []string{string(re.Rune)}
	case syntax.OpBeginText:
		return []string{start}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return []string{some}
	case syntax.OpCharClass:
		if quotes(re) {
			return []string{`"`}
		}
		return []string{some}
	case syntax.OpConcat:
		return demandsOf(re.Sub)
	case syntax.OpCapture:
		return demands(re.Sub[0])
	case syntax.OpAlternate:
		var out []string
		for _, sub := range re.Sub {
			out = append(out, demands(sub)...)
		}
		return out
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		fill := some
		if crosses(re) {
			fill = gap
		}
		if re.Op == syntax.OpPlus || re.Op == syntax.OpRepeat && re.Min > 0 {
			return cross(demands(re.Sub[0]), []string{fill})
		}
		return []string{fill}
	case syntax.OpNoMatch, syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
	}
	return []string{""} // a place, and no text
}

func demandsOf(subs []*syntax.Regexp) []string {
	out := []string{""}
	for _, sub := range subs {
		out = cross(out, demands(sub))
	}
	return out
}

// cross joins alternatives. Beyond the bound they only have to stay too many.
func cross(a, b []string) []string {
	var out []string
	for _, x := range a {
		for _, y := range b {
			if len(out) > maxDemands {
				return out
			}
			out = append(out, x+y)
		}
	}
	return out
}

// crosses reports whether a repetition may go over the end of a tag or a text.
func crosses(re *syntax.Regexp) bool {
	switch sub := re.Sub[0]; {
	case sub.Op == syntax.OpLiteral:
		return false
	case sub.Op == syntax.OpCharClass:
		return has(sub, '<') && has(sub, '>')
	case re.Op == syntax.OpQuest:
		return strings.Contains(strings.Join(demands(sub), ""), gap)
	}
	return true
}

// has reports whether a class holds a sign. Its ranges are pairs.
func has(class *syntax.Regexp, c rune) bool {
	for i := 0; i+1 < len(class.Rune); i += 2 {
		if class.Rune[i] <= c && c <= class.Rune[i+1] {
			return true
		}
	}
	return false
}

// quotes reports whether a class holds quotes and nothing else.
func quotes(class *syntax.Regexp) bool {
	for i := 0; i+1 < len(class.Rune); i += 2 {
		for c := class.Rune[i]; c <= class.Rune[i+1]; c++ {
			if c != '"' && c != '\'' {
				return false
			}
		}
	}
	return len(class.Rune) > 0
}
