package registry

import "errors"

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

// sweep deletes every chunk that no manifest names, then the intents. The caller holds the writer's turn or is Open.
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
	n := 0
	it := s.keys([]byte(chunkPrefix))
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		k := it.Item().KeyCopy(nil)
		if live[Sum(k[len(chunkPrefix):])] {
			continue
		}
		if err := batch.Delete(k); err != nil {
			return n, err
		}
		n++
	}
	w := s.keys([]byte(intentPrefix))
	defer w.Close()
	for w.Rewind(); w.Valid(); w.Next() {
		if err := batch.Delete(w.Item().KeyCopy(nil)); err != nil {
			return n, err
		}
	}
	if err := batch.Flush(); err != nil {
		return n, err
	}
	return n, r.db.Sync()
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
