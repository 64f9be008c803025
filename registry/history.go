package registry

import (
	"context"
	"errors"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"
)

// Rollback makes an earlier (or later) revision the head and returns its manifest. Revisions stay; the next commit gets
// a number never used before and the new head as parent.
func (r *DB) Rollback(ctx context.Context, namespace, name string, revision int) (*Manifest, error) {
	if revision < 1 {
		return nil, fmt.Errorf("roll back %s to revision %d: want at least 1: %w", name, revision, ErrNotFound)
	}
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	defer r.unlock()
	s := r.Snapshot()
	defer s.Close()
	m, err := s.Manifest(namespace, name, revision)
	if err != nil {
		return nil, err
	}
	h, err := readHead(s.tx, namespace, name)
	if err != nil {
		return nil, err
	}
	h.Revision = revision
	if err := r.db.Update(func(tx *badger.Txn) error { return writeHead(tx, namespace, name, h) }); err != nil {
		return nil, fmt.Errorf("registry: roll back %s: %w", name, err)
	}
	return m, r.sync()
}

// Remove deletes an object with all its revisions and the chunks that nothing else names. Open snapshots still see it.
func (r *DB) Remove(ctx context.Context, namespace, name string) error {
	return r.drop(ctx, namespace, name, func(*Manifest, head) bool { return true })
}

// Prune deletes an object's revisions other than its head and the newest keep ones.
func (r *DB) Prune(ctx context.Context, namespace, name string, keep int) error {
	return r.drop(ctx, namespace, name, func(m *Manifest, h head) bool {
		return m.Revision != h.Revision && m.Revision <= h.Last-keep
	})
}

// drop deletes the revisions that gone names; when the head is among them, the object.
func (r *DB) drop(ctx context.Context, namespace, name string, gone func(*Manifest, head) bool) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	s := r.Snapshot()
	defer s.Close()
	all, err := s.History(namespace, name)
	if err != nil {
		return err
	}
	h, err := readHead(s.tx, namespace, name)
	if err != nil {
		return err
	}
	var keys [][]byte
	for _, m := range all {
		if !gone(m, h) {
			continue
		}
		keys = append(keys, manifestKey(namespace, name, m.Revision))
		if m.Revision == h.Revision {
			keys = append(keys, headKey(namespace, name))
		}
	}
	if len(keys) == 0 {
		return nil
	}
	// The intent makes the next Open sweep when this process dies before the chunks are gone.
	if _, err := r.writeIntent(); err != nil {
		return fmt.Errorf("registry: remove %s: %w", name, err)
	}
	err = r.db.Update(func(tx *badger.Txn) error {
		var errs []error
		for _, k := range keys {
			errs = append(errs, tx.Delete(k))
		}
		return errors.Join(errs...)
	})
	if err == nil {
		err = r.sync()
	}
	if err == nil {
		_, err = r.sweep()
	}
	if err != nil {
		return fmt.Errorf("registry: remove %s: %w", name, err)
	}
	return nil
}
