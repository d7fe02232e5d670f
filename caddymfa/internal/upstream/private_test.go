package upstream_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddymfa/caddymfa/caddymfa/internal/upstream"
)

func TestPeople_P3_WhatIsOnePersonsIsKeptByNoSharedCache(t *testing.T) {
	for given, want := range map[string]string{
		"":                                      "private",
		"public, max-age=3600":                  "private, max-age=3600",
		"PUBLIC,Max-Age=60, S-MAXAGE=9":         "private, Max-Age=60",
		"max-age=60\ns-maxage=9":                "private, max-age=60",
		`private="Set-Cookie, X", max-age=1`:    "private, max-age=1",
		`no-cache="Set-Cookie, public", public`: `private, no-cache="Set-Cookie, public"`,
		"private, max-age=5":                    "private, max-age=5",
		"no-store":                              "no-store",
		"no-store, public":                      "no-store",
		"public":                                "private",
		`x="a, public`:                          `private, x="a, public`,
	} {
		h := http.Header{"Expires": {"Thu, 01 Jan 2099 00:00:00 GMT"}}
		if given != "" {
			h["Cache-Control"] = strings.Split(given, "\n")
		}
		for _, name := range []string{"CDN-Cache-Control", "Surrogate-Control", "X-Accel-Expires", "Cloudflare-CDN-Cache-Control"} {
			h.Set(name, "max-age=600")
		}
		if upstream.Private(h); h.Get("Cache-Control") != want || len(h["Cache-Control"]) != 1 || len(h) != 2 {
			t.Errorf("%q: %v, want %q", given, h, want)
		}
	}
}
