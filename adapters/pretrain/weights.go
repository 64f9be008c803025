package pretrain

import (
	"math"
	"math/rand/v2"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/retrieval"
)

// weights are views of one flat vector, of parameters, of their gradients or of an optimiser's moments; and beside it the
// experts, whose gradients are sparse.
type weights struct {
	flat    []float32
	embed   []float32 // [vocab, hidden]; the head too
	layers  []layerWeights
	norm    []float32  // [hidden]
	experts []*experts // of each block, nil where it has none; of parameters only
}

type layerWeights struct {
	attnNorm []float32 // [hidden]
	qkv      []float32 // [(heads + 2·kvHeads)·headDim, hidden]: queries, keys, values
	out      []float32 // [hidden, heads·headDim]
	ffnNorm  []float32 // [hidden]

	gateUp []float32 // [2·ffn, hidden]: gates, ups; of a mixture [experts, 2·width, hidden]
	down   []float32 // [hidden, ffn]; of a mixture [experts, hidden, width]
	choice []float32 // [experts, hidden] of a mixture: scores of the experts

	query []float32    // [heads, 2, half, hidden] of product keys: query networks
	shift []float32    // [heads, 2, half] added to normalised queries
	keys  [2][]float32 // of each half, [heads, n, half]
}

// experts are the rows of one block's experts, and the averages by which its queries are normalised outside training.
type experts struct {
	table *peer.Table
	norm  *retrieval.BatchNorm
}

func newWeights(s Shape) *weights {
	dense := s.Vocab*s.Hidden + s.Hidden
	for i := range s.Layers {
		dense += 2*s.Hidden + s.attention() + s.denseParameters(i)
	}
	w := &weights{flat: make([]float32, dense), layers: make([]layerWeights, s.Layers), experts: make([]*experts, s.Layers)}
	rest := w.flat
	take := func(n int) []float32 {
		v := rest[:n:n]
		rest = rest[n:]
		return v
	}
	f := &s.Instead
	w.embed = take(s.Vocab * s.Hidden)
	for i := range w.layers {
		l := &w.layers[i]
		l.attnNorm = take(s.Hidden)
		l.qkv = take(s.qkv() * s.Hidden)
		l.out = take(s.Hidden * s.Heads * s.HeadDim)
		l.ffnNorm = take(s.Hidden)
		switch f.at(i) {
		case Dense:
			l.gateUp, l.down = take(2*s.FFN*s.Hidden), take(s.Hidden*s.FFN)
		case MoE:
			l.choice = take(f.Experts * s.Hidden)
			l.gateUp, l.down = take(f.Experts*2*f.Width*s.Hidden), take(f.Experts*s.Hidden*f.Width)
		default:
			q := f.Heads * 2 * f.HalfDim
			l.query, l.shift = take(q*s.Hidden), take(q)
			for half := range 2 {
				l.keys[half] = take(f.Heads * f.SubKeys * f.HalfDim)
			}
		}
	}
	w.norm = take(s.Hidden)
	return w
}

// denseParameters returns how many of a feed-forward layer's parameters stand in the flat vector: all but the rows of
// retrieved experts.
func (s Shape) denseParameters(block int) int {
	c := s.feedForward(block)
	if s.Instead.at(block) == MoE {
		return c.dense + c.sparse
	}
	return c.dense
}

// initialise draws the embedding from N(0, 0.02²), projections from U(±1/√fan-in) and sub-keys from U(±1/√half); what
// writes to the residual stream starts at zero, so that every block starts as the identity.
func (w *weights) initialise(s Shape, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for i := range w.embed {
		w.embed[i] = float32(rng.NormFloat64() * 0.02)
	}
	uniform := func(fanIn int, of ...[]float32) {
		bound := float32(1 / math.Sqrt(float64(fanIn)))
		for _, m := range of {
			for i := range m {
				m[i] = (2*rng.Float32() - 1) * bound
			}
		}
	}
	for i, l := range w.layers {
		ones(l.attnNorm)
		ones(l.ffnNorm)
		uniform(s.Hidden, l.qkv, l.gateUp, l.choice, l.query)
		if l.query != nil {
			uniform(s.Instead.HalfDim, l.keys[0], l.keys[1])
			w.experts[i] = newExperts(s, i, seed)
		}
	}
	ones(w.norm)
}

// newExperts returns a block's experts before training. Each has random numbers of its own.
func newExperts(s Shape, block int, seed uint64) *experts {
	kind, cells := rowKind(s.Instead.Kind), s.Instead.retrieval().Cells()
	d := adapters.Dims{In: s.Hidden, Out: s.Hidden}
	t := &peer.Table{Block: block, Kind: kind, Dims: d, Occupancy: retrieval.FullGrid(cells), Rows: peer.NewRows(cells, kind.Width(d), peer.F32)}
	for e := range cells {
		row, rng := t.Rows.Row(e, nil), rand.New(rand.NewPCG(seed, uint64(block)<<32|uint64(e)))
		kind.Init(row, d, rng)
		if std := float64(s.Instead.ValueStd) / math.Sqrt(float64(s.Hidden)); std > 0 {
			for i := len(row) - s.Hidden; i < len(row); i++ {
				row[i] = float32(rng.NormFloat64() * std)
			}
		}
	}
	l := &retrieval.Layer{Config: s.Instead.retrieval()}
	return &experts{table: t, norm: l.NewBatchNorm()}
}

func ones(x []float32) {
	for i := range x {
		x[i] = 1
	}
}
