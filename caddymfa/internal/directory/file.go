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

// File is a directory in a text file: a user's name, blanks, a number in
// international form on each line; # begins a comment. A name with blanks
// stands in double quotes. Files that end in .csv or .json are read as such. The
// file is read again when it has changed; put a new one in its place by renaming,
// so that nobody reads half of it.
type File struct {
	path string

	mu      sync.Mutex
	numbers map[string]string
	stamp   time.Time
	looked  time.Time
}

// lookEvery is how often the file's time is looked at.
const lookEvery = 2 * time.Second

// Open reads the file. A line that cannot be used is an error that names it.
func Open(path string) (*File, error) {
	f := &File{path: path}
	return f, f.load()
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
		p, err := phone.Parse(number, "")
		if err != nil {
			return fmt.Errorf("directory: %s: the number is missing or not in international form, such as +447400123456", where)
		}
		key := intake.FoldUser(user)
		if key == "" {
			return fmt.Errorf("directory: %s: the name is missing", where)
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
	f.numbers, f.stamp, f.looked = numbers, info.ModTime(), time.Now()
	return nil
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

// Number implements the flow's Directory. A file that has become unreadable is
// an error, not an empty directory: nobody is then without a second factor.
func (f *File) Number(_ context.Context, user string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) >= lookEvery {
		info, err := os.Stat(f.path)
		if err != nil {
			return "", fmt.Errorf("directory: %w", err)
		}
		if info.ModTime().Equal(f.stamp) {
			f.looked = time.Now()
		} else if err := f.load(); err != nil {
			return "", err
		}
	}
	return f.numbers[intake.FoldUser(user)], nil
}
