package peft

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/registry"
)

// storedGate is a revision's gate with its record.
type storedGate struct {
	*peer.Gate
	ref  string // name@revision
	name string
	info *GateInfo
	set  *registry.Manifest // nil of a gate that is not stored yet
}

// older compares by age: below 0 where the gate was stored before the other, which may not be stored yet.
func (g *storedGate) older(than *storedGate) int {
	if g.set == nil || than.set == nil {
		return cmp.Compare(index(g.set == nil), index(than.set == nil))
	}
	return g.set.Created.Compare(than.set.Created)
}

// gateTable is the gates of all of a router's sets at one moment of the registry, in order of name.
type gateTable struct {
	version uint64
	router  *storedRouter
	gates   []*storedGate
	by      map[string]*storedGate // name
}

// gateTable returns the table for a snapshot if it was made before, so that a request reads no set's record: nil else.
func (e *Engine) gateTable(s *registry.Snapshot) *gateTable {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.sets.gated; t != nil && t.version == s.Version() {
		return t
	}
	return nil
}

// storedGates returns the gates of the named sets, or of all that belong to the router when names is nil, in order of name.
// The list may be shared.
func (e *Engine) storedGates(s *registry.Snapshot, r *storedRouter, names []string) ([]*storedGate, error) {
	known := e.gateTable(s)
	if known != nil && known.router != r {
		known = nil
	}
	all := len(names) == 0
	if all && known != nil {
		return known.gates, nil
	}
	if all {
		names = s.Names(nsSets)
	}
	gates := make([]*storedGate, 0, len(names))
	by := make(map[string]*storedGate, len(names))
	for _, n := range names {
		var g *storedGate
		if known != nil {
			g = known.by[n]
		}
		if g == nil {
			var err error
			if g, err = e.storedGate(s, r, n); errors.Is(err, ErrNoGate) && all {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		gates, by[g.name] = append(gates, g), g
	}
	slices.SortFunc(gates, func(a, b *storedGate) int { return strings.Compare(a.name, b.name) })
	if all {
		e.mu.Lock()
		defer e.mu.Unlock()
		if t := e.sets.gated; t == nil || t.router != r || t.version < s.Version() {
			e.sets.gated = &gateTable{s.Version(), r, gates, by}
		}
	}
	return gates, nil
}

// storedGate returns the gate of a set, "name" or "name@revision", and keeps it.
func (e *Engine) storedGate(s *registry.Snapshot, r *storedRouter, ref string) (*storedGate, error) {
	sum, err := r.SHA256()
	if err != nil {
		return nil, err
	}
	m, info, err := findInfo(s, ref)
	if err != nil {
		return nil, err
	}
	p, ok := m.Part(partGate)
	ref = fmt.Sprintf("%s@%d", m.Name, m.Revision)
	if info.RouterSHA256 != sum || info.Gate == nil || !ok {
		return nil, fmt.Errorf("expert set %s has no gate for this base; make one with peft gate %s: %w", ref, m.Name, ErrNoGate)
	}
	key := fmt.Sprintf("%s %d %s", ref, m.Created.UnixNano(), sum)
	e.mu.Lock()
	g, ok := e.sets.gates.get(key)
	e.mu.Unlock()
	if ok {
		return g, nil
	}
	data, err := s.ReadPart(p)
	if err != nil {
		return nil, err
	}
	g = &storedGate{ref: ref, name: m.Name, info: info.Gate, set: m}
	if g.Gate, err = peer.UnmarshalGate(data, r.Router); err != nil {
		return nil, fmt.Errorf("expert set %s: %w", ref, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sets.gates.put(key, g, p.Size)
	return g, nil
}

// ErrNoGate reports a set without a gate, so that nobody can decide whether a text is its own.
var ErrNoGate = errors.New("no gate")
