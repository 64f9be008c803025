package registry

import (
	"context"
	"errors"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"
)

// Report is what Verify found.
type Report struct {
	Objects   int      `json:"objects"`
	Revisions int      `json:"revisions"`
	Chunks    int      `json:"chunks"` // distinct chunks checked
	Bytes     int64    `json:"bytes"`
	Problems  []string `json:"problems"`
}

// Verify reads everything and checks it against its checksums: Badger's tables, every manifest, every head, every chunk
// that a manifest names. Damage is listed in the report, and the error then wraps ErrCorrupt. progress, when not nil,
// is called with the bytes read so far.
func (r *DB) Verify(ctx context.Context, progress func(bytes int64)) (*Report, error) {
	rep := &Report{Problems: []string{}}
	bad := func(format string, a ...any) { rep.Problems = append(rep.Problems, fmt.Sprintf(format, a...)) }
	if err := r.db.VerifyChecksum(); err != nil {
		bad("database table: %v", err)
	}
	s := r.Snapshot()
	defer s.Close()
	if err := s.verifyHeads(rep, bad); err != nil {
		return rep, err
	}
	seen := map[Sum]bool{}
	check := func(m *Manifest, part string, ref Ref) {
		if seen[ref.SHA256] {
			return
		}
		seen[ref.SHA256] = true
		rep.Chunks++
		rep.Bytes += int64(ref.Size)
		if _, err := s.Chunk(ref); err != nil {
			bad("%s/%s@%d part %q: %v", m.Namespace, m.Name, m.Revision, part, err)
		}
		if progress != nil {
			progress(rep.Bytes)
		}
	}
	err := s.eachManifestBytes(func(key string, b []byte, err error) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		rep.Revisions++
		var m *Manifest
		if err == nil {
			m, err = decodeManifest(b)
		}
		if err != nil {
			bad("%s: %v", key, err)
			return nil
		}
		for _, p := range m.Parts {
			for _, ix := range p.Index {
				check(m, p.Name, ix)
			}
			refs, err := s.Refs(p)
			if err != nil {
				bad("%s/%s@%d part %q: %v", m.Namespace, m.Name, m.Revision, p.Name, err)
				continue
			}
			var size int64
			for _, ref := range refs {
				check(m, p.Name, ref)
				size += int64(ref.Size)
			}
			if size != p.Size {
				bad("%s/%s@%d part %q: chunks hold %d bytes, the manifest says %d", m.Namespace, m.Name, m.Revision, p.Name, size, p.Size)
			}
		}
		return nil
	})
	if err != nil {
		return rep, fmt.Errorf("registry: verify: %w", err)
	}
	if len(rep.Problems) > 0 {
		return rep, fmt.Errorf("registry: verify found %d problems, the first: %s: %w", len(rep.Problems), rep.Problems[0], ErrCorrupt)
	}
	return rep, nil
}

func (s *Snapshot) verifyHeads(rep *Report, bad func(string, ...any)) error {
	it := s.keys([]byte(headPrefix))
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		rep.Objects++
		ns, name, ok := splitHead(string(it.Item().Key()))
		if !ok {
			bad("head key %q", it.Item().Key())
			continue
		}
		if _, err := s.Manifest(ns, name, 0); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				return err
			}
			bad("%s/%s: %v", ns, name, err)
		}
	}
	return nil
}

// eachManifestBytes calls f with every stored manifest, undecoded, or with the error that reading it gave.
func (s *Snapshot) eachManifestBytes(f func(key string, b []byte, err error) error) error {
	it := s.tx.NewIterator(badger.IteratorOptions{Prefix: []byte(manifestPrefix)})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		b, err := it.Item().ValueCopy(nil)
		if err := f(string(it.Item().Key()), b, err); err != nil {
			return err
		}
	}
	return nil
}
