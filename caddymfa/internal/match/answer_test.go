package match

import (
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/jar"
)

func TestCookieDeleted(t *testing.T) {
	lines, err := Compile([][]Condition{{{CookieDeleted: "UserID$"}}})
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]bool{
		"wikiUserID=deleted; Max-Age=0":                              true,
		"wikiUserID=x; expires=Thu, 01 Jan 1970 00:00:01 GMT":        true,
		"wikiUserID=deleted":                                         true,
		"wikiUserID=":                                                true,
		"wikiUserID=1":                                               false,
		"wikiUserName=deleted; Max-Age=0":                            false,
		"wikiUserID=1; Max-Age=3600; expires=Thu, 01 Jan 1970":       false,
		"wikiUserIDs=deleted; Max-Age=0; path=/; HttpOnly; Secure=1": false,
	} {
		s, ok := jar.Parse(line, "/", time.Now())
		if !ok {
			t.Fatal(line)
		}
		got, err := lines.Any(t.Context(), &Answer{Status: 200, Sets: []jar.Set{s}, Jar: &jar.Jar{}})
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", line, got, err)
		}
	}
	if (Condition{CookieDeleted: "x"}).Sound() {
		t.Error("a deleted cookie counts as a login")
	}
}

func TestStatusClasses(t *testing.T) {
	for _, tc := range []struct {
		codes []int
		yes   []int
		no    []int
	}{
		{[]int{302}, []int{302}, []int{200, 301, 303}},
		{[]int{3}, []int{300, 302, 399}, []int{200, 299, 400, 503}},
		{[]int{2, 302}, []int{200, 204, 302}, []int{301, 404}},
	} {
		lines, err := Compile([][]Condition{{{Status: tc.codes}}})
		if err != nil {
			t.Fatal(err)
		}
		for want, all := range map[bool][]int{true: tc.yes, false: tc.no} {
			for _, status := range all {
				if got, err := lines.Any(t.Context(), &Answer{Status: status}); err != nil || got != want {
					t.Errorf("%v holds for %d: %v, %v", tc.codes, status, got, err)
				}
			}
		}
	}
	for _, code := range []int{0, 1, 6, 20, 99, 100, 199, 600} {
		if _, err := Compile([][]Condition{{{Status: []int{code}}}}); err == nil {
			t.Errorf("%d is taken", code)
		}
	}
}
