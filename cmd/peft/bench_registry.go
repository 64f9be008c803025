package main

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft/registry"
)

// benchRegistry adds the rows of 1,048,576 experts of width 576, in bf16, as the engine does.
func benchRegistry(c *cli.Context) (*report, error) {
	const (
		chunk  = 128 * 2 * 576 * 2
		chunks = 1 << 20 / 128
	)
	r := &report{Columns: []string{"work", "GB", "seconds", "against the file"},
		Notes: []string{"The file is written and synced once, in chunks of the same size; both lie in the same directory."}}
	dir, err := os.MkdirTemp(".", "peft-bench-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	block, rnd := make([]byte, chunk), rand.NewChaCha8([32]byte{1})
	fill := func() []byte { // each chunk differs, so that none is shared; most of it is left, so that little time goes here
		for i := 0; i < 512; i += 8 {
			v := rnd.Uint64()
			for j := range 8 {
				block[i+j] = byte(v >> (8 * j))
			}
		}
		return block
	}
	_, _ = rnd.Read(block)
	var failed error
	file := seconds(func() { failed = writeFile(filepath.Join(dir, "plain"), chunks, fill) })
	if failed != nil {
		return nil, failed
	}
	db, err := registry.Open(filepath.Join(dir, "registry"), registry.Options{})
	if err != nil {
		return nil, err
	}
	add := seconds(func() { failed = addChunks(c, db, chunks, fill) })
	read := seconds(func() { failed = errors.Join(failed, readChunks(db)) })
	closing := seconds(func() { failed = errors.Join(failed, db.Close()) })
	if failed != nil {
		return nil, failed
	}
	const size = float64(chunk) * chunks / 1e9
	r.add("write and sync a file", size, file, 1.0)
	r.add("add a set", size, add, add/file)
	r.add("read it, checksums and all", size, read, read/file)
	r.add("close the registry", size, closing, closing/file)
	return r, nil
}

func writeFile(name string, chunks int, fill func() []byte) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	for range chunks {
		if _, err := f.Write(fill()); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close(), os.Remove(name))
}

func addChunks(c *cli.Context, db *registry.DB, chunks int, fill func() []byte) error {
	t, err := db.Begin(c.Context, "sets", benchSet)
	if err != nil {
		return err
	}
	w, err := t.Part("rows")
	for i := 0; err == nil && i < chunks; i++ {
		_, err = w.Write(fill())
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
