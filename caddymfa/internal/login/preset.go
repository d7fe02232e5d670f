package login

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed presets/*.caddyfile
var presets embed.FS

// Presets are the names of the presets.
func Presets() []string {
	files, err := presets.ReadDir("presets")
	if err != nil {
		panic(err) // embedded
	}
	var out []string
	for _, f := range files {
		out = append(out, strings.TrimSuffix(f.Name(), ".caddyfile"))
	}
	return out
}

// Preset is the text of a preset, in the grammar of the directive's block.
func Preset(name string) ([]byte, error) {
	text, err := presets.ReadFile("presets/" + name + ".caddyfile")
	if err != nil {
		return nil, fmt.Errorf("there is no preset %q; this version has: %s", name, strings.Join(Presets(), ", "))
	}
	return text, nil
}
