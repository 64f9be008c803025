package peft

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/registry"
)

// exportRecord is the file in an export that says what it is.
const exportRecord = "peft-set.json"

// Export writes one revision of a set to a file that AddExperts imports: a zip archive of its record and parts. It
// returns the file's size in bytes.
func (e *Engine) Export(ref, file string) (int64, error) {
	s := e.reg.Snapshot()
	defer s.Close()
	m, err := findSet(s, ref)
	if err != nil {
		return 0, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".export-*")
	if err != nil {
		return 0, fmt.Errorf("peft: export: %w", err)
	}
	err = errors.Join(writeExport(s, m, tmp), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("peft: export %s: %w", ref, err), os.Remove(tmp.Name()))
	}
	st, err := os.Stat(file)
	if err != nil {
		return 0, fmt.Errorf("peft: export: %w", err)
	}
	return st.Size(), nil
}

func writeExport(s *registry.Snapshot, m *registry.Manifest, w io.Writer) error {
	z := zip.NewWriter(w)
	f, err := z.Create(exportRecord)
	if err != nil {
		return err
	}
	if _, err := f.Write(m.Meta); err != nil {
		return err
	}
	for _, p := range m.Parts {
		f, err := z.CreateHeader(&zip.FileHeader{Name: "parts/" + p.Name, Method: zip.Store}) // rows do not compress
		if err != nil {
			return err
		}
		if _, err := io.Copy(f, s.Open(p)); err != nil {
			return err
		}
	}
	return z.Close()
}

// importSet adds a set that Export wrote. It must belong to the open base and its router.
func (e *Engine) importSet(ctx context.Context, name string, o AddOptions) (*registry.Manifest, error) {
	file := o.From
	z, err := zip.OpenReader(file)
	if err != nil {
		return nil, fmt.Errorf("peft: import %s: no file that peft export wrote: %w", file, err)
	}
	defer z.Close()
	b, err := e.Base()
	if err != nil {
		return nil, err
	}
	r, err := e.router(ctx)
	if err != nil {
		return nil, err
	}
	f, err := z.Open(exportRecord)
	if err != nil {
		return nil, fmt.Errorf("peft: import %s: no file that peft export wrote: %w", file, err)
	}
	var rec setRecord
	if err := errors.Join(json.NewDecoder(io.LimitReader(f, 64<<20)).Decode(&rec), f.Close()); err != nil {
		return nil, fmt.Errorf("peft: import %s: %w", file, err)
	}
	if rec.Fingerprint != r.Base {
		return nil, fmt.Errorf("peft: import %s: the set was made for base %s (%.12s…), the open base is %.12s…: %w", file, rec.Base, rec.Fingerprint, r.Base, ErrOtherBase)
	}
	var open []io.Closer
	defer func() {
		for _, c := range open {
			_ = c.Close() // read to its end already
		}
	}()
	set, err := peer.Decode(e.opt.Threads, func(part string) (io.Reader, error) {
		f, err := z.Open("parts/" + part)
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		open = append(open, f)
		return f, nil
	})
	if err != nil {
		return nil, fmt.Errorf("peft: import %s: %w", file, err)
	}
	set.Name = name
	if err := errors.Join(set.Check(r.Router), set.CheckBase(&b.Model.Config)); err != nil {
		return nil, fmt.Errorf("peft: import %s: %w", file, err)
	}
	own, err := e.imported(ctx, b, r, set, z)
	if err != nil {
		return nil, fmt.Errorf("peft: import %s: %w", file, err)
	}
	if n := reportLength(o.ReportTokens); n > 0 && rec.Training != nil {
		if own.lost, err = e.forgetting(ctx, b, r, set, own, nil, n); err != nil {
			return nil, err
		}
	}
	return e.storeSet(ctx, set, b.Name, append(rec.Source, file), rec.Training, own)
}
