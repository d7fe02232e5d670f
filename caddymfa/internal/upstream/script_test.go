package upstream

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

func TestScriptStandsFirstInTheHead(t *testing.T) {
	const el = "<script></script>"
	for name, tc := range map[string]struct{ in, want string }{
		"usual":             {"<!doctype html><html lang=en><head>\n<title>x</title>", "<!doctype html><html lang=en><head>\n|<title>x</title>"},
		"no head":           {"<!DOCTYPE HTML PUBLIC \"-//W3C//DTD\">\n<HTML><body>x", "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD\">\n<HTML>|<body>x"},
		"no tags":           {"hello", "|hello"},
		"comments":          {"<!-- a > <head> --><html><!-- b --><head class=a><meta charset=utf-8>", "<!-- a > <head> --><html><!-- b --><head class=a>|<meta charset=utf-8>"},
		"header is no head": {"<header>x</header>", "|<header>x</header>"},
		"xhtml":             {"<?xml version=\"1.0\"?>\n<!DOCTYPE html><html xmlns=\"x\"><head><title/>", "<?xml version=\"1.0\"?>\n<!DOCTYPE html><html xmlns=\"x\"><head>|<title/>"},
		"byte mark":         {"\ufeff<html><head><x>", "\ufeff<html><head>|<x>"},
		"only a prolog":     {"<html><head>", "<html><head>|"},
		"never closed":      {"<html " + strings.Repeat("a", 9000), "|<html " + strings.Repeat("a", 9000)},
	} {
		for _, chunk := range []int{1, 3, 7, 10_000} {
			w := httptest.NewRecorder()
			s := &Script{W: w, Element: el}
			s.Header().Set("Content-Type", "text/html; charset=utf-8")
			s.Header().Set("Content-Length", strconv.Itoa(len(tc.in)))
			s.Header().Set("ETag", "x")
			for i := 0; i < len(tc.in); i += chunk {
				_, _ = s.Write([]byte(tc.in[i:min(i+chunk, len(tc.in))]))
			}
			s.Finish()
			want := strings.Replace(tc.want, "|", el, 1)
			if w.Body.String() != want || w.Header().Get("Content-Length") != strconv.Itoa(len(want)) || w.Header().Get("ETag") != "" {
				t.Errorf("%s in chunks of %d: %.200s %v", name, chunk, w.Body, w.Header())
			}
		}
	}
}

