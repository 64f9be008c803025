package peer

import (
	"sync/atomic"

	"github.com/gopeft/peft/retrieval"
)

// Usage counts, while requests run, which cells their rows select: a Mix adds to it, others read. What the base reads alone
// selects nothing. Its methods may be called from several goroutines at once.
type Usage struct {
	router *retrieval.Router
	layers []usageLayer
}

type usageLayer struct {
	rows atomic.Uint64
	hits []atomic.Uint64 // [cells]
}

// NewUsage returns counts of zero for the router's layers.
func NewUsage(r *retrieval.Router) *Usage {
	u := &Usage{router: r, layers: make([]usageLayer, len(r.Layers))}
	for i, l := range r.Layers {
		u.layers[i].hits = make([]atomic.Uint64, l.Cells())
	}
	return u
}

// add counts what one of the router's layers selected; that of another router is left out.
func (u *Usage) add(l *retrieval.Layer, r *retrieval.Routing) {
	if u == nil {
		return
	}
	for i, own := range u.router.Layers {
		if own == l {
			u.layers[i].rows.Add(uint64(r.Tokens))
			for _, c := range r.Cells {
				u.layers[i].hits[c].Add(1)
			}
		}
	}
}

// LayerUsage is what was selected in one layer since the start.
type LayerUsage struct {
	Block   int      `json:"block"`
	SubKeys int      `json:"sub_keys"` // n: cell i·n + j is in row i and column j
	Rows    uint64   `json:"rows"`     // that were routed; each selects heads · top-k cells
	Hits    []uint64 `json:"hits"`     // [n·n] selections of each cell
}

// Snapshot returns the counts so far, which only grow: the difference of two snapshots is what came between them.
func (u *Usage) Snapshot() []LayerUsage {
	all := make([]LayerUsage, len(u.layers))
	for i, l := range u.router.Layers {
		all[i] = LayerUsage{Block: l.Block, SubKeys: l.SubKeys, Rows: u.layers[i].rows.Load(), Hits: make([]uint64, l.Cells())}
		for c := range all[i].Hits {
			all[i].Hits[c] = u.layers[i].hits[c].Load()
		}
	}
	return all
}
