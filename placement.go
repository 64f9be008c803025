package peft

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/registry"
	"github.com/gopeft/peft/retrieval"
)

// Placing says in which cells a new set's experts live. The zero value is the default: one in every cell, and where more or
// fewer are asked for, in the order tfidf.
type Placing struct {
	// Occupancy is the order of the cells: tfidf, ratio or count, beside other sets for the first half of the cells when no
	// number of experts is given, or full for an expert in every one; see retrieval.Ordering.
	Occupancy string
	Spread    int // neighbouring cells where an expert can be reached too
}

func (o Placing) ordering() retrieval.Ordering {
	if o.Occupancy == "" {
		return retrieval.Default
	}
	return retrieval.Ordering(o.Occupancy)
}

func (o Placing) check() error {
	if o.Spread < 0 {
		return fmt.Errorf("peft: experts reached from %d neighbouring cells, want 0 or more", o.Spread)
	}
	return o.ordering().Check()
}

// place spreads experts evenly over so many tables, 0 for the default number, and returns where they are in each of the
// router's layers.
func (o Placing) place(r *retrieval.Router, counts [][]uint32, others []*peer.Set, experts, tables int) ([]peer.Placement, error) {
	layers, cells := len(r.Layers), r.Layers[0].Cells()
	p := peer.Placing{Ordering: o.ordering(), Spread: o.Spread}
	if experts != 0 && tables != layers { // several tables, or none, share a layer's selection
		if experts < tables {
			return nil, fmt.Errorf("peft: %d experts for %d sites; want at least one a site", experts, tables)
		}
		experts = experts / tables * layers
	}
	if p.Ordering == retrieval.Full {
		if experts != 0 && experts != layers*cells {
			return nil, fmt.Errorf("peft: %d experts for the full grid of %d layers of %d cells, want %d, or another occupancy", experts, layers, cells, layers*cells)
		}
		experts = layers * cells
	}
	if experts == 0 {
		if p.Experts = cells; len(others) > 0 && o.Occupancy != "" {
			p.Experts = max(1, cells/2)
		}
		return peer.Place(r, counts, others, p)
	}
	if experts < layers {
		return nil, fmt.Errorf("peft: %d experts for %d layers; want at least one a layer", experts, layers)
	}
	// Layers take experts/layers each, rounded up, and the last what is left, so that the sum is what was asked for.
	p.Experts = (experts + layers - 1) / layers
	places, err := peer.Place(r, counts, others, p)
	if err != nil || experts%layers == 0 {
		return places, err
	}
	p.Experts = experts / layers
	fewer, err := peer.Place(r, counts, others, p)
	if err != nil {
		return nil, err
	}
	copy(places[experts%layers:], fewer[experts%layers:])
	return places, nil
}

// GrowOptions of Grow.
type GrowOptions struct {
	Experts int // more, over all layers
	Seed    uint64
	Placing // Spread is not for sets that grow
}

// Grow commits a new revision of a set with more experts, in cells that held none of the set's as long as there are any.
// Those there are stay as they are, to the bit, and the new ones contribute nothing until the set is trained again.
func (e *Engine) Grow(ctx context.Context, name string, o GrowOptions) (*SetInfo, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Spread != 0 {
		return nil, errors.New("peft: grow: new experts of a set that grows live in one cell each")
	}
	return e.revise(ctx, name, func(set *peer.Set, r *retrieval.Router, _ *Training) error {
		others, err := e.others(r, set.Name)
		if err != nil {
			return err
		}
		return set.Grow(e.pool, r, others, peer.Placing{Ordering: o.ordering()}, o.Experts, o.Seed)
	})
}

// Prune commits a new revision of a set without its coldest experts: in each layer that share stays that the set's own
// text selected most when it was last trained. Earlier revisions stay as they are.
func (e *Engine) Prune(ctx context.Context, name string, keep float64) (*SetInfo, error) {
	return e.revise(ctx, name, func(set *peer.Set, _ *retrieval.Router, tr *Training) error {
		if tr != nil {
			tr.Kept = keep * cmp.Or(tr.Kept, 1)
		}
		return set.Prune(keep)
	})
}

// revise commits what change makes of a set's current revision as a new one, whose record says where the set comes from.
func (e *Engine) revise(ctx context.Context, name string, change func(set *peer.Set, r *retrieval.Router, tr *Training) error) (*SetInfo, error) {
	if _, rev, err := registry.ParseRef(name); err != nil || rev != 0 {
		return nil, errors.Join(err, fmt.Errorf("peft: change %s: want the name of a set; go back to an earlier revision with rollback first", name))
	}
	release, err := e.claims.take(name, "another change of its experts")
	if err != nil {
		return nil, err
	}
	defer release()
	old, err := e.Show(name)
	if err != nil {
		return nil, err
	}
	r, err := e.router(ctx)
	if err != nil {
		return nil, err
	}
	s := e.reg.Snapshot()
	defer s.Close()
	m, err := findSet(s, name)
	if err != nil {
		return nil, err
	}
	set, err := e.copiedSet(s, r.Router, m)
	if err != nil {
		return nil, err
	}
	if err := change(set, r.Router, old.Training); err != nil {
		return nil, err
	}
	own, err := e.inherited(s, r, m)
	if err != nil {
		return nil, err
	}
	if m, err = e.storeSet(ctx, set, old.Base, old.Source, old.Training, own); err != nil {
		return nil, err
	}
	return infoOf(m)
}
