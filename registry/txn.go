package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	badger "github.com/dgraph-io/badger/v4"
)

// Txn writes one new revision of one object. It is for one goroutine. One Txn at a time is open in a registry; Begin
// waits for its turn.
type Txn struct {
	r        *DB
	ns, name string
	head     head // as of Begin
	intent   []byte
	batch    *badger.WriteBatch
	pack     *packWriter  // once the transaction has grown large
	size     int64        // bytes of new chunks
	seen     map[Sum]bool // chunks known to be stored
	parts    []Part
	open     *PartWriter
	unsynced int // bytes since the last check for room
	done     bool
}

// head is an object's current state.
type head struct {
	Revision int `json:"revision"` // the current one
	Last     int `json:"last"`     // the highest ever given
}

// Begin starts a new revision of namespace/name, whose parent will be the current head. Nothing is seen by readers
// before Commit. The caller must call Commit or Abort.
func (r *DB) Begin(ctx context.Context, namespace, name string) (*Txn, error) {
	if err := errors.Join(CheckName(namespace), CheckName(name)); err != nil {
		return nil, err
	}
	if err := r.lock(ctx); err != nil {
		return nil, fmt.Errorf("registry: begin %s: %w", name, err)
	}
	t := &Txn{r: r, ns: namespace, name: name, seen: map[Sum]bool{}}
	if err := t.begin(); err != nil {
		r.unlock()
		return nil, fmt.Errorf("registry: begin %s: %w", name, err)
	}
	return t, nil
}

