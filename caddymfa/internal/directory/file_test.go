package directory

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "numbers")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLinesAreReadAsPeopleWriteThem(t *testing.T) {
	f, err := Open(write(t, "# who has which number\n\nalice +447400123456\n\t bob\t+44 7400 654321   # works at night\n\"Carol  Smith\" +491711234567\nDAVE +447400111111\ndave +447400111111\n"))
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{
		"alice": "+447400123456", "ALICE": "+447400123456", " alice ": "+447400123456", "ａｌｉｃｅ": "+447400123456", "bob": "+447400654321",
		"carol smith": "+491711234567", "dave": "+447400111111", "mallory": "", "": "", "#": "", "alice smith": "",
	} {
		if got, err := f.Number(t.Context(), user); got != want || err != nil {
			t.Errorf("%q: %q, %v", user, got, err)
		}
	}
}

func TestMistakesNameTheirLine(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"no number":            {"alice +447400123456\nbob\n", ":2:"},
		"national form":        {"alice 07400123456\n", ":1:"},
		"words":                {"\n\nalice none\n", ":3:"},
		"quote without an end": {"\"alice +447400123456\n", ":1:"},
		"F3 twice, two numbers": {
			"alice +447400123456\nAlice +447400654321\n", "twice",
		},
	} {
		if _, err := Open(write(t, tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a missing file is an empty directory")
	}
}

// TestChangesAreSeenAndBrokenOnesAreErrors: an unreadable directory must not be
// one in which nobody has a number.
func TestChangesAreSeenAndBrokenOnesAreErrors(t *testing.T) {
	path := write(t, "alice +447400123456\n")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	stamp := time.Now()
	change := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		stamp = stamp.Add(time.Minute)
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
		f.looked = time.Time{} // the time of the next look has come
	}
	change("alice +447400654321\n")
	if got, err := f.Number(t.Context(), "alice"); got != "+447400654321" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	change("alice nonsense\n")
	for range 2 { // also when it is asked again at once
		if got, err := f.Number(t.Context(), "alice"); err == nil {
			t.Fatalf("a broken file says %q", got)
		}
	}
	change("alice +447400123456\n")
	if got, err := f.Number(t.Context(), "alice"); got != "+447400123456" || err != nil {
		t.Fatalf("mended: %q, %v", got, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.looked = time.Time{}
	for range 2 {
		if got, err := f.Number(t.Context(), "mallory"); err == nil {
			t.Fatalf("a file that is gone says %q", got)
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, s := range []string{"alice +447400123456", `"a b" +1`, "# x", "\"", "a\tb#c", "  "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		user, number, ok := split(line)
		if !ok && (user != "" || number != "") {
			t.Fatalf("%q is no line and has %q, %q", line, user, number)
		}
		if strings.Contains(number, "#") {
			t.Fatalf("the number of %q holds a comment", line)
		}
	})
}

// example is the number that errors show.
const example = "such as +447400123456"

func TestOtherFormsOfFiles(t *testing.T) {
	writeAs := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, text := range map[string]string{
		"n.csv":  "name,mobile,room\nalice,+44 7400 123456,1\n\"Smith, Carol\",+491711234567\n",
		"m.CSV":  "alice,+447400123456\n\"Smith, Carol\", +49 171 1234567\n",
		"n.json": "{\"alice\": \"+447400123456\", \"Smith, Carol\": \"+491711234567\"}\n",
	} {
		f, err := Open(writeAs(name, text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for user, want := range map[string]string{"ALICE": "+447400123456", "smith, carol": "+491711234567", "name": "", "": ""} {
			if got, err := f.Number(t.Context(), user); got != want || err != nil {
				t.Errorf("%s: %q: %q, %v", name, user, got, err)
			}
		}
	}
	for name, c := range map[string]struct{ file, text, want string }{
		"csv, no number":       {"n.csv", "alice,+447400123456\nbob,none\n", ":2:"},
		"csv, one column":      {"n.csv", "alice,+447400123456\nbob\n", ":2:"},
		"csv, a quote":         {"n.csv", "\"alice,+447400123456\n", "n.csv"},
		"csv, twice":           {"n.csv", "alice,+447400123456\nAlice,+447400654321\n", "twice"},
		"csv, no name":         {"n.csv", ",+447400123456\n", "name is missing"},
		"json, a list":         {"n.json", "[]", "no JSON object"},
		"json, empty":          {"n.json", "", "no JSON object"},
		"json, cut":            {"n.json", "{\"alice\": \"+447400123456\"", "EOF"},
		"json, a bare number":  {"n.json", "{\"alice\": 447400123456}", "as text"},
		"json, twice":          {"n.json", "{\"alice\": \"+447400123456\", \"ALICE\": \"+447400654321\"}", "twice"},
		"json, something more": {"n.json", "{} {}", "more than one"},
	} {
		if _, err := Open(writeAs(c.file, c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(strings.ReplaceAll(strings.ReplaceAll(err.Error(), `"`, ""), example, ""), "+44") {
			t.Errorf("%s: the error holds a number: %v", name, err)
		}
	}
}
