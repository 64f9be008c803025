// Package record keeps what experiments measure: units of work in a JSON file as each is done, so that an interrupted
// experiment loses one at most, and a section of a Markdown page that belongs to one program.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Units are the results of an experiment, by the name of the unit of work that gave each.
type Units[T any] struct {
	Machine string       `json:"machine"`
	Done    map[string]T `json:"done"`

	path string
}

// Open reads the units that the file has; there need not be one.
func Open[T any](path string) (*Units[T], error) {
	u := &Units[T]{Done: map[string]T{}, path: path}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("results: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(b, u); err != nil {
			return nil, fmt.Errorf("results %s: %w", path, err)
		}
	}
	u.Machine = Machine()
	return u, nil
}

// Machine says where results come from.
func Machine() string {
	return fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
}

// Do returns the unit's result: the one in the file or, where it has none, that of work, which is then put there.
func (u *Units[T]) Do(name string, work func() (T, error)) (T, error) {
	if r, ok := u.Done[name]; ok {
		return r, nil
	}
	r, err := work()
	if err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	u.Done[name] = r
	return r, u.Write(u.path)
}

// Write replaces the file at path at once.
func (u *Units[T]) Write(path string) error { return Write(path, u) }

// Write replaces the file at path at once by v as JSON.
func Write(path string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("results %s: %w", path, err)
	}
	return replace(path, append(b, '\n'))
}

// replace writes a file that is there whole or as it was.
func replace(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	part := path + ".part"
	if err := os.WriteFile(part, b, 0o644); err != nil {
		return err
	}
	return os.Rename(part, path)
}
