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
	f, err := Open(write(t, "# who has which number\n\nalice +447400123456\n\t bob\t+44 7400 654321   # works at night\n\"Carol  Smith\" +491711234567\nDAVE +447400111111\ndave +447400111111\n"), "")
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
		if _, err := Open(write(t, tc.text), ""); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "missing"), ""); err == nil {
		t.Error("a missing file is an empty directory")
	}
}

// TestPeople_P19_TheLastGoodVersionStaysInForce: a line that somebody has mistyped
// shuts nobody out, and the operator is told once, with file, line and cause.
func TestPeople_P19_TheLastGoodVersionStaysInForce(t *testing.T) {
	path := write(t, "alice +447400123456\n")
	f, err := Open(path, "")
	if err != nil {
		t.Fatal(err)
	}
	var told []error
	f.report = func(err error) { told = append(told, err) }
	stamp := time.Now()
	is := func(user, number string) {
		t.Helper()
		f.looked = time.Time{} // the time of the next look has come
		for range 2 {          // also when it is asked again at once
			if got, err := f.Number(t.Context(), user); got != number || err != nil {
				t.Fatalf("%s: %q, %v; want %q", user, got, err, number)
			}
		}
	}
	change := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		stamp = stamp.Add(time.Minute)
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	reported := func(want string) {
		t.Helper()
		if len(told) != 1 || want == "" && told[0] != nil || want != "" && (told[0] == nil || !strings.Contains(told[0].Error(), want)) {
			t.Fatalf("told %v, want %q once", told, want)
		}
		if want != "" && strings.Contains(told[0].Error(), "0151") {
			t.Fatalf("the report names the number: %v", told[0])
		}
		told = nil
	}
	change("alice +447400654321\n")
	is("alice", "+447400654321")
	change("alice +447400654321\ncarl 0151\n")
	is("alice", "+447400654321")
	is("carl", "")
	reported("numbers:2: the number has no country code: write it such as +447400123456, or name the country with region in the block of directory file; a line is a name, blanks")
	change("alice +447400123456\ncarl +447400654321\n")
	is("alice", "+447400123456")
	is("carl", "+447400654321")
	reported("")
	for name, harm := range map[string]struct {
		do   func() error
		want string
	}{
		"emptied": {func() error { return os.Truncate(path, 0) }, "holds no name any more"},
		"removed": {func() error { return os.Remove(path) }, "no such file"},
	} {
		if err := harm.do(); err != nil {
			t.Fatal(name, err)
		}
		is("alice", "+447400123456")
		is("mallory", "")
		reported(harm.want)
		change("alice +447400123456\ncarl +447400654321\n")
		is("carl", "+447400654321")
		reported("")
	}
}

// TestPeople_P19_ItIsSaidAtOnce: also when nobody signs in.
func TestPeople_P19_ItIsSaidAtOnce(t *testing.T) {
	path := write(t, "alice +447400123456\n")
	f, err := Open(path, "")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 10)
	f.Watch(t.Context(), func(err error) { told <- err })
	if err := os.WriteFile(path, []byte("alice +447400123456\nbob 12\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-told:
		if err == nil || !strings.Contains(err.Error(), ":2:") {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("nobody was told")
	}
}

func TestPeople_P19_NationalNumbersWithARegion(t *testing.T) {
	f, err := Open(write(t, "alice 07400 123456\nbob +491711234567\n"), "GB")
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{"alice": "+447400123456", "bob": "+491711234567"} {
		if got, err := f.Number(t.Context(), user); got != want || err != nil {
			t.Errorf("%s: %q, %v", user, got, err)
		}
	}
	if _, err := Open(write(t, "alice 12\n"), "GB"); err == nil || !strings.Contains(err.Error(), ":1: this is no phone number, neither with its country code, such as +447400123456, nor one of GB") {
		t.Error(err)
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
		f, err := Open(writeAs(name, text), "")
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
		if _, err := Open(writeAs(c.file, c.text), ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(strings.ReplaceAll(strings.ReplaceAll(err.Error(), `"`, ""), example, ""), "+44") {
			t.Errorf("%s: the error holds a number: %v", name, err)
		}
	}
}
