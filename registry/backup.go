package registry

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"google.golang.org/protobuf/proto"
)

// A backup is this line, entries as in a backup of Badger's, and the SHA-256 of both. Chunks in packs stand among the
// entries as chunks of the tree.
const (
	backupMagic = "peft registry backup 1\n"
	backupList  = 4 << 20 // bytes of entries that are written at once
)

// Backup writes the whole registry to w; Restore reads it.
func (r *DB) Backup(w io.Writer) error {
	h := sha256.New()
	mw := io.MultiWriter(w, h)
	if _, err := io.WriteString(mw, backupMagic); err != nil {
		return fmt.Errorf("registry: backup: %w", err)
	}
	s := r.Snapshot()
	defer s.Close()
	if err := s.writeEntries(mw); err != nil {
		return fmt.Errorf("registry: backup: %w", err)
	}
	if _, err := w.Write(h.Sum(nil)); err != nil {
		return fmt.Errorf("registry: backup: %w", err)
	}
	return nil
}

// writeEntries writes what s shows, in the form that badger.DB.Load reads: lists of entries, each after its length.
func (s *Snapshot) writeEntries(w io.Writer) error {
	var list pb.KVList
	size := 0
	flush := func() error {
		b, err := proto.Marshal(&list)
		if err != nil {
			return err
		}
		if err := binary.Write(w, binary.LittleEndian, uint64(len(b))); err != nil {
			return err
		}
		list.Kv, size = list.Kv[:0], 0
		_, err = w.Write(b)
		return err
	}
	add := func(key, value []byte, version uint64) error {
		list.Kv = append(list.Kv, &pb.KV{Key: key, Value: value, Version: version})
		if size += len(key) + len(value); size < backupList {
			return nil
		}
		return flush()
	}
	var next uint64 // number of a chunk that leaves its pack; the tree's chunks come before the sums
	it := s.tx.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		key, version := it.Item().KeyCopy(nil), it.Item().Version()
		value, err := it.Item().ValueCopy(nil)
		switch {
		case err != nil:
		case bytes.HasPrefix(key, []byte(chunkPrefix)):
			next, err = numberOf(key)
			next++
		case bytes.HasPrefix(key, []byte(sumPrefix)):
			var at place
			if at, err = placeOf(value); err != nil || !at.packed {
				break
			}
			var chunk []byte
			if chunk, err = s.packed(nil, at); err != nil {
				break
			}
			at = place{number: next}
			next++
			value, err = at.encode(), add(chunkKey(at.number), chunk, version)
		}
		if err == nil {
			err = add(key, value, version)
		}
		if err != nil {
			return fmt.Errorf("entry %q: %w", key, err)
		}
	}
	return flush()
}

// Restore makes a registry in dir, which must not hold one, from what Backup wrote. The stream is checked to its end,
// and everything in it verified, before dir appears under its name.
func Restore(ctx context.Context, dir string, rd io.Reader) (*Report, error) {
	if old, err := os.ReadDir(dir); err == nil && len(old) > 0 {
		return nil, fmt.Errorf("registry: restore into %s: the directory is not empty: %w", dir, ErrConflict)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("registry: restore: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".restore-*")
	if err != nil {
		return nil, fmt.Errorf("registry: restore: %w", err)
	}
	rep, err := restore(ctx, tmp, rd)
	if err != nil {
		return rep, errors.Join(fmt.Errorf("registry: restore: %w", err), os.RemoveAll(tmp))
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return rep, errors.Join(fmt.Errorf("registry: restore: %w", err), os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, dir); err != nil {
		return rep, errors.Join(fmt.Errorf("registry: restore: %w", err), os.RemoveAll(tmp))
	}
	return rep, nil
}

func restore(ctx context.Context, dir string, rd io.Reader) (*Report, error) {
	r, err := Open(dir, Options{})
	if err != nil {
		return nil, err
	}
	rep, err := r.load(ctx, rd)
	return rep, errors.Join(err, r.Close())
}

func (r *DB) load(ctx context.Context, rd io.Reader) (rep *Report, err error) {
	defer func() { // Badger's loader trusts the lengths it reads
		if p := recover(); p != nil {
			err = fmt.Errorf("backup is damaged: %w: %v", ErrCorrupt, p)
		}
	}()
	magic := make([]byte, len(backupMagic))
	if _, err := io.ReadFull(rd, magic); err != nil || string(magic) != backupMagic {
		return nil, fmt.Errorf("not a backup of a peft registry: %w", ErrCorrupt)
	}
	t := &trailer{r: bufio.NewReaderSize(rd, 1<<20), h: sha256.New()}
	t.h.Write(magic)
	if err := r.db.Load(t, 16); err != nil {
		return nil, fmt.Errorf("backup is damaged: %w: %w", ErrCorrupt, err)
	}
	if !bytes.Equal(t.h.Sum(nil), t.tail) {
		return nil, fmt.Errorf("backup does not match its checksum; it is truncated or damaged: %w", ErrCorrupt)
	}
	if err := r.sync(); err != nil {
		return nil, err
	}
	return r.Verify(ctx, nil)
}

// trailer reads r but for its last 32 bytes, which it keeps; h hashes what it returned.
type trailer struct {
	r    *bufio.Reader
	h    hash.Hash
	tail []byte
}

func (t *trailer) Read(b []byte) (int, error) {
	ahead, err := t.r.Peek(min(len(b), t.r.Size()-sha256.Size) + sha256.Size)
	n := len(ahead) - sha256.Size
	if n <= 0 {
		if err != nil && err != io.EOF {
			return 0, err
		}
		t.tail = bytes.Clone(ahead)
		return 0, io.EOF
	}
	n, err = t.r.Read(b[:n])
	t.h.Write(b[:n])
	return n, err
}
