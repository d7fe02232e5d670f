// Package directory finds the number of a user in a place that somebody else
// keeps: a file.
package directory

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/intake"
	"github.com/caddymfa/caddymfa/caddymfa/internal/phone"
)

// File is a directory in a text file: a user's name, blanks, a number in
// international form on each line; # begins a comment. A name with blanks
// stands in double quotes. The file is read again when it has changed.
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
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		user, number, ok := split(lines.Text())
		if !ok {
			continue
		}
		p, err := phone.Parse(number, "")
		if err != nil {
			return fmt.Errorf("directory: %s:%d: the number is missing or not in international form, such as +447400123456", f.path, n)
		}
		key := intake.FoldUser(user)
		if other, twice := numbers[key]; twice && other != p.E164() {
			return fmt.Errorf("directory: %s:%d: this user stands in the file twice, with different numbers (case, width and blanks do not count)", f.path, n)
		}
		numbers[key] = p.E164()
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	f.numbers, f.stamp, f.looked = numbers, info.ModTime(), time.Now()
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
