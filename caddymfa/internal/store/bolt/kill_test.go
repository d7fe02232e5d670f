package bolt

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddymfa/caddymfa/caddymfa/internal/store"
)

// childFile makes this test binary a process that writes until it is killed.
const childFile = "STORE_BOLT_CHILD"

const writers = 4

// child says on its standard output what was acknowledged. Each writer puts
// records, takes every second one, and counts.
func child(path string) {
	s, err := Open(path)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	ctx, run := context.Background(), os.Getpid()
	for w := range writers {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d-%d", run, w, i)
				if _, err := s.Put(ctx, key, []byte(key), 0, store.Options{}); err != nil {
					return
				}
				fmt.Println("put", key)
				if i%2 == 0 {
					if _, err := s.Take(ctx, key); err != nil {
						return
					}
					fmt.Println("take", key)
				}
				if _, err := s.Add(ctx, fmt.Sprintf("%d-%d", run, w), 1, time.Hour); err != nil {
					return
				}
				fmt.Printf("add %d-%d\n", run, w)
			}
		}()
	}
	select {} // until it is killed
}

// acknowledged runs a child, kills it amid its writes, and returns what it said.
func acknowledged(t *testing.T, path string, lines int) (said []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this binary
	cmd.Env = append(os.Environ(), childFile+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		if said = append(said, scan.Text()); len(said) == lines {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	if len(said) < lines {
		t.Fatalf("the child ended early: %q", said)
	}
	return said
}

func TestKilledProcessKeepsWhatWasAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mfa.db")
	there, counts := map[string]bool{}, map[string]int64{}
	for range 5 {
		last := map[string]string{} // of each writer: the one op after it is unknown
		for _, line := range acknowledged(t, path, 600) {
			what, key, _ := strings.Cut(line, " ")
			writer := strings.Join(strings.Split(key, "-")[:2], "-")
			switch what {
			case "put", "take":
				there[key] = what == "put"
			case "add":
				counts[key]++
			}
			last[writer] = line
		}
		for _, line := range last {
			if what, key, _ := strings.Cut(line, " "); what == "put" {
				delete(there, key) // its take may have come to the disk, but not to the pipe
			}
		}
		s := openAt(t, path)
		for key, want := range there { // of the former runs as well
			if rec, err := s.Get(t.Context(), key); (err == nil) != want || want && string(rec.Value) != key {
				t.Errorf("%s: there %v, want %v: %v", key, err == nil, want, err)
			}
		}
		for key, want := range counts {
			if c, err := s.Add(t.Context(), key, 0, time.Hour); err != nil || c.N < want || c.N > want+1 {
				t.Errorf("%s counted %d, acknowledged %d: %v", key, c.N, want, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
