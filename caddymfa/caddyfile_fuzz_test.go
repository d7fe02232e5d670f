package caddymfa

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzCaddyfile reads global options and directives. Whatever stands in them,
// reading does not panic; what is accepted is JSON that provisions, or is
// refused with an error that says something.
func FuzzCaddyfile(f *testing.F) {
	f.Setenv("XDG_DATA_HOME", f.TempDir())
	global, block := "sms console\ncountries GB", "preset wordpress"
	f.Add(global, block)
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		f.Fatal("no goldens")
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		text, _, _ := strings.Cut(string(b), "\n----------\n")
		blocks := insides(text)
		for _, in := range blocks {
			f.Add(global, in)
			f.Add(in, block)
		}
	}
	f.Add("secret {env.X}\nstore redis redis://a redis://b {\ndb 1\n}\nsms webhook http://x {\nbody \"{to} {text}\"\n}\ncode {\nlength 7\n}\nresend 30s\nlimits {\nwrong 3\n}", "login {\npath /l\nuser json a.b (x)\nsuccess not status 200 json ok true next /x status 200 body x\n}")
	f.Fuzz(func(t *testing.T, global, block string) {
		if !closed(global) || !closed(block) {
			return // it would leave its place in the file
		}
		text := "{\n\tmfa {\n" + global + "\n\t}\n}\n:9999 {\n\tmfa {\n" + block + "\n\t}\n}\n"
		out, err := adapt(text)
		switch {
		case err != nil && err.Error() == "":
			t.Fatal("an error that says nothing")
		case err != nil:
			return
		case !strings.Contains(out, `"handler": "mfa"`) || !strings.Contains(out, `"mfa": {`):
			t.Fatalf("accepted, and no gate is there: %s", out)
		}
		for _, word := range []string{"file", "embedded", "directory"} {
			if strings.Contains(text, word) {
				return // it would touch files of the machine
			}
		}
		if err := provision(text); err != nil && err.Error() == "" {
			t.Fatal("an error that says nothing")
		}
	})
}

// closed reports whether a text closes what it opens, and nothing else, and
// brings no other file in.
func closed(s string) bool {
	depth, quoted := 0, false
	for i, c := range []byte(s) {
		blank := func(j int) bool { return j < 0 || j >= len(s) || s[j] == ' ' || s[j] == '\t' || s[j] == '\n' }
		switch {
		case c == '`' || c == '<' || c == '#' || c == '\r' || c == '\\' && !quoted:
			return false // they change what a brace is
		case c == '"' && quoted && s[i-1] == '\\':
		case c == '"':
			if !quoted && !blank(i-1) || quoted && !blank(i+1) {
				return false
			}
			quoted = !quoted
		case quoted:
		case c == '{':
			depth++
		case c == '}':
			depth--
		}
		if depth < 0 {
			return false
		}
	}
	return depth == 0 && !quoted && !strings.Contains(s, "import")
}

// insides are the contents of the mfa blocks of a Caddyfile.
func insides(text string) (out []string) {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		name := strings.TrimSpace(line)
		if name != "mfa {" {
			continue
		}
		depth := 1
		var in []string
		for _, l := range lines[i+1:] {
			depth += strings.Count(l, "{") - strings.Count(l, "}")
			if depth == 0 {
				break
			}
			in = append(in, l)
		}
		out = append(out, strings.Join(in, "\n"))
	}
	return out
}
