package birth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// marker is what a machine remembers of the store. It holds no secret.
type marker struct {
	// Unborn: the secret was made, and the store not yet.
	Unborn bool     `json:"unborn,omitempty"`
	ID     string   `json:"store,omitempty"`
	Beat   uint64   `json:"beat,omitempty"`
	Was    []string `json:"was,omitempty"`
}

func (m marker) names() []string {
	if m.ID == "" {
		return m.Was
	}
	return add(m.Was, []string{m.ID})
}

// saveEvery is how often the beat is written into the marker of a store that nodes
// share: one that is older only finds fewer copies.
const saveEvery = time.Minute

// remember reads the marker, once.
func (w *Watch) remember(ctx context.Context) error {
	if w.read {
		return nil
	}
	for _, path := range w.opts.Markers {
		b, err := os.ReadFile(path) //nolint:gosec // the operator's directory
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var m marker
		if err != nil || json.Unmarshal(b, &m) != nil || m.ID == "" && !m.Unborn {
			w.used = true // one that cannot be read is a sign all the same
		} else {
			w.memory = m
		}
		w.memory.Unborn = false
		w.read = true
		return nil
	}
	if w.opts.Used != nil {
		used, err := w.opts.Used(ctx)
		if err != nil {
			return fmt.Errorf("birth: %w", err)
		}
		w.used = used
	}
	w.read = true
	return nil
}

// save writes the marker, at once or when its time has come.
func (w *Watch) save(now bool) {
	if len(w.opts.Markers) == 0 || !now && time.Since(w.saved) < saveEvery {
		return
	}
	w.saved = time.Now()
	err := write(w.opts.Markers[0], w.memory)
	if err != nil && w.unsaved == nil {
		if l := w.listen.Load(); l != nil && l.Unsaved != nil {
			l.Unsaved(err)
		}
	}
	w.unsaved = err
}

// Unborn notes that a store without content is a new one: its secret was just made.
func Unborn(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return write(path, marker{Unborn: true})
}

// write replaces the file as a whole: a reader sees the old one or the new one.
func write(path string, m marker) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".marker-")
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(b, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
