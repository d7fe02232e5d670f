// Package directory finds the number of a user in a place that somebody else
// keeps: a file.
package directory

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
)

// File is a directory in a text file: a user's name, blanks, a number on each line;
// # begins a comment. A name with blanks stands in double quotes. Files that end in
// .csv or .json are read as such. The file is read again when it has changed; put a
// new one in its place by renaming, so that nobody reads half of it. Of a file that
// cannot be used any more the last good version stays in force (people P19).
type File struct {
	path, region string

	mu      sync.Mutex
	report  func(error)
	numbers map[string]string
	version version
	looked  time.Time
	broken  string // what was reported last, "" while the file is good
}

// version tells a changed file from the one that was read.
type version struct {
	at   time.Time
	size int64
}

// lookEvery is how often it is looked whether the file has changed.
const lookEvery = 2 * time.Second

// format is how a file has to be, for who reads an error.
const format = "a line is a name, blanks or a tab, and a number; a name with blanks stands in double quotes, # begins a comment; .csv has the two in columns, .json is an object of them"

// errEmptied keeps a file that an editor or a full disk has cut from taking
// everybody's number away.
var errEmptied = errors.New("holds no name any more; if nobody is meant to have a number, load the configuration again")

// Open reads the file. A line that cannot be used is an error that names it. region
// is the country of numbers without a country code (ISO 3166-1 alpha-2), "" where
// every number has one.
func Open(path, region string) (*File, error) {
	f := &File{path: path, region: region}
	return f, f.load()
}

// Watch looks at the file every two seconds for as long as the context lives.
// report is told once when the file cannot be used any more, and with nil when it
// can be used again. It must not ask the directory.
func (f *File) Watch(ctx context.Context, report func(error)) {
	f.mu.Lock()
	f.report = report
	f.mu.Unlock()
	go func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				f.mu.Lock()
				f.look()
				f.mu.Unlock()
			}
		}
	}()
}

func (f *File) load() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	file, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	defer func() { _ = file.Close() }()
	numbers := map[string]string{}
	err = entries(f.path, file, func(where, user, number string) error {
		key := intake.FoldUser(user)
		if key == "" {
			return fmt.Errorf("directory: %s: the name is missing; %s", where, format)
		}
		p, err := phone.Parse(number, f.region)
		if err != nil {
			return fmt.Errorf("directory: %s: %s; %s", where, f.wrong(number), format)
		}
		if other, twice := numbers[key]; twice && other != p.E164() {
			return fmt.Errorf("directory: %s: this user stands in the file twice, with different numbers (case, width and blanks do not count)", where)
		}
		numbers[key] = p.E164()
		return nil
	})
	if err != nil {
		return err
	}
	if len(numbers) == 0 && len(f.numbers) > 0 {
		return fmt.Errorf("directory: %s: %w", f.path, errEmptied)
	}
	f.numbers, f.version = numbers, version{info.ModTime(), info.Size()}
	return nil
}

// wrong says what is wrong with a number, without naming it.
func (f *File) wrong(number string) string {
	switch number = strings.TrimSpace(number); {
	case number == "":
		return "the number is missing"
	case f.region == "" && !strings.HasPrefix(number, "+") && !strings.HasPrefix(number, "00"):
		return "the number has no country code: write it such as +447400123456, or name the country with region in the block of directory file"
	case f.region != "":
		return "this is no phone number, neither with its country code, such as +447400123456, nor one of " + f.region
	}
	return "this is no phone number: write it with its country code, such as +447400123456"
}

// entries reads a file by the end of its name: .json is an object of names and
// numbers, .csv has a name and a number on each row, everything else is lines.
func entries(path string, r io.Reader, take func(where, user, number string) error) error {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".json":
		return objects(path, r, take)
	case ".csv":
		return rows(path, r, take)
	}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		user, number, ok := split(lines.Text())
		if !ok {
			continue
		}
		if err := take(fmt.Sprintf("%s:%d", path, n), user, number); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	return nil
}

// rows reads CSV (RFC 4180). A first row without a digit in its second column
// names the columns.
func rows(path string, r io.Reader, take func(where, user, number string) error) error {
	c := csv.NewReader(r)
	c.FieldsPerRecord, c.TrimLeadingSpace = -1, true
	for first := true; ; first = false {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("directory: %s: %w", path, err)
		}
		line, _ := c.FieldPos(0)
		where := fmt.Sprintf("%s:%d", path, line)
		if len(row) < 2 {
			return fmt.Errorf("directory: %s: a row has a name and a number", where)
		}
		if first && !strings.ContainsAny(row[1], "0123456789") {
			continue
		}
		if err := take(where, row[0], row[1]); err != nil {
			return err
		}
	}
}

// objects reads JSON: {"alice": "+447400123456", …}. It is read name by name, so
// that a name that stands there twice is seen.
func objects(path string, r io.Reader, take func(where, user, number string) error) error {
	d := json.NewDecoder(r)
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("directory: %s is no JSON object of names and numbers", path)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return fmt.Errorf("directory: %s: %w", path, err)
		}
		var number string
		if err := d.Decode(&number); err != nil {
			return fmt.Errorf("directory: %s: at byte %d: a number is written as text, such as \"+447400123456\"", path, d.InputOffset())
		}
		user, _ := name.(string)
		if err := take(fmt.Sprintf("%s: at byte %d", path, d.InputOffset()), user, number); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("directory: %s: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("directory: %s: there is more than one value", path)
	}
	return nil
}

// split reads a line; ok is false for blank lines and comments.
func split(line string) (user, number string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", "", false
	}
	if rest, quoted := strings.CutPrefix(line, `"`); quoted {
		user, number, _ = strings.Cut(rest, `"`)
	} else {
		i := strings.IndexAny(line, " \t")
		if i < 0 {
			return line, "", true
		}
		user, number = line[:i], line[i:]
	}
	number, _, _ = strings.Cut(number, "#")
	return user, strings.TrimSpace(number), true
}

// Number implements the flow's Directory. A file that has become unusable goes on
// to say what it said before: one line that somebody has mistyped shuts nobody out,
// and nobody is without a second factor.
func (f *File) Number(_ context.Context, user string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) >= lookEvery {
		f.look()
	}
	return f.numbers[intake.FoldUser(user)], nil
}

// look reads the file if it has changed, and one that could not be used at every
// look, because rights that are mended change no time.
func (f *File) look() {
	f.looked = time.Now()
	info, err := os.Stat(f.path)
	if err == nil && f.broken == "" && f.version == (version{info.ModTime(), info.Size()}) {
		return
	}
	now := ""
	if err = f.load(); err != nil {
		now = err.Error()
	}
	if now != f.broken && f.report != nil {
		f.report(err)
	}
	f.broken = now
}
