package peft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gopeft/peft/registry"
)

// Verify checks everything in the registry against its checksums. The report is nil only when the registry could not be
// read at all; damage makes the error wrap registry.ErrCorrupt.
func (e *Engine) Verify(ctx context.Context) (*registry.Report, error) {
	return e.reg.Verify(ctx, func(n int64) { e.progress(Progress{Task: "verify", Done: int(n >> 20), Unit: "MiB"}) })
}

// Backup writes the whole registry to file, which appears under its name only when it is complete, and returns its
// size in bytes.
func (e *Engine) Backup(file string) (int64, error) {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".backup-*")
	if err != nil {
		return 0, fmt.Errorf("peft: backup: %w", err)
	}
	err = errors.Join(e.reg.Backup(tmp), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("peft: backup to %s: %w", file, err), os.Remove(tmp.Name()))
	}
	st, err := os.Stat(file)
	if err != nil {
		return 0, fmt.Errorf("peft: backup: %w", err)
	}
	return st.Size(), nil
}

// Restore makes a registry in dir (empty for DefaultRegistry) from a file that Backup wrote. dir must be empty or absent.
func Restore(ctx context.Context, dir, file string) (*registry.Report, error) {
	if dir == "" {
		dir = DefaultRegistry()
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("peft: restore: %w", err)
	}
	rep, err := registry.Restore(ctx, dir, f)
	return rep, errors.Join(err, f.Close())
}
