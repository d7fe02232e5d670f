package caddymfa

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddymfa/caddymfa/caddymfa/internal/login"
)

// parsePreset reads a preset's lines, which can say nothing that a user cannot.
func (p *parser) parsePreset(d *caddyfile.Dispenser) error {
	place := p.place(d)
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Err("preset: write a name, and a base path if the application is not at /")
	}
	if len(p.h.Logins) > 0 {
		return d.Err("preset is there twice: the login page and the single words of the first would be lost")
	}
	text, err := login.Preset(args[0])
	if err != nil {
		return d.WrapErr(err)
	}
	base := ""
	if len(args) == 2 {
		base = strings.TrimSuffix(args[1], "/")
		if !strings.HasPrefix(base, "/") {
			return d.Errf("preset: base path %q must start with a slash", args[1])
		}
	}
	tokens, err := caddyfile.Tokenize(append(append([]byte("preset {\n"), text...), "\n}\n"...), "preset "+args[0])
	if err != nil {
		return d.WrapErr(err)
	}
	inner := caddyfile.NewDispenser(tokens)
	inner.Next()
	q := &parser{h: p.h, base: base, seen: map[string]bool{}, at: p.at, preset: place + ", preset " + args[0]}
	if err := q.block(inner); err != nil {
		return d.WrapErr(err)
	}
	for _, l := range p.h.Logins {
		p.seen["preset login "+l.Name] = true
	}
	return nil
}
