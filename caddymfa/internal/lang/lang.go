// Package lang is about the languages of pages and texts: which there are, which
// of them a person gets, and how they count.
package lang

import (
	"cmp"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// Default is for people whose language nobody has written.
const Default = "en"

// BuiltIn are the languages that pages and texts are written in, as tags of BCP 47.
// They are matched, not compared: no and nn are nb, de-AT is de.
var BuiltIn = []string{
	Default, "ar", "cs", "da", "de", "el", "es", "fi", "fr", "he", "it", "ja", "nb", "nl", "pl", "pt", "sv", "tr", "uk", "zh",
}

// maxAccept is how much of an Accept-Language value is read, and kept, in bytes;
// browsers send fewer than 100.
const maxAccept = 512

// Matcher chooses among languages. It is safe for concurrent use.
type Matcher struct {
	langs   []string
	matcher language.Matcher
}

// NewMatcher takes the languages to choose from, tags of BCP 47. The first is for
// whoever reads none of them.
func NewMatcher(langs []string) *Matcher {
	m := &Matcher{langs: slices.Clone(langs)}
	tags := make([]language.Tag, 0, len(langs))
	for _, lang := range langs {
		tags = append(tags, language.Make(lang))
	}
	m.matcher = language.NewMatcher(tags)
	return m
}

// Match chooses for an Accept-Language value (RFC 9110 12.5.4), whose quality
// values count: the closest language, and the first when none is near or the value
// cannot be read.
func (m *Matcher) Match(accept string) string {
	tags, _, err := language.ParseAcceptLanguage(Keep(accept))
	if err != nil || len(tags) == 0 {
		return m.langs[0]
	}
	// One after the other: of several at once the matcher prefers an exact one,
	// English to a Norwegian who reads Nynorsk first and English last.
	low := ""
	for _, tag := range tags {
		_, i, confidence := m.matcher.Match(tag)
		if confidence >= language.High {
			return m.langs[i]
		}
		// Low is better than nothing; No is a neighbour by script alone, such as
		// Ukrainian for Russian.
		if confidence == language.Low && low == "" {
			low = m.langs[i]
		}
	}
	return cmp.Or(low, m.langs[0])
}

// Keep is what is kept of an Accept-Language value to choose by later: "" when it
// names no language. Programs send "*", or nothing.
func Keep(accept string) string {
	if len(accept) > maxAccept {
		accept = accept[:max(0, strings.LastIndexByte(accept[:maxAccept], ','))]
	}
	if accept = strings.TrimSpace(accept); strings.HasPrefix(accept, "*") {
		return ""
	}
	return accept
}

// Near is the built-in language that somebody may have meant by what is no language
// tag: a country's code, as in jp or gr, or an English name. It is "" when there is
// no telling.
func Near(name string) string {
	lower := strings.ToLower(name)
	if region, err := language.ParseRegion(name); err == nil && region.IsCountry() {
		if base, confidence := language.Make("und-" + region.String()).Base(); confidence >= language.High && slices.Contains(BuiltIn, base.String()) {
			return base.String()
		}
	}
	if tag, ok := englishNames[lower]; ok {
		return tag
	}
	head, _, _ := strings.Cut(strings.ReplaceAll(lower, "_", "-"), "-")
	if slices.Contains(BuiltIn, head) {
		return head
	}
	return ""
}

var englishNames = map[string]string{
	"english": "en", "arabic": "ar", "czech": "cs", "danish": "da", "german": "de", "greek": "el", "spanish": "es", "finnish": "fi", "french": "fr", "hebrew": "he",
	"italian": "it", "japanese": "ja", "norwegian": "nb", "dutch": "nl", "polish": "pl", "portuguese": "pt", "swedish": "sv", "turkish": "tr", "ukrainian": "uk", "chinese": "zh",
}
