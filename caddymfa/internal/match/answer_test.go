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
