package retrieval

import (
	"fmt"
	"math"
	"sync"

	"github.com/gopeft/peft/kernels"
)

// Routing is what Route found for a batch of tokens. It may be used again and again; its slices grow as needed.
type Routing struct {
	Tokens int
	Cells  []uint32  // [tokens, heads, k] selected cells, best first
	Gates  []float32 // [tokens, heads, k] their weights; each head's sum to 1
	XHat   []float32 // [tokens, hidden] standardised input; the input itself when the layer does not standardise

	Sigmoid bool // gates are a sigmoid of each score instead

	// Train makes Route keep the queries for RouteBackward; Norm, when not nil, normalises them over the tokens then.
	Train   bool
	Norm    *BatchNorm
	Queries []float32 // [tokens, heads, 2, half]

	xhat   []float32 // XHat's own memory
	scores bool      // Gates hold the scores, for calibration

	// One Route's operands, and its parts bound once so that a call allocates nothing.
	layer             *Layer
	packed            *packed
	pool              *kernels.Pool
	x                 []float32
	q, s, of          []float32 // where the threads share a token's heads: memory for queries, scores, the queries
	byTokens, byHeads func(lo, hi int)
}

// Slice makes part what r found for the tokens [lo, hi), in r's memory: it serves until r's next Route, and must have none
// itself.
func (r *Routing) Slice(part *Routing, lo, hi int) {
	picks, hid := len(r.Cells)/r.Tokens, len(r.XHat)/r.Tokens
	part.Tokens, part.Cells, part.Gates, part.XHat = hi-lo, r.Cells[lo*picks:hi*picks], r.Gates[lo*picks:hi*picks], r.XHat[lo*hid:hi*hid]
}

