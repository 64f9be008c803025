package peft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/singleflight"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/registry"
	"github.com/gopeft/peft/retrieval"
)

// setCache keeps what was read from the registry, as long as there is room.
type setCache struct {
	router       *storedRouter
	sets         recent[*peer.Set] // by name@revision and when that was made: a removed name may come again
	gates        recent[*storedGate]
	gated        *gateTable           // the newest
	strangers    *strangers           // of router
	read         recent[judgedPrompt] // prompts of other sets, of router, by their tokens
	combinations recent[routed]

	loading singleflight.Group
}

// once returns what load does, which of all who ask for that key at a time one alone runs: requests that come together when
// nothing is kept yet share what they wait for.
func once[V any](g *singleflight.Group, key string, load func() (V, error)) (V, error) {
	v, err, _ := g.Do(key, func() (any, error) { return load() })
	if err != nil {
		var none V
		return none, err
	}
	return v.(V), nil
}

// keptBytes is how much is kept of each kind, by its size in the registry. Much of what combinations keep is also among the sets.
const keptBytes = 1 << 30

// readKept is how much is kept of what prompts of other sets select: about as much as two gates look at.
const readKept = 128 << 20

func newSetCache() setCache {
	return setCache{sets: recent[*peer.Set]{limit: keptBytes}, gates: recent[*storedGate]{limit: keptBytes / 4}, read: recent[judgedPrompt]{limit: readKept}, combinations: recent[routed]{limit: keptBytes}}
}

// ErrOtherBase reports a set that was made for another base or router.
var ErrOtherBase = errors.New("the set belongs to another base")

// loadSet returns a revision of a set that fits the open base and router.
func (e *Engine) loadSet(s *registry.Snapshot, r *retrieval.Router, ref string) (*peer.Set, error) {
	m, err := findSet(s, ref)
	if err != nil {
		return nil, err
	}
	return e.fittingSet(s, r, m)
}

// fittingSet is loadSet of a manifest.
func (e *Engine) fittingSet(s *registry.Snapshot, r *retrieval.Router, m *registry.Manifest) (*peer.Set, error) {
	return fitting(m, r, func() (*peer.Set, error) { return e.cachedSet(s, m) })
}

// copiedSet is fittingSet for who changes the set.
func (e *Engine) copiedSet(s *registry.Snapshot, r *retrieval.Router, m *registry.Manifest) (*peer.Set, error) {
	return fitting(m, r, func() (*peer.Set, error) { return readSet(s, m, e.opt.Threads) })
}

// fitting reads the set of a manifest and checks that it belongs to the base and the router.
func fitting(m *registry.Manifest, r *retrieval.Router, read func() (*peer.Set, error)) (*peer.Set, error) {
	if err := madeFor(m, r.Base); err != nil {
		return nil, err
	}
	set, err := read()
	if err != nil {
		return nil, err
	}
	if err := set.Check(r); err != nil {
		return nil, fmt.Errorf("expert set %s@%d: %w", set.Name, set.Revision, err)
	}
	return set, nil
}

// cachedSet returns a set, which nothing was checked about, and keeps it.
func (e *Engine) cachedSet(s *registry.Snapshot, m *registry.Manifest) (*peer.Set, error) {
	key := fmt.Sprintf("%s@%d %d", m.Name, m.Revision, m.Created.UnixNano())
	e.mu.Lock()
	set, ok := e.sets.sets.get(key)
	e.mu.Unlock()
	if ok {
		return set, nil
	}
	return once(&e.sets.loading, "set "+key, func() (*peer.Set, error) {
		set, err := readSet(s, m, e.opt.Threads)
		if err != nil {
			return nil, err
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.sets.sets.put(key, set, m.Size())
		return set, nil
	})
}

// madeFor checks that a set belongs to the base of that fingerprint.
func madeFor(m *registry.Manifest, print string) error {
	rec, err := infoOf(m)
	if err == nil && rec.Fingerprint != print {
		err = fmt.Errorf("expert set %s was made for base %s (%.12s…), the open base is %.12s…: %w", m.Name, rec.Base, rec.Fingerprint, print, ErrOtherBase)
	}
	return err
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

// withSets returns the base, and the combination with the named sets on: nil when none is named, so that the base runs as if
// there were no sets. What the sets need is read from the registry while the base is loaded.
func (e *Engine) withSets(ctx context.Context, names []string) (*base.Base, *combination, error) {
	if len(names) == 0 {
		b, err := e.Base()
		return b, nil, err
	}
	s := e.reg.Snapshot()
	defer s.Close()
	wanted := make([]strong, len(names))
	for i, n := range names { // before a base is loaded, or a router is made, for nothing
		ref, scale, err := parseScaled(n)
		if err != nil {
			return nil, nil, err
		}
		wanted[i].scale = scale
		if wanted[i].Manifest, err = findSet(s, ref); err != nil {
			return nil, nil, err
		}
	}
	e.mu.Lock()
	open := e.base != nil
	e.mu.Unlock()
	wait := func() {}
	if !open {
		wait = e.readAhead(s, wanted)
	}
	b, err := e.loadBase(true)
	wait()
	if err != nil {
		return nil, nil, err
	}
	r, err := e.router(ctx)
	if err != nil {
		return nil, nil, err
	}
	c, err := e.combine(s, r.Router, wanted)
	return b, c, err
}

// readAhead begins to read sets, and the router of the first, into the cache and returns a function that waits for it. What
// fails is read again when it is wanted, and fails then.
func (e *Engine) readAhead(s *registry.Snapshot, sets []strong) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if rec, err := infoOf(sets[0].Manifest); err == nil {
			_, _ = e.cachedRouter(rec.Fingerprint)
		}
		for _, m := range sets {
			_, _ = e.cachedSet(s, m.Manifest)
		}
	}()
	return func() { <-done }
}
