package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"

	"github.com/caddymfa/caddymfa/caddymfa/internal/event"
)

//go:embed templates/*.html
var templates embed.FS

//go:embed texts/*.json
var texts embed.FS

//go:embed assets/*
var assets embed.FS

// Pages are the parsed pages in all languages. It is safe for concurrent use.
type Pages struct {
	page    *template.Template
	langs   []string
	texts   map[string]map[string]string
	matcher language.Matcher
	assets  map[string]asset
}

type asset struct {
	body []byte
	kind string
	etag string
}

// New parses what is embedded.
func New() (*Pages, error) {
	p := &Pages{langs: []string{"en"}, texts: map[string]map[string]string{}, assets: map[string]asset{}}
	files, err := texts.ReadDir("texts")
	if err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	for _, f := range files {
		b, err := texts.ReadFile("texts/" + f.Name())
		if err != nil {
			return nil, fmt.Errorf("pages: %w", err)
		}
		lang, m := strings.TrimSuffix(f.Name(), ".json"), map[string]string{}
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("pages: %s: %w", f.Name(), err)
		}
		p.texts[lang] = m
		if lang != "en" {
			p.langs = append(p.langs, lang) // en is first: for languages that nobody has
		}
	}
	var tags []language.Tag
	for _, l := range p.langs {
		tags = append(tags, language.MustParse(l))
	}
	p.matcher = language.NewMatcher(tags)
	if p.page, err = template.ParseFS(templates, "templates/*.html"); err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	return p, p.loadAssets()
}

func (p *Pages) loadAssets() error {
	files, err := assets.ReadDir("assets")
	if err != nil {
		return fmt.Errorf("pages: %w", err)
	}
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
	for _, f := range files {
		b, err := assets.ReadFile("assets/" + f.Name())
		if err != nil {
			return fmt.Errorf("pages: %w", err)
		}
		sum := sha256.Sum256(b)
		p.assets[f.Name()] = asset{b, kinds[path.Ext(f.Name())], `"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return nil
}

// Asset serves a file of the pages.
func (p *Pages) Asset(w http.ResponseWriter, r *http.Request, name string) {
	a, ok := p.assets[name]
	if !ok {
		http.Error(w, "404 page not found", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("ETag", a.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
}

// content is what the templates see.
type content struct {
	View
	Lang, Title, Heading, Body, Problem string
	text                                map[string]string
}

// T is a text; pairs of name and value are put in for {name}.
func (c content) T(key string, pairs ...any) string {
	s := c.text[key]
	for i := 0; i+1 < len(pairs); i += 2 {
		s = strings.ReplaceAll(s, "{"+fmt.Sprint(pairs[i])+"}", fmt.Sprint(pairs[i+1]))
	}
	return s
}

// Seconds is the wait before another text, rounded up.
func (c content) Seconds() int { return int(math.Ceil(c.Wait.Seconds())) }

// Countries lists the regions.
func (c content) Countries() string { return strings.Join(c.Regions, ", ") }

func (p *Pages) content(r *http.Request, v View) content {
	lang := "en"
	if tags, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language")); err == nil && len(tags) > 0 {
		_, i, _ := p.matcher.Match(tags...)
		lang = p.langs[i]
	}
	c := content{View: v, Lang: lang, text: p.texts[lang]}
	minutes := max(1, int(math.Ceil(v.Until.Minutes())))
	say := func(prefix string, reason event.Reason) string {
		key := prefix + string(reason)
		if reason == event.LockedOut && v.Until == 0 {
			key = prefix + string(event.Disabled)
		}
		if _, ok := c.text[key]; !ok {
			key = prefix + "other"
		}
		return c.T(key, "minutes", minutes, "digits", v.Digits, "left", v.Left, "seconds", c.Seconds(), "countries", c.Countries())
	}
	switch v.Kind {
	case Code, Number:
		c.Heading = c.T(map[Kind]string{Code: "code.heading", Number: "number.heading"}[v.Kind])
		if v.Reason != "" {
			c.Problem = say("problem.", v.Reason)
			if v.Reason == event.WrongCode && v.Left <= 2 {
				c.Problem += " " + c.T("left."+map[bool]string{true: "one", false: "many"}[v.Left == 1], "left", v.Left)
			}
		} else if v.Unsent != "" && !v.Sent {
			c.Problem = say("problem.", v.Unsent)
		}
	case SignedIn:
		c.Heading = c.T("signedin.heading")
	case Frame:
		c.Heading = c.T("frame.heading")
	case Message:
		c.Heading, c.Body = say("title.", v.Reason), say("message.", v.Reason)
	}
	c.Title = c.Heading
	if c.Problem != "" {
		c.Title = c.T("error") + " " + c.Title
	}
	return c
}

// Write writes a page. It never says why it cannot.
func (p *Pages) Write(w http.ResponseWriter, r *http.Request, status int, v View) {
	var b bytes.Buffer
	c := p.content(r, v)
	if err := p.page.ExecuteTemplate(&b, "page", c); err != nil {
		secure(w.Header())
		http.Error(w, "The page cannot be shown.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	secure(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", c.Lang)
	ancestors := "'none'"
	if v.Kind == Frame {
		ancestors = "'self'"
	} else {
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	// No form-action: browsers hold it against the redirect after the code as
	// well, and the application may send its user to a host that the operator
	// allowed. The forms' targets are fixed, and there is no markup to inject.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; frame-ancestors "+ancestors)
	h.Set("Permissions-Policy", "otp-credentials=(self)")
	h.Set("Vary", "Accept-Language, Sec-Fetch-Mode, Sec-Fetch-Dest, Accept")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(b.Bytes())
	}
}

// secure are the headers of everything that we say. same-origin, because
// no-referrer would turn the Origin of our forms into null. no-transform keeps
// pages that hold a token from being compressed beside attacker's text (BREACH).
func secure(h http.Header) {
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Robots-Tag", "noindex")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}
