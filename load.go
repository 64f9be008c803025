package peft

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/registry"
	"github.com/gopeft/peft/retrieval"
)

// setCache keeps what was read from the registry.
type setCache struct {
	router *storedRouter
	sets   map[string]*peer.Set // by name@revision
}

// ErrOtherBase reports a set that was made for another base or router.
var ErrOtherBase = errors.New("the set belongs to another base")

// loadSet returns a revision of a set that fits the open base and router.
func (e *Engine) loadSet(s *registry.Snapshot, r *retrieval.Router, ref string) (*peer.Set, error) {
	m, err := findSet(s, ref)
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("%s@%d", m.Name, m.Revision)
	e.mu.Lock()
	set := e.sets.sets[key]
	e.mu.Unlock()
	if set != nil {
		return set, nil
	}
	if set, err = decodeSet(s, m, r); err != nil {
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
func decodeSet(s *registry.Snapshot, m *registry.Manifest, r *retrieval.Router) (*peer.Set, error) {
	var rec setRecord
	if err := json.Unmarshal(m.Meta, &rec); err != nil {
		return nil, fmt.Errorf("peft: record of %s: %w: %w", m.Name, registry.ErrCorrupt, err)
	}
	if rec.Fingerprint != r.Base {
		return nil, fmt.Errorf("expert set %s was made for base %s (%.12s…), the open base is %.12s…: %w", m.Name, rec.Base, rec.Fingerprint, r.Base, ErrOtherBase)
	}
	set, err := peer.Decode(func(name string) (io.Reader, error) {
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
	if err := set.Check(r); err != nil {
		return nil, fmt.Errorf("expert set %s@%d: %w", m.Name, m.Revision, err)
	}
	return set, nil
}

// seam returns the seam with the named sets on; nil when none is named, so that the base runs as if there were no sets.
func (e *Engine) seam(ctx context.Context, names []string) (llama.Seam, error) {
	if len(names) == 0 {
		return nil, nil
	}
	s := e.reg.Snapshot()
	defer s.Close()
	refs, scales := make([]string, len(names)), make([]float32, len(names))
	for i, n := range names { // before a router is made for nothing
		var err error
		if refs[i], scales[i], err = parseScaled(n); err != nil {
			return nil, err
		}
		if _, err := findSet(s, refs[i]); err != nil {
			return nil, err
		}
	}
	r, err := e.router(ctx)
	if err != nil {
		return nil, err
	}
	var sets []*peer.Set
	for i, n := range refs {
		set, err := e.loadSet(s, r.Router, n)
		if err != nil {
			return nil, err
		}
		if scales[i] != 0 { // otherwise it is as good as off, to the bit
			sets = append(sets, set.Scaled(scales[i]))
		}
	}
	if len(sets) == 0 {
		return nil, nil
	}
	return peer.NewStack(r.Router, e.pool, sets...)
}
