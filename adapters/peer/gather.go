package peer

import (
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// gathered are the experts of one table that a range of tokens selected, head by head: what a head selected is summed
// first, then the heads, so that a token's sum is the same however the work is split.
type gathered struct {
	experts []uint32 // of all heads, then as many more as the largest of them has
	gates   []float32
	ends    []int // of each token's heads, in experts
	state   []float32
	total   []float32 // [Out]
}

// find collects the experts for the picks of the heads [lo, hi), counted over all tokens.
func (g *gathered) find(a *active, r *retrieval.Routing, lo, hi, topK int) {
	g.experts, g.gates, g.ends = g.experts[:0], g.gates[:0], g.ends[:0]
	most, full := 0, a.Occupancy.Full()
	for h := lo; h < hi; h++ {
		from := len(g.experts)
		if full {
			g.experts = append(g.experts, r.Cells[h*topK:(h+1)*topK]...)
			for _, gate := range r.Gates[h*topK : (h+1)*topK] {
				g.gates = append(g.gates, gate*a.scale)
			}
			most = topK
			g.ends = append(g.ends, len(g.experts))
			continue
		}
		for i := h * topK; i < (h+1)*topK; i++ {
			for _, e := range a.Occupancy.Lookup(r.Cells[i]) {
				g.experts, g.gates = append(g.experts, e), append(g.gates, r.Gates[i]*a.scale)
			}
		}
		most = max(most, len(g.experts)-from)
		g.ends = append(g.ends, len(g.experts))
	}
	if n := len(g.experts); n > 0 {
		for last := g.experts[n-1]; most > len(g.experts)-n; {
			g.experts = append(g.experts, last)
		}
	}
	g.state = resize(g.state, most*a.gather.State(a.Dims))
}

// sum adds what the head with that place in ends selected to y: [Out], and reports whether it selected anything.
func (g *gathered) sum(a *active, head int, y, x []float32) bool {
	from, to := 0, g.ends[head]
	if head > 0 {
		from = g.ends[head-1]
	}
	if from == to {
		return false
	}
	a.gather.Gather(y, x, a.Rows.BF16, g.experts[from:to], g.experts[to:2*to-from], g.gates[from:to], g.state)
	return true
}

// tokens adds a table's contribution to the tokens [lo, hi); norms are those of the stream, for a table with a cap.
func (g *gathered) tokens(a *active, r *retrieval.Routing, lo, hi int, y, x kernels.Matrix, norms []float32, heads, topK int) {
	g.find(a, r, lo*heads, hi*heads, topK)
	g.total = resize(g.total, y.Cols)
	for t := lo; t < hi; t++ {
		clear(g.total)
		hit := false
		for h := range heads {
			hit = g.sum(a, (t-lo)*heads+h, g.total, x.Row(t)) || hit
		}
		if hit {
			if a.Cap > 0 {
				a.limit(g.total, norms[t])
			}
			kernels.Add(y.Row(t), y.Row(t), g.total)
		}
	}
}

// byHeads is byTokens for so few tokens that the threads share a token's heads.
func (f *pass) byHeads(a *active) {
	heads, out := f.layer.router.Heads, f.y.Cols
	n := f.y.Rows * heads
	f.sums, f.hits, f.table = resize(f.sums, n*out), resize(f.hits, n), a
	f.stack.pool.Run(n, (n+f.stack.pool.Threads()-1)/f.stack.pool.Threads(), f.headSums)
	for t := range f.y.Rows {
		first := -1
		for h := t * heads; h < (t+1)*heads; h++ {
			if !f.hits[h] {
				continue
			}
			if first < 0 {
				first = h
				continue
			}
			sum := f.sums[first*out : (first+1)*out]
			kernels.Add(sum, sum, f.sums[h*out:(h+1)*out])
		}
		if first >= 0 {
			sum := f.sums[first*out : (first+1)*out]
			if a.Cap > 0 {
				a.limit(sum, f.norms[t])
			}
			kernels.Add(f.y.Row(t), f.y.Row(t), sum)
		}
	}
}

// sumHeads forms the sums of the heads [lo, hi), counted over all tokens.
func (f *pass) sumHeads(lo, hi int) {
	t := tileStates.Get().(*tileState)
	defer tileStates.Put(t)
	g, heads, out := &t.gathered, f.layer.router.Heads, f.y.Cols
	g.find(f.table, f.routing, lo, hi, f.layer.router.TopK)
	for h := lo; h < hi; h++ {
		sum := f.sums[h*out : (h+1)*out]
		clear(sum)
		f.hits[h] = g.sum(f.table, h-lo, sum, f.x.Row(h/heads))
	}
}
