package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	badger "github.com/dgraph-io/badger/v4"
)

// Snapshot is the registry at one moment. It may be used from several goroutines and must be closed; what it shows
// stays readable until then, also after Remove.
type Snapshot struct {
	r     *DB
	tx    *badger.Txn
	packs *packList
	once  sync.Once
}

// Snapshot returns the registry as it is now.
func (r *DB) Snapshot() *Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packs.holders++
	return &Snapshot{r: r, tx: r.db.NewTransaction(false), packs: r.packs}
}

// Version is the same for two snapshots of one DB if nothing was written between them.
func (s *Snapshot) Version() uint64 { return s.tx.ReadTs() }

// Close lets go of the snapshot.
func (s *Snapshot) Close() {
	s.once.Do(func() {
		s.tx.Discard()
		s.r.letGo(s.packs)
	})
}

// Names returns the objects of a namespace in order of name.
func (s *Snapshot) Names(namespace string) []string {
	it := s.keys([]byte(headPrefix + namespace + "/"))
	defer it.Close()
	var names []string
	for it.Rewind(); it.Valid(); it.Next() {
		k := string(it.Item().Key())
		names = append(names, k[strings.LastIndexByte(k, '/')+1:])
	}
	return names
}

func (s *Snapshot) keys(prefix []byte) *badger.Iterator {
	return s.tx.NewIterator(badger.IteratorOptions{Prefix: prefix})
}

// Manifest returns a revision of an object; revision 0 is its head. The error wraps ErrNotFound or ErrCorrupt.
func (s *Snapshot) Manifest(namespace, name string, revision int) (*Manifest, error) {
	if err := errors.Join(CheckName(namespace), CheckName(name)); err != nil {
		return nil, err
	}
	if revision == 0 {
		h, err := readHead(s.tx, namespace, name)
		if err != nil {
			return nil, err
		}
		m, err := s.manifest(namespace, name, h.Revision)
		if errors.Is(err, ErrNotFound) { // a head that names nothing is damage, not absence
			return nil, fmt.Errorf("head of %s names revision %d, which is missing: %w", name, h.Revision, ErrCorrupt)
		}
		return m, err
	}
	return s.manifest(namespace, name, revision)
}

func (s *Snapshot) manifest(ns, name string, rev int) (*Manifest, error) {
	it, err := s.tx.Get(manifestKey(ns, name, rev))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, fmt.Errorf("%s@%d: %w", name, rev, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("registry: %s@%d: %w", name, rev, err)
	}
	b, err := it.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("registry: %s@%d: %w: %w", name, rev, ErrCorrupt, err)
	}
	m, err := decodeManifest(b)
	if err != nil {
		return nil, fmt.Errorf("registry: %s@%d: %w", name, rev, err)
	}
	if m.Namespace != ns || m.Name != name || m.Revision != rev {
		return nil, fmt.Errorf("registry: manifest stored for %s/%s@%d says %s/%s@%d: %w", ns, name, rev, m.Namespace, m.Name, m.Revision, ErrCorrupt)
	}
	return m, nil
}

// History returns all revisions of an object, the oldest first.
func (s *Snapshot) History(namespace, name string) ([]*Manifest, error) {
	if _, err := s.Manifest(namespace, name, 0); err != nil {
		return nil, err
	}
	it := s.keys(manifestsOf(namespace, name))
	var revs []int
	for it.Rewind(); it.Valid(); it.Next() {
		var rev int
		k := it.Item().Key()
		if _, err := fmt.Sscanf(string(k[bytes.LastIndexByte(k, '/')+1:]), "%d", &rev); err != nil {
			it.Close()
			return nil, fmt.Errorf("registry: key %q: %w: %w", k, ErrCorrupt, err)
		}
		revs = append(revs, rev)
	}
	it.Close()
	slices.Sort(revs)
	all := make([]*Manifest, len(revs))
	for i, rev := range revs {
		var err error
		if all[i], err = s.manifest(namespace, name, rev); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Refs returns the references of a part's chunks in order.
func (s *Snapshot) Refs(p Part) ([]Ref, error) {
	refs := make([]Ref, 0, min(p.Chunks, indexRefs))
	for _, ix := range p.Index {
		b, err := s.Chunk(ix)
		if err != nil {
			return nil, fmt.Errorf("registry: index of part %q: %w", p.Name, err)
		}
		r, err := decodeRefs(b)
		if err != nil {
			return nil, fmt.Errorf("registry: index of part %q: %w", p.Name, err)
		}
		refs = append(refs, r...)
	}
	return refs, nil
}

// Chunk returns the bytes of one chunk after checking them against their SHA-256. A chunk that is missing or differs
// is ErrCorrupt.
func (s *Snapshot) Chunk(ref Ref) ([]byte, error) { return s.chunk(nil, ref) }

// chunk is Chunk into b's memory, as far as it suffices.
func (s *Snapshot) chunk(b []byte, ref Ref) ([]byte, error) {
	b, err := s.stored(b, ref.SHA256)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, fmt.Errorf("chunk %v is missing: %w", ref.SHA256, ErrCorrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("chunk %v: %w: %w", ref.SHA256, ErrCorrupt, err)
	}
	if len(b) != ref.Size || sha256.Sum256(b) != ref.SHA256 {
		return nil, fmt.Errorf("chunk %v does not match its checksum (%d bytes, want %d): %w", ref.SHA256, len(b), ref.Size, ErrCorrupt)
	}
	return b, nil
}

// stored returns what is stored as the chunk of that sum, in b's memory as far as it suffices.
func (s *Snapshot) stored(b []byte, sum Sum) ([]byte, error) {
	it, err := s.tx.Get(sumKey(sum))
	if err != nil {
		return nil, err
	}
	var at place
	err = it.Value(func(v []byte) (err error) {
		at, err = placeOf(v)
		return err
	})
	if err != nil {
		return nil, err
	}
	if at.packed {
		return s.packed(b, at)
	}
	if it, err = s.tx.Get(chunkKey(at.number)); err != nil {
		return nil, err
	}
	return it.ValueCopy(b[:0])
}

func readHead(tx *badger.Txn, ns, name string) (head, error) {
	var h head
	it, err := tx.Get(headKey(ns, name))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return h, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	if err != nil {
		return h, fmt.Errorf("registry: head of %s: %w", name, err)
	}
	err = it.Value(func(b []byte) error { return json.Unmarshal(b, &h) })
	if err != nil || h.Revision < 1 || h.Last < h.Revision {
		return h, fmt.Errorf("head of %s is damaged (%+v): %w", name, h, errors.Join(ErrCorrupt, err))
	}
	return h, nil
}

func writeHead(tx *badger.Txn, ns, name string, h head) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return tx.Set(headKey(ns, name), b)
}
