package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft/registry"
)

const (
	registryChunk  = 128 * 2 * 576 * 2 // bytes of 128 experts of width 576, u and v, in bf16, as the engine cuts them
	registryChunks = 1 << 20 / 128
	registryRounds = 3
)

// registryWork is one thing that a round of bench registry measures, and its seconds in each round.
type registryWork struct {
	name string
	run  func() error
	took []float64
}

// benchRegistry adds the rows of 1,048,576 experts to an empty registry, in alternating rounds with a plain file of the
// same bytes. With --only it measures the file or the adding alone.
func benchRegistry(c *cli.Context) (*report, error) {
	if only := c.String("only"); only != "" && only != "file" && only != "add" {
		return nil, usagef("bench registry: --only %q, want file or add", only)
	}
	if !c.IsSet("rounds") {
		if err := c.Set("rounds", strconv.Itoa(registryRounds)); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(".", "peft-bench-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var db *registry.DB
	rows := newRowSource()
	file := &registryWork{name: "write and sync a file", run: func() error { return writeFile(filepath.Join(dir, "plain"), rows) }}
	add := &registryWork{name: "add a set", run: func() error { return addChunks(c, db, rows) }}
	read := &registryWork{name: "read it, checksums and all", run: func() error { return readChunks(db) }}
	closing := &registryWork{name: "close the registry", run: func() error { return db.Close() }}
	_, err = rounds(c, func() (float64, error) {
		if c.String("only") != "add" {
			if err := file.measure(); err != nil || c.String("only") == "file" {
				return file.last(), errors.Join(err, os.Remove(filepath.Join(dir, "plain")))
			}
			if err := os.Remove(filepath.Join(dir, "plain")); err != nil {
				return 0, err
			}
		}
		var err error
		if db, err = registry.Open(filepath.Join(dir, "registry"), registry.Options{}); err != nil {
			return 0, err
		}
		err = add.measure()
		if err == nil && c.String("only") != "add" {
			err = read.measure()
		}
		err = errors.Join(err, closing.measure())
		return add.last(), errors.Join(err, os.RemoveAll(filepath.Join(dir, "registry")))
	})
	if err != nil {
		return nil, err
	}
	r := &report{Columns: []string{"work", "GB", "seconds", "against the file", "least", "most"},
		Notes: []string{fmt.Sprintf("Medians of %d rounds, in each of which the file is written and synced once, in the same chunks, and then a set of the same bytes added to an empty registry in the same directory.", c.Int("rounds"))}}
	for _, w := range []*registryWork{file, add, read, closing} {
		if len(w.took) > 0 {
			r.add(w.cells(file)...)
		}
	}
	return r, nil
}

func (w *registryWork) measure() (err error) {
	w.took = append(w.took, seconds(func() { err = w.run() }))
	return err
}

func (w *registryWork) last() float64 { return w.took[len(w.took)-1] }

// cells returns the work's row: its median and, when the file was measured, the median, least and most of the rounds'
// ratios to it.
func (w *registryWork) cells(file *registryWork) []any {
	cells := []any{w.name, float64(registryChunk) * registryChunks / 1e9, middle(slices.Clone(w.took))}
	if len(file.took) != len(w.took) {
		return append(cells, "", "", "")
	}
	ratios := make([]float64, len(w.took))
	for i, t := range w.took {
		ratios[i] = t / file.took[i]
	}
	m := middle(ratios) // sorts them
	return append(cells, m, ratios[0], ratios[len(ratios)-1])
}

// rowSource hands out chunks that all differ and do not compress, at no cost of its own: windows of random bytes, each
// at an offset of its own.
type rowSource struct{ random []byte }

const rowStep = 20_000_003 // odd, so that all offsets come before one comes again

func newRowSource() *rowSource {
	s := &rowSource{random: make([]byte, registryChunk+1<<26)}
	_, _ = rand.NewChaCha8([32]byte{1}).Read(s.random)
	return s
}

func (s *rowSource) chunk(i int) []byte {
	off := int(uint64(i) * rowStep % (1 << 26))
	return s.random[off : off+registryChunk]
}

func writeFile(name string, rows *rowSource) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	for i := range registryChunks {
		if _, err := f.Write(rows.chunk(i)); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

func addChunks(c *cli.Context, db *registry.DB, rows *rowSource) error {
	t, err := db.Begin(c.Context, "sets", benchSet)
	if err != nil {
		return err
	}
	w, err := t.Part("rows")
	for i := 0; err == nil && i < registryChunks; i++ {
		_, err = w.Write(rows.chunk(i))
	}
	if err != nil {
		return errors.Join(err, t.Abort())
	}
	_, err = t.Commit(nil)
	return err
}

func readChunks(db *registry.DB) error {
	s := db.Snapshot()
	defer s.Close()
	m, err := s.Manifest("sets", benchSet, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, s.Open(m.Parts[0]))
	return err
}