// Route selects for every row of x: [tokens, hidden] each head's k best cells: the k first of all n² in the order of
// falling score s1[i] + s2[j] (an f32 sum), ties going to the higher s1[i], then the lower i, then the higher s2[j], then
// the lower j. Its result for a token depends on that token alone, to the bit, and not on the number of threads.
func (l *Layer) Route(p *kernels.Pool, r *Routing, x []float32, tokens int) {
	if len(x) < tokens*l.Hidden {
		panic(fmt.Sprintf("retrieval: route %d tokens of width %d: %d values", tokens, l.Hidden, len(x)))
	}
	picks := tokens * l.Heads * l.TopK
	r.Tokens = tokens
	r.Cells = resize(r.Cells, picks)
	r.Gates = resize(r.Gates, picks)
	if l.Mean == nil {
		r.XHat = x[:tokens*l.Hidden]
	} else {
		r.xhat = resize(r.xhat, tokens*l.Hidden)
		r.XHat = r.xhat
	}
	if r.Train {
		r.Queries = resize(r.Queries, tokens*l.Heads*2*l.HalfDim)
	}
	r.layer, r.packed, r.pool, r.x = l, l.pack(p), p, x
	if r.byTokens == nil {
		r.byTokens, r.byHeads = r.routeTokens, r.routeHeads
	}
	if r.normalised() {
		r.normalise()
	}
	if tokens < p.Threads() {
		r.few()
	} else {
		p.Run(tokens, l.tile(tokens, p.Threads()), r.byTokens)
	}
	r.layer, r.packed, r.pool, r.x = nil, nil, nil, nil
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

// tile returns how many tokens are routed at once: the scores that are there at a time should stay in the second-level
// cache.
func (l *Layer) tile(tokens, threads int) int {
	heads := 1
	if l.folds() {
		heads = l.Heads
	}
	t := max(8, min(64, 1<<17/(heads*2*l.SubKeys)))
	return min(t, max(8, (tokens+threads-1)/threads))
}

// scratch is one goroutine's memory while it routes.
type scratch struct {
	q, s   []float32
	val    [2][]float32
	idx    [2][]int32
	sum    []float32
	of     []int32 // candidate of each sum
	chosen []int32
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// routeTokens routes the tokens [lo, hi).
func (r *Routing) routeTokens(lo, hi int) {
	l, m := r.layer, hi-lo
	t := scratches.Get().(*scratch)
	defer scratches.Put(t)
	width := 2 * l.SubKeys // of a row of scores: of one head after the other, or of all at once
	if r.folded() {
		width *= l.Heads
	} else {
		t.q = resize(t.q, m*l.Heads*2*l.HalfDim)
	}
	t.s = resize(t.s, m*width)
	q := r.project(nil, t.q, t.s, lo, hi)
	for h := range l.Heads {
		s := t.s
		if r.folded() {
			s = s[h*2*l.SubKeys:]
		} else {
			r.score(q, s, width, h, m)
		}
		for i := range m {
			r.choose(t, s[i*width:], h, lo+i)
		}
	}
}

// few routes so few tokens that the threads share each one's heads, with the bits of routeTokens.
func (r *Routing) few() {
	l := r.layer
	r.s = resize(r.s, r.Tokens*l.Heads*2*l.SubKeys)
	if !r.folded() {
		r.q = resize(r.q, r.Tokens*l.Heads*2*l.HalfDim)
	}
	r.of = r.project(r.pool, r.q, r.s, 0, r.Tokens)
	r.pool.Run(l.Heads, 1, r.byHeads)
}

func (r *Routing) routeHeads(lo, hi int) {
	t := scratches.Get().(*scratch)
	defer scratches.Put(t)
	head := 2 * r.layer.SubKeys
	width := r.layer.Heads * head
	for h := lo; h < hi; h++ {
		s := r.s[h*head:]
		if !r.folded() {
			r.score(r.of, s, width, h, r.Tokens)
		}
		for i := range r.Tokens {
			r.choose(t, s[i*width:], h, i)
		}
	}
}

// folded reports whether the scores are computed from x̂ at once, without queries.
func (r *Routing) folded() bool { return r.packed.fold != nil && !r.Train }

// normalised reports whether the queries are normalised over the batch, so that all must be there before one is scored.
func (r *Routing) normalised() bool { return r.Train && r.Norm != nil }

// normalise computes XHat and the normalised queries of all tokens.
func (r *Routing) normalise() {
	l := r.layer
	if l.Mean != nil {
		r.pool.Run(r.Tokens, 64, r.standardise)
	}
	kernels.MulPacked(r.pool, r.Queries, r.XHat, r.Tokens, r.packed.queries, false)
	r.Norm.forward(r.pool, r.Queries, r.Tokens)
	addRows(r.Queries, l.B, r.Tokens)
}

// standardise computes XHat of the tokens [lo, hi).
func (r *Routing) standardise(lo, hi int) {
	l, hid := r.layer, r.layer.Hidden
	for i := lo; i < hi; i++ {
		standardise(r.XHat[i*hid:(i+1)*hid], r.x[i*hid:(i+1)*hid], l.Mean, l.InvStd)
	}
}

// project standardises the tokens [lo, hi) and computes their scores, s: [hi-lo, heads, 2, n], when the products are
// folded, and otherwise their queries, [hi-lo, heads, 2, half], in q or, when they are to be kept, there, and returns them.
func (r *Routing) project(p *kernels.Pool, q, s []float32, lo, hi int) []float32 {
	l, m, hid := r.layer, hi-lo, r.layer.Hidden
	if r.normalised() {
		n := l.Heads * 2 * l.HalfDim
		return r.Queries[lo*n : hi*n]
	}
	xh := r.XHat[lo*hid : hi*hid]
	if l.Mean != nil {
		r.standardise(lo, hi)
	}
	if r.folded() {
		kernels.MulPacked(p, s, xh, m, r.packed.fold, false)
		addRows(s, r.packed.foldB, m)
		return q
	}
	if r.Train {
		n := l.Heads * 2 * l.HalfDim
		q = r.Queries[lo*n : hi*n]
	}
	kernels.MulPacked(p, q, xh, m, r.packed.queries, false)
	addRows(q, l.B, m)
	return q
}

// score computes a head's scores of m tokens from their queries: s: [m, 2, n], its rows width apart.
func (r *Routing) score(q, s []float32, width, head, m int) {
	l, n, d := r.layer, r.layer.SubKeys, r.layer.HalfDim
	for half := range 2 {
		i := 2*head + half
		kernels.MulPackedStride(nil, s[half*n:], width, q[i*d:], l.Heads*2*d, m, r.packed.keys[i], false)
		b := l.bias(head, half)
		for row := range m {
			to := s[row*width+half*n:][:n]
			kernels.Add(to, to, b)
		}
	}
}

// choose selects a head's cells for a token with the scores s: [2, n], and their gates.
func (r *Routing) choose(t *scratch, s []float32, head, token int) {
	l, k, n := r.layer, r.packed, r.layer.SubKeys
	at := (token*l.Heads + head) * l.TopK
	cells, gates := r.Cells[at:at+l.TopK], r.Gates[at:at+l.TopK]
	t.product(cells, gates, s[:n], s[n:2*n], k)
	switch {
	case r.scores:
	case r.Sigmoid:
		sigmoid(gates, k.invTemp[head])
	default:
		softmax(gates, k.invTemp[head])
	}
}

// standardise writes (x - mean)·inv.
func standardise(dst, x, mean, inv []float32) {
	x, mean, inv = x[:len(dst)], mean[:len(dst)], inv[:len(dst)]
	for i := range dst {
		dst[i] = (x[i] - mean[i]) * inv[i]
	}
}

// addRows adds b to each of m rows of s.
func addRows(s, b []float32, m int) {
	for i := range m {
		row := s[i*len(b) : (i+1)*len(b)]
		kernels.Add(row, row, b)
	}
}

// softmax turns falling scores into weights, at temperature 1/inv.
func softmax(g []float32, inv float32) {
	top := g[0]
	for i, v := range g {
		g[i] = (v - top) * inv
	}
	sum := kernels.ExpSum(g, g, 0)
	kernels.Scale(1/sum, g)
}

// sigmoid turns each score into a weight by itself, at temperature 1/inv.
func sigmoid(g []float32, inv float32) {
	for i, v := range g {
		g[i] = float32(1 / (1 + math.Exp(-float64(v*inv))))
	}
}
