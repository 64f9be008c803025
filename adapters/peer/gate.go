package peer

import (
	"fmt"

	"github.com/gopeft/peft/retrieval"
)

// Gate decides for a whole sequence which sets it belongs to, by naive Bayes on the cells its tokens select: a set's own
// data, as it was counted when the set was placed, against the router's background text. The experts have no part in it.
type Gate struct {
	router *retrieval.Router
	sets   []*Set
	odds   [][][]float32 // of each set and each of the router's layers, [cells]; nil where counts are missing
}

// NewGate prepares the decision between sets. Sets without counts are never on.
func NewGate(r *retrieval.Router, sets ...*Set) (*Gate, error) {
	g := &Gate{router: r, sets: sets, odds: make([][][]float32, len(sets))}
	for i, s := range sets {
		if err := s.Check(r); err != nil {
			return nil, err
		}
		g.odds[i] = make([][]float32, len(r.Layers))
		for j, l := range r.Layers {
			t := s.Table(l.Block)
			if t == nil || t.Counts == nil || l.Background == nil {
				continue
			}
			var err error
			if g.odds[i][j], err = retrieval.LogOdds(t.Counts, l.Background); err != nil {
				return nil, fmt.Errorf("peer: set %s: block %d: %w", s.Name, l.Block, err)
			}
		}
	}
	return g, nil
}

// Evidence is how much a sequence looks like a set's own data.
type Evidence struct {
	Set     *Set
	LogOdds float64 // against background text: nats for an average token and selection, mean over layers
	On      bool    // LogOdds > 0
}

// Judge weighs the cells a sequence selected, as Counter.Counts gives them after the base alone has read it, for each set
// in the order of NewGate. 64 tokens are enough for most texts.
func (g *Gate) Judge(counts [][]uint32) ([]Evidence, error) {
	if len(counts) != len(g.router.Layers) {
		return nil, fmt.Errorf("peer: gate: counts of %d layers, the router has %d", len(counts), len(g.router.Layers))
	}
	all := make([]Evidence, len(g.sets))
	for i, s := range g.sets {
		var sum float64
		layers := 0
		for j, odds := range g.odds[i] {
			if odds == nil {
				continue
			}
			if len(counts[j]) != len(odds) {
				return nil, fmt.Errorf("peer: gate: counts of %d cells, want %d", len(counts[j]), len(odds))
			}
			var hits, layer float64
			for cell, n := range counts[j] {
				hits += float64(n)
				layer += float64(n) * float64(odds[cell])
			}
			if hits > 0 {
				sum += layer / hits
				layers++
			}
		}
		all[i] = Evidence{Set: s}
		if layers > 0 {
			all[i].LogOdds = sum / float64(layers)
			all[i].On = all[i].LogOdds > 0
		}
	}
	return all, nil
}