func (t *Txn) begin() (err error) {
	if err := checkSpace(t.r.dir, 0); err != nil {
		return err
	}
	err = t.r.db.View(func(tx *badger.Txn) error {
		t.head, err = readHead(tx, t.ns, t.name)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if t.intent, err = t.r.writeIntent(); err != nil {
		return err
	}
	t.batch = t.r.db.NewWriteBatch()
	return nil
}

// writeIntent notes durably that a write or removal is under way.
func (r *DB) writeIntent() ([]byte, error) {
	key := append([]byte(intentPrefix), rand.Text()...)
	if err := r.db.Update(func(tx *badger.Txn) error { return tx.Set(key, []byte{1}) }); err != nil {
		return nil, err
	}
	return key, r.sync()
}

func (r *DB) lock(ctx context.Context) error {
	select {
	case <-r.writer:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *DB) unlock() { r.writer <- struct{}{} }

// Part begins the part of that name; the one before it ends.
func (t *Txn) Part(name string) (*PartWriter, error) {
	if t.done {
		return nil, fmt.Errorf("registry: part %q: transaction: %w", name, ErrClosed)
	}
	if err := t.endPart(); err != nil {
		return nil, err
	}
	for _, p := range t.parts {
		if p.Name == name {
			return nil, fmt.Errorf("registry: part %q of %s begun twice: %w", name, t.name, ErrConflict)
		}
	}
	t.open = &PartWriter{t: t, part: Part{Name: name}}
	return t.open, nil
}

// PartWriter appends to one part. Each Write of at most MaxChunk bytes becomes one chunk, so the caller chooses the
// chunks; longer ones are cut.
type PartWriter struct {
	t    *Txn
	part Part
	refs []Ref
}

var _ io.Writer = (*PartWriter)(nil)

// Write appends b. It does not keep b.
func (w *PartWriter) Write(b []byte) (int, error) {
	if w.t.open != w {
		return 0, fmt.Errorf("registry: write to part %q: %w", w.part.Name, ErrClosed)
	}
	n := 0
	for n < len(b) {
		c := b[n:min(n+MaxChunk, len(b))]
		ref, err := w.t.put(c)
		if err != nil {
			return n, fmt.Errorf("registry: write part %q of %s: %w", w.part.Name, w.t.name, err)
		}
		w.refs = append(w.refs, ref)
		w.part.Size += int64(len(c))
		n += len(c)
	}
	return n, nil
}

func (t *Txn) endPart() error {
	w := t.open
	if w == nil {
		return nil
	}
	t.open = nil
	w.part.Chunks = len(w.refs)
	for refs := w.refs; len(refs) > 0; {
		n := min(indexRefs, len(refs))
		ref, err := t.put(encodeRefs(refs[:n]))
		if err != nil {
			return fmt.Errorf("registry: index of part %q: %w", w.part.Name, err)
		}
		w.part.Index = append(w.part.Index, ref)
		refs = refs[n:]
	}
	t.parts = append(t.parts, w.part)
	return nil
}

// put stores one chunk unless it is there already.
func (t *Txn) put(c []byte) (Ref, error) {
	ref := Ref{SHA256: sha256.Sum256(c), Size: len(c)}
	if t.seen[ref.SHA256] {
		return ref, nil
	}
	has, err := t.r.has(ref.SHA256)
	if err != nil {
		return ref, err
	}
	if !has {
		// A full disk would end the process in Badger's mapped files, so there must be room before bytes are handed over.
		if t.unsynced += len(c); t.unsynced > memTable/2 || len(t.seen) == 0 {
			if err := checkSpace(t.r.dir, 2*int64(t.unsynced)); err != nil {
				return ref, err
			}
			t.unsynced = 0
		}
		if err := t.store(ref.SHA256, c); err != nil {
			return ref, err
		}
	}
	t.seen[ref.SHA256] = true
	return ref, nil
}

// store writes a new chunk into the tree, or into a pack when the transaction is a large one.
func (t *Txn) store(sum Sum, c []byte) (err error) {
	if t.size += int64(len(c)); t.pack == nil && t.size > t.r.packFrom {
		if t.pack, err = t.r.newPack(); err != nil {
			return err
		}
	}
	if t.pack != nil {
		return t.pack.put(sum, c)
	}
	at := place{number: t.r.next}
	t.r.next++
	return errors.Join(t.batch.Set(chunkKey(at.number), append([]byte(nil), c...)), t.batch.Set(sumKey(sum), at.encode()))
}

// endPack puts the pack on disk, and after that its chunks' places into the batch.
func (t *Txn) endPack() error {
	w := t.pack
	if w == nil {
		return nil
	}
	t.pack = nil
	err := w.sync()
	t.r.addPack(w) // also after an error, for the sweep to find and remove it
	for _, c := range w.chunks {
		if err == nil {
			err = t.batch.Set(sumKey(c.sum), c.at.encode())
		}
	}
	return err
}

// firstFree returns the number after the last chunk's.
func (r *DB) firstFree() (uint64, error) {
	s := r.Snapshot()
	defer s.Close()
	it := s.tx.NewIterator(badger.IteratorOptions{Prefix: []byte(chunkPrefix), Reverse: true})
	defer it.Close()
	if it.Seek(chunkKey(math.MaxUint64)); !it.Valid() {
		return 0, nil
	}
	n, err := numberOf(it.Item().Key())
	return n + 1, err
}

func (r *DB) has(s Sum) (bool, error) {
	err := r.db.View(func(tx *badger.Txn) error {
		_, err := tx.Get(sumKey(s))
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Commit publishes the revision with the owner's record meta (marshalled to JSON) and returns its manifest. When it
// returns without error the revision is on disk. After Commit the transaction is over, whatever it returned.
func (t *Txn) Commit(meta any) (*Manifest, error) {
	if t.done {
		return nil, fmt.Errorf("registry: commit %s: transaction: %w", t.name, ErrClosed)
	}
	m, err := t.commit(meta)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("registry: commit %s: %w", t.name, err), t.Abort())
	}
	t.done = true
	t.r.unlock()
	return m, nil
}

func (t *Txn) commit(meta any) (*Manifest, error) {
	j, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	if err := t.endPart(); err != nil {
		return nil, err
	}
	m := &Manifest{
		Format: manifestFormat, Namespace: t.ns, Name: t.name, Revision: t.head.Last + 1, Parent: t.head.Revision,
		Created: time.Now().UTC(), Meta: j, Parts: t.parts,
	}
	b, err := encodeManifest(m)
	if err != nil {
		return nil, err
	}
	if len(b) > MaxChunk {
		return nil, fmt.Errorf("manifest of %d bytes, at most %d: too many parts or too large a record", len(b), MaxChunk)
	}
	if err := checkSpace(t.r.dir, int64(t.unsynced)); err != nil {
		return nil, err
	}
	if err := t.endPack(); err != nil {
		return nil, err
	}
	if err := t.batch.Flush(); err != nil {
		return nil, err
	}
	// Chunks must be on disk before anything names them.
	if err := t.r.sync(); err != nil {
		return nil, err
	}
	err = t.r.db.Update(func(tx *badger.Txn) error {
		return errors.Join(
			tx.Set(manifestKey(t.ns, t.name, m.Revision), b),
			writeHead(tx, t.ns, t.name, head{Revision: m.Revision, Last: m.Revision}),
			tx.Delete(t.intent))
	})
	if err != nil {
		return nil, err
	}
	return m, t.r.sync()
}

// Abort drops the transaction and removes its chunks. After Commit it does nothing.
func (t *Txn) Abort() error {
	if t.done {
		return nil
	}
	t.done = true
	defer t.r.unlock()
	t.batch.Cancel()
	var err error
	if t.pack != nil {
		err = t.pack.abandon()
	}
	if _, e := t.r.sweep(); e != nil {
		err = errors.Join(err, e)
	}
	if err != nil {
		return fmt.Errorf("registry: abort %s: %w", t.name, err)
	}
	return nil
}
