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
