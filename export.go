package peft

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gopeft/peft/adapters/exchange"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/transfer"
	"github.com/gopeft/peft/base/gguf"
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
	if err := writeFile(file, func(w io.Writer) error { return writeExport(s, m, w) }); err != nil {
		return 0, fmt.Errorf("peft: export %s: %w", ref, err)
	}
	return sizeOf(file)
}

// ExportAs writes one revision of a set in any format: to a file, or in FormatHF to a directory, which it makes. A set that
// the format cannot hold gives exchange.ErrUnsupported with the reason. It returns the size in bytes.
func (e *Engine) ExportAs(ref, out string, f Format) (int64, error) {
	if f == FormatPEFT {
		return e.Export(ref, out)
	}
	b, err := e.Base()
	if err != nil {
		return 0, err
	}
	set, err := e.setOfBase(ref)
	if err != nil {
		return 0, err
	}
	a, err := transfer.FromSet(set, &b.Model.Config, b.Name)
	if err == nil {
		switch f {
		case FormatHF:
			err = exchange.WritePEFT(out, a, &b.Model.Config)
		case FormatGGUF:
			err = writeFile(out, func(w io.Writer) error { return exchange.WriteGGUF(w, a, &b.Model.Config, gguf.F32) })
		default:
			err = fmt.Errorf("format %q, want %s, %s or %s: %w", f, FormatPEFT, FormatHF, FormatGGUF, ErrFormat)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("peft: export %s: %w", ref, err)
	}
	return sizeOf(out)
}

// setOfBase returns a revision of a set that was made for the open base. It needs no router.
func (e *Engine) setOfBase(ref string) (*peer.Set, error) {
	b, err := e.Base()
	if err != nil {
		return nil, err
	}
	print, err := b.Fingerprint()
	if err != nil {
		return nil, err
	}
	s := e.reg.Snapshot()
	defer s.Close()
	m, err := findSet(s, ref)
	if err != nil {
		return nil, err
	}
	if err := madeFor(m, print); err != nil {
		return nil, err
	}
	return e.cachedSet(s, m)
}

// writeFile writes a file whole or not at all.
func writeFile(path string, write func(w io.Writer) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".export-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(tmp), tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// sizeOf returns the bytes of a file, or of the files in a directory.
func sizeOf(path string) (n int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err == nil {
			n += st.Size()
		}
		return err
	})
	return n, err
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
	if len(o.Data) > 0 || o.Routed {
		return nil, fmt.Errorf("peft: import %s: a set that peft export wrote brings its own text and places; data and routing are for other programs' adapters: %w", file, ErrAdapter)
	}
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
