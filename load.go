package peft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/registry"
	"github.com/gopeft/peft/retrieval"
)

// setCache keeps what was read from the registry.
type setCache struct {
	router *storedRouter
	sets   map[string]*peer.Set // by name@revision and when that was made: a removed name may come again
}

// ErrOtherBase reports a set that was made for another base or router.
var ErrOtherBase = errors.New("the set belongs to another base")

// loadSet returns a revision of a set that fits the open base and router.
func (e *Engine) loadSet(s *registry.Snapshot, r *retrieval.Router, ref string) (*peer.Set, error) {
	m, err := findSet(s, ref)
	if err != nil {
		return nil, err
	}
	if err := madeFor(m, r.Base); err != nil {
		return nil, err
	}
	set, err := e.cachedSet(s, m)
	if err != nil {
		return nil, err
	}
	return set, fits(set, r)
}

// cachedSet returns a set, which nothing was checked about, and keeps it.
func (e *Engine) cachedSet(s *registry.Snapshot, m *registry.Manifest) (*peer.Set, error) {
	key := fmt.Sprintf("%s@%d %d", m.Name, m.Revision, m.Created.UnixNano())
	e.mu.Lock()
	set := e.sets.sets[key]
	e.mu.Unlock()
	if set != nil {
		return set, nil
	}
	set, err := readSet(s, m, e.opt.Threads)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sets.sets == nil {
		e.sets.sets = map[string]*peer.Set{}
	}
	e.sets.sets[key] = set
	return set, nil
}

// decodeSet reads a set, checks it against the router and returns it.
func decodeSet(s *registry.Snapshot, m *registry.Manifest, r *retrieval.Router, threads int) (*peer.Set, error) {
	if err := madeFor(m, r.Base); err != nil {
		return nil, err
	}
	set, err := readSet(s, m, threads)
	if err != nil {
		return nil, err
	}
	return set, fits(set, r)
}

// madeFor checks that a set belongs to the base of that fingerprint.
func madeFor(m *registry.Manifest, print string) error {
	rec, err := infoOf(m)
	if err == nil && rec.Fingerprint != print {
		err = fmt.Errorf("expert set %s was made for base %s (%.12s…), the open base is %.12s…: %w", m.Name, rec.Base, rec.Fingerprint, print, ErrOtherBase)
	}
	return err
}

func fits(set *peer.Set, r *retrieval.Router) error {
	if err := set.Check(r); err != nil {
		return fmt.Errorf("expert set %s@%d: %w", set.Name, set.Revision, err)
	}
	return nil
}

func readSet(s *registry.Snapshot, m *registry.Manifest, threads int) (*peer.Set, error) {
	set, err := peer.Decode(threads, func(name string) (io.Reader, error) {
		p, ok := m.Part(name)
		if !ok {
			return nil, nil
		}
		if p.Size == 0 {
			return bytes.NewReader(nil), nil
		}
		return s.Open(p), nil
	})
	if err != nil {
		return nil, fmt.Errorf("expert set %s@%d: %w", m.Name, m.Revision, err)
	}
	set.Name, set.Revision = m.Name, m.Revision
	return set, nil
}

// withSets returns the base, and the seam with the named sets on: nil when none is named, so that the base runs as if there
// were no sets. What the sets need is read from the registry while the base is loaded.
func (e *Engine) withSets(ctx context.Context, names []string) (*base.Base, llama.Seam, error) {
	if len(names) == 0 {
		b, err := e.Base()
		return b, nil, err
	}
	s := e.reg.Snapshot()
	defer s.Close()
	refs, scales, wanted := make([]string, len(names)), make([]float32, len(names)), make([]*registry.Manifest, len(names))
	for i, n := range names { // before a base is loaded, or a router is made, for nothing
		var err error
		if refs[i], scales[i], err = parseScaled(n); err != nil {
			return nil, nil, err
		}
		if wanted[i], err = findSet(s, refs[i]); err != nil {
			return nil, nil, err
		}
	}
	wait := e.readAhead(s, wanted)
	b, err := e.loadBase(true)
	wait()
	if err != nil {
		return nil, nil, err
	}
	r, err := e.router(ctx)
	if err != nil {
		return nil, nil, err
	}
	var sets []*peer.Set
	for i, m := range wanted {
		set, err := e.loadSet(s, r.Router, fmt.Sprintf("%s@%d", m.Name, m.Revision))
		if err != nil {
			return nil, nil, err
		}
		if scales[i] != 0 { // otherwise it is as good as off, to the bit
			sets = append(sets, set.Scaled(scales[i]))
		}
	}
	if len(sets) == 0 {
		return b, nil, nil
	}
	seam, err := peer.NewStack(r.Router, e.pool, sets...)
	return b, seam, err
}

// readAhead begins to read sets, and the router of the first, into the cache and returns a function that waits for it. What
// fails is read again when it is wanted, and fails then.
func (e *Engine) readAhead(s *registry.Snapshot, sets []*registry.Manifest) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if rec, err := infoOf(sets[0]); err == nil {
			_, _ = e.cachedRouter(rec.Fingerprint)
		}
		for _, m := range sets {
			_, _ = e.cachedSet(s, m)
		}
	}()
	return func() { <-done }
}
