package retrieval

import (
	"fmt"
	"sync"

	"github.com/gopeft/peft/kernels"
)

// Routing is what Route found for a batch of tokens. It may be used again and again; its slices grow as needed.
type Routing struct {
	Tokens int
	Cells  []uint32  // [tokens, heads, k] selected cells, best first
	Gates  []float32 // [tokens, heads, k] their weights; each head's sum to 1
	XHat   []float32 // [tokens, hidden] standardised input; the input itself when the layer does not standardise

	// Train makes Route keep the queries for RouteBackward.
	Train   bool
	Queries []float32 // [tokens, heads, 2, half]

	xhat   []float32 // XHat's own memory
	scores bool      // Gates hold the scores, for calibration
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
	k := l.pack(p)
	p.Run(tokens, l.tile(tokens, p.Threads()), func(lo, hi int) { l.routeTile(k, r, x, lo, hi) })
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

// tile returns how many tokens are routed at once: their scores should stay in the second-level cache.
func (l *Layer) tile(tokens, threads int) int {
	t := max(8, min(64, 1<<17/(l.Heads*2*l.SubKeys)))
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

func (l *Layer) routeTile(k *packed, r *Routing, x []float32, lo, hi int) {
	t := scratches.Get().(*scratch)
	defer scratches.Put(t)
	m, hid, n, d := hi-lo, l.Hidden, l.SubKeys, l.HalfDim
	xh := r.XHat[lo*hid : hi*hid]
	if l.Mean != nil {
		for i := lo; i < hi; i++ {
			standardise(r.XHat[i*hid:(i+1)*hid], x[i*hid:(i+1)*hid], l.Mean, l.InvStd)
		}
	}
	cols, qcols := l.Heads*2*n, l.Heads*2*d
	t.s = resize(t.s, m*cols)
	if k.fold != nil && !r.Train {
		kernels.MulPacked(nil, t.s, xh, m, k.fold, false)
		addRows(t.s, k.foldB, m)
	} else {
		q := r.Queries
		if r.Train {
			q = q[lo*qcols : hi*qcols]
		} else {
			t.q = resize(t.q, m*qcols)
			q = t.q
		}
		kernels.MulPacked(nil, q, xh, m, k.queries, false)
		addRows(q, l.B, m)
		for i, keys := range k.keys {
			kernels.MulPackedStride(nil, t.s[i*n:], cols, q[i*d:], qcols, m, keys, false)
			b := l.bias(i/2, i%2)
			for row := range m {
				s := t.s[row*cols+i*n:][:n]
				kernels.Add(s, s, b)
			}
		}
	}
	picks := l.TopK
	for row := range m {
		for h := range l.Heads {
			at := ((lo+row)*l.Heads + h) * picks
			cells, gates := r.Cells[at:at+picks], r.Gates[at:at+picks]
			s := t.s[row*cols+h*2*n:][:2*n]
			t.product(cells, gates, s[:n], s[n:], k)
			if !r.scores {
				softmax(gates, k.invTemp[h])
			}
		}
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
