package registry

import (
	"crypto/sha256"
	"errors"

	badger "github.com/dgraph-io/badger/v4"
)

// recoverIntents sweeps when an earlier process died within a write or a removal.
func (r *DB) recoverIntents() error {
	s := r.Snapshot()
	it := s.keys([]byte(intentPrefix))
	it.Rewind()
	crashed := it.Valid()
	it.Close()
	s.Close()
	if !crashed {
		return nil
	}
	n, err := r.sweep()
	r.swept = n
	return err
}

// sweep deletes every chunk that no manifest names and the packs that have none left, then the intents. The caller holds the writer's turn or is Open.
func (r *DB) sweep() (int, error) {
	s := r.Snapshot()
	defer s.Close()
	live, err := s.liveChunks()
	if err != nil {
		// With a damaged manifest nobody can say which chunks are needed: keep them all, for verify to report.
		if errors.Is(err, ErrCorrupt) {
			return 0, nil
		}
		return 0, err
	}
	batch := r.db.NewWriteBatch()
	defer batch.Cancel()
	needed, packs, err := s.sweepSums(batch, live)
	if errors.Is(err, ErrCorrupt) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n := 0
	it := s.keys([]byte(chunkPrefix))
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		k := it.Item().KeyCopy(nil)
		if number, err := numberOf(k); err == nil && needed[number] {
			continue
		}
		if err := batch.Delete(k); err != nil {
			return n, err
		}
		n++
	}
	if err := batch.Flush(); err != nil {
		return n, err
	}
	// Files go when nothing leads to them any more, and the intents stay until they are gone.
	if err := r.sync(); err != nil {
		return n, err
	}
	dropped, err := r.dropPacks(packs)
	n += dropped
	if err != nil {
		return n, err
	}
	return n, r.endIntents(s)
}

// endIntents deletes the intents that s shows.
func (r *DB) endIntents(s *Snapshot) error {
	batch := r.db.NewWriteBatch()
	defer batch.Cancel()
	w := s.keys([]byte(intentPrefix))
	defer w.Close()
	for w.Rewind(); w.Valid(); w.Next() {
		if err := batch.Delete(w.Item().KeyCopy(nil)); err != nil {
			return err
		}
	}
	if err := batch.Flush(); err != nil {
		return err
	}
	return r.sync()
}

// sweepSums deletes the sums that are not live and returns the numbers of the others' chunks and packs.
func (s *Snapshot) sweepSums(batch *badger.WriteBatch, live map[Sum]bool) (chunks, packs map[uint64]bool, err error) {
	chunks, packs = map[uint64]bool{}, map[uint64]bool{}
	it := s.keys([]byte(sumPrefix))
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		k := it.Item().KeyCopy(nil)
		if sum := k[len(sumPrefix):]; len(sum) != sha256.Size || !live[Sum(sum)] {
			if err := batch.Delete(k); err != nil {
				return nil, nil, err
			}
			continue
		}
		if err := it.Item().Value(func(v []byte) error {
			at, err := placeOf(v)
			if at.packed {
				packs[at.number] = true
			} else {
				chunks[at.number] = true
			}
			return err
		}); err != nil {
			return nil, nil, err
		}
	}
	return chunks, packs, nil
}

// liveChunks returns the sums of all chunks, data and index, that some manifest names.
func (s *Snapshot) liveChunks() (map[Sum]bool, error) {
	live := map[Sum]bool{}
	err := s.eachManifest(func(m *Manifest) error {
		for _, p := range m.Parts {
			for _, ix := range p.Index {
				live[ix.SHA256] = true
			}
			refs, err := s.Refs(p)
			if err != nil {
				return err
			}
			for _, ref := range refs {
				live[ref.SHA256] = true
			}
		}
		return nil
	})
	return live, err
}

// eachManifest calls f with every stored manifest of every namespace.
func (s *Snapshot) eachManifest(f func(*Manifest) error) error {
	return s.eachManifestBytes(func(_ string, b []byte, err error) error {
		if err != nil {
			return err
		}
		m, err := decodeManifest(b)
		if err != nil {
			return err
		}
		return f(m)
	})
}
