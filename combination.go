package peft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/batch"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/registry"
	"github.com/gopeft/peft/retrieval"
)

// combination is sets that are on together: one for all requests that name the same revisions at the same strengths. It stays
// as it is whatever becomes of the sets in the registry. A nil one is the bare base.
type combination struct {
	*peer.Stack
	key   string
	names []string // name@revision
}

// seam is what runs beside the base.
func (c *combination) seam() llama.Seam {
	if c == nil {
		return nil
	}
	return c.Stack
}

// sets is seam for a batch; with provenance, what each token comes with is its Shares.
func (c *combination) sets(provenance bool) batch.Sets {
	if c == nil {
		return batch.Sets{}
	}
	s := batch.Sets{Seam: c.Stack, Key: c.key, Names: c.names}
	if provenance {
		p := c.Observed()
		s.Seam, s.Note = p, func() any { return c.shares(p.Row(p.Rows()-1, nil)) }
	}
	return s
}

// shares names the shares of the stack's sets.
func (c *combination) shares(of []float64) []Share {
	all := make([]Share, len(of))
	for i, s := range c.Sets() {
		all[i] = Share{fmt.Sprintf("%s@%d", s.Name, s.Revision), of[i]}
	}
	return all
}

// strong is a revision of a set and how strong it is on; 0 is off.
type strong struct {
	*registry.Manifest
	scale float32
}

// combine returns the combination of sets, made for all who ask for it since it was last forgotten.
func (e *Engine) combine(s *registry.Snapshot, r *retrieval.Router, wanted []strong) (*combination, error) {
	var parts, names []string
	var on []strong
	for _, m := range wanted {
		if m.scale == 0 { // as good as off, to the bit
			if _, err := e.fittingSet(s, r, m.Manifest); err != nil {
				return nil, err
			}
			continue
		}
		ref := fmt.Sprintf("%s@%d", m.Name, m.Revision)
		parts = append(parts, fmt.Sprintf("%s %d*%v", ref, m.Created.UnixNano(), m.scale)) // a removed name may come again
		on, names = append(on, m), append(names, ref)
	}
	if len(on) == 0 {
		return nil, nil
	}
	slices.Sort(parts)
	key := strings.Join(parts, " ")
	e.mu.Lock()
	c, ok := e.sets.combinations.get(key)
	e.mu.Unlock()
	if ok && c.router == r {
		return c.combination, nil
	}
	return once(&e.sets.loading, fmt.Sprintf("combination %p %s", r, key), func() (*combination, error) {
		return e.newCombination(s, r, on, &combination{key: key, names: names})
	})
}

// newCombination gives c the stack of the sets that are on, and keeps it.
func (e *Engine) newCombination(s *registry.Snapshot, r *retrieval.Router, on []strong, c *combination) (*combination, error) {
	var sets []*peer.Set
	var bytes int64
	for _, m := range on {
		set, err := e.fittingSet(s, r, m.Manifest)
		if err != nil {
			return nil, err
		}
		sets, bytes = append(sets, set.Scaled(m.scale)), bytes+m.Size()
	}
	var err error
	if c.Stack, err = peer.NewStack(r, e.pool, sets...); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sets.combinations.put(c.key, routed{c, r}, bytes)
	return c, nil
}

// routed is a combination with its router.
type routed struct {
	*combination
	router *retrieval.Router
}