func TestScriptLeavesAloneWhatIsNoPage(t *testing.T) {
	for name, head := range map[string]http.Header{
		"json": {"Content-Type": {"application/json"}}, "gzip": {"Content-Type": {"text/html"}, "Content-Encoding": {"gzip"}},
		"utf-16": {"Content-Type": {"text/html; charset=UTF-16"}}, "a file": {"Content-Type": {"text/html"}, "Content-Disposition": {"attachment; filename=x"}}, "nothing": {},
	} {
		w := httptest.NewRecorder()
		s := &Script{W: w, Element: "<script></script>"}
		maps.Copy(s.Header(), head)
		_, _ = fmt.Fprint(s, "<html><head>")
		s.Finish()
		if w.Body.String() != "<html><head>" {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
	for _, status := range []int{http.StatusFound, http.StatusNoContent, http.StatusNotModified, http.StatusPartialContent} {
		w := httptest.NewRecorder()
		s := &Script{W: w, Element: "<script></script>"}
		s.Header().Set("Content-Type", "text/html")
		s.Header().Set("Content-Length", "5")
		s.WriteHeader(status)
		s.Finish()
		if w.Header().Get("Content-Length") != "5" || w.Body.Len() != 0 {
			t.Errorf("%d: %v", status, w.Header())
		}
	}
}

func TestPeople_P11_LinesStandFirstInAWorker(t *testing.T) {
	const lines = ";mine();\n"
	long := "/*" + strings.Repeat("x", 9000) + "*/"
	for name, tc := range map[string]struct{ in, want string }{
		"usual":               {"self.onfetch = f;", "|self.onfetch = f;"},
		"strict":              {"'use strict';f()", "'use strict';|f()"},
		"strict, a line":      {"\"use strict\"\r\nf()", "\"use strict\"\r\n|f()"},
		"strict, a comment":   {"/* a\n'b */ // c\n\n\"use strict\"; f()", "/* a\n'b */ // c\n\n\"use strict\";| f()"},
		"strict and no more":  {"'use strict'", "'use strict'|"},
		"strict comes later":  {"f(); 'use strict';", "|f(); 'use strict';"},
		"another directive":   {"'use strict' + f()", "|'use strict' + f()"},
		"a comment says so":   {"// 'use strict';\nf()", "|// 'use strict';\nf()"},
		"byte mark":           {"\ufefff()", "\ufeff|f()"},
		"a long comment":      {long + "f()", "|" + long + "f()"},
		"a comment, not over": {"/* 'use strict';", "|/* 'use strict';"},
	} {
		for _, chunk := range []int{1, 3, 10_000} {
			w := httptest.NewRecorder()
			s := &Script{W: w, Element: lines, Worker: true}
			s.Header().Set("Content-Type", "text/javascript; charset=utf-8")
			s.Header().Set("Content-Length", strconv.Itoa(len(tc.in)))
			s.Header().Set("ETag", "x")
			for i := 0; i < len(tc.in); i += chunk {
				_, _ = s.Write([]byte(tc.in[i:min(i+chunk, len(tc.in))]))
			}
			s.Finish()
			want := strings.Replace(tc.want, "|", lines, 1)
			if w.Body.String() != want || w.Header().Get("Content-Length") != strconv.Itoa(len(want)) || w.Header().Get("ETag") != "" {
				t.Errorf("%s in chunks of %d: %.200q %v", name, chunk, w.Body, w.Header())
			}
		}
	}
	for name, tc := range map[string]struct {
		status int
		head   http.Header
	}{
		"a page":    {200, http.Header{"Content-Type": {"text/html"}}},
		"no type":   {200, http.Header{}},
		"packed":    {200, http.Header{"Content-Type": {"text/javascript"}, "Content-Encoding": {"br"}}},
		"not found": {404, http.Header{"Content-Type": {"text/javascript"}}},
		"a part":    {206, http.Header{"Content-Type": {"text/javascript"}}},
		"json":      {200, http.Header{"Content-Type": {"application/json"}}},
	} {
		w := httptest.NewRecorder()
		s := &Script{W: w, Element: lines, Worker: true}
		maps.Copy(s.Header(), tc.head)
		s.Header().Set("ETag", "x")
		s.WriteHeader(tc.status)
		_, _ = fmt.Fprint(s, "f()")
		if s.Finish(); w.Body.String() != "f()" || w.Header().Get("ETag") != "x" {
			t.Errorf("%s: %s %v", name, w.Body, w.Header())
		}
	}
}

// What has no body gets none, under the length that it names.
func TestScriptAddsNothingToNothing(t *testing.T) {
	for _, worker := range []bool{false, true} {
		w := httptest.NewRecorder()
		s := &Script{W: w, Element: "<script></script>", Worker: worker}
		s.Header().Set("Content-Type", map[bool]string{false: "text/html", true: "text/javascript"}[worker])
		s.Header().Set("Content-Length", "0")
		s.WriteHeader(http.StatusOK)
		if s.Finish(); w.Body.Len() != 0 || w.Header().Get("Content-Length") != "0" {
			t.Errorf("worker %v: %q %v", worker, w.Body, w.Header())
		}
	}
}

func TestAllowScriptWidensNoMoreThanNeeded(t *testing.T) {
	const script, verify = "/mfa/assets/bridge.js", "/mfa/"
	for name, tc := range map[string]struct{ in, want string }{
		"self":            {"default-src 'self'; img-src *", "default-src 'self'; img-src *"},
		"script self":     {"script-src 'self' 'unsafe-eval'", "script-src 'self' 'unsafe-eval'"},
		"no scripts":      {"default-src 'none'", "default-src 'none'; script-src-elem S; connect-src C"},
		"inline only":     {"script-src 'unsafe-inline'; connect-src 'self'", "script-src 'unsafe-inline'; connect-src 'self'; script-src-elem 'unsafe-inline' S"},
		"nonce and hosts": {"script-src 'nonce-abc' https://cdn.example", "script-src 'nonce-abc' https://cdn.example; script-src-elem 'nonce-abc' https://cdn.example S"},
		"strict dynamic":  {"script-src 'strict-dynamic' 'nonce-abc'", "script-src 'strict-dynamic' 'nonce-abc'; script-src-elem 'strict-dynamic' 'nonce-abc' 'nonce-N'"},
		"two policies":    {"default-src 'self', script-src 'none'", "default-src 'self',script-src 'none'; script-src-elem S"},
		"nothing on it":   {"frame-ancestors 'none'", "frame-ancestors 'none'"},
	} {
		h := http.Header{"Content-Security-Policy": {tc.in}}
		nonce := AllowScript(h, script, []string{verify})
		want := strings.NewReplacer("S", script, "C", verify).Replace(strings.ReplaceAll(tc.want, "nonce-N", "nonce-"+nonce))
		if got := h.Get("Content-Security-Policy"); got != want && !(nonce != "" && strings.Contains(got, nonce) && strings.ReplaceAll(got, nonce, "N") == tc.want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
		if (nonce != "") != strings.Contains(tc.want, "nonce-N") {
			t.Errorf("%s: nonce %q", name, nonce)
		}
	}
}
