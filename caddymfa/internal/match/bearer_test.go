package match

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

func TestBearerCarried(t *testing.T) {
	b := &Bearer{JSON: []string{"token"}, Query: []string{"access_token"}}
	for name, tc := range map[string]struct {
		auth  []string
		query string
		want  string
		ok    bool
	}{
		"none":                    {nil, "", "", true},
		"bearer":                  {[]string{"Bearer abc.def"}, "", "abc.def", true},
		"any case, more blanks":   {[]string{" bEARER  abc "}, "", "abc", true},
		"without the word":        {[]string{"abc"}, "", "abc", true},
		"basic is none":           {[]string{"Basic YTpi"}, "", "", true},
		"digest is none":          {[]string{`Digest username="a", realm="b"`}, "", "", true},
		"query":                   {nil, "?access_token=abc", "abc", true},
		"the same in both places": {[]string{"Bearer abc"}, "?access_token=abc", "abc", true},
		"two headers":             {[]string{"Bearer a", "Bearer a"}, "", "", false},
		"header and query":        {[]string{"Bearer a"}, "?access_token=b", "", false},
		"twice in the query":      {nil, "?access_token=a&access_token=b", "", false},
		"a query that is none":    {nil, "?access_token=a;x=%zz", "", false},
		"another parameter":       {nil, "?token=a", "", true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/x", nil)
		r.URL.RawQuery = ""
		if tc.query != "" {
			r.URL.RawQuery = tc.query[1:]
		}
		r.Header["Authorization"] = tc.auth
		if got, ok := b.Carried(r); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

func TestBearerGiven(t *testing.T) {
	b := &Bearer{JSON: []string{"data.access", "refresh"}, Headers: []string{"X-Auth-Token"}}
	h := http.Header{"X-Auth-Token": {"Bearer h"}}
	if got := b.Given(h, []byte(`{"data":{"access":"a"},"refresh":"r","other":"o"}`)); !slices.Equal(got, []string{"h", "a", "r"}) {
		t.Errorf("%v", got)
	}
	if got := b.Given(http.Header{}, []byte(`{"data":null,"refresh":""}`)); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got := b.Given(h, nil); !slices.Equal(got, []string{"h"}) {
		t.Errorf("%v", got)
	}
}
