package kernels

import "sync"

// AttentionBackward writes dq, dk and dv, with the strides of q, k and v, from do; o and lse are the forward's, from
// which the probabilities are made again instead of kept (arXiv 2307.08691, algorithm 2). Rows of dk and dv that belong
// to no span stay as they are.
func AttentionBackward(p *Pool, dq, dk, dv, do []float32, ldo int, o, q []float32, ldq int, k, v []float32, ldkv int, spans []Span, h Heads, lse []float32) {
	b := backwards.Get().(*attentionBackward)
	b.operands = operands{Heads: h, spans: spans, o: o, q: q, k: k, v: v, ldo: ldo, ldq: ldq, ldkv: ldkv, lse: lse}
	b.dq, b.dk, b.dv, b.do = dq, dk, dv, do
	p.Run(len(spans)*h.KV, 1, b.part)
	*b = attentionBackward{part: b.part}
	backwards.Put(b)
}

// attentionBackward is one call, kept for the next like attention.
type attentionBackward struct {
	operands
	dq, dk, dv, do []float32
	part           func(lo, hi int)
}

var backwards = sync.Pool{New: func() any {
	b := new(attentionBackward)
	b.part = func(lo, hi int) {
		for i := lo; i < hi; i++ {
			b.run(b.spans[i/b.KV], i%b.KV)
		}
	}
	return b
}}

// gradientKeys is how many keys' gradients are summed at a time, a divisor of a panel; the rows that see none of them are
// left out.
const gradientKeys = panel / 4

// backwardTile is the working memory of one span and key head: of its keys, and of a tile of its queries.
type backwardTile struct {
	tileRows
	*attentionBackward
	row, kv, key  int       // the tile's first query, the key head, the first element of the span's keys and values
	keys, values  []float32 // packed
	dk, dv        []float32 // [keys, Dim], sums
	q, do, dq     []float32 // [rows, Dim]
	lse, delta    []float32 // [rows]: Σ do·o
	p, ds         []float32 // [rows, blockKeys]: scores and do·vᵀ, then probabilities and the gradient of scores
	half          bool
	windowed      bool
	backwardPairs // instead of packed, p and ds, which have stripRows rows
}

// run is the backward of one span and key head. Its tiles go one after the other, so that sums into dk and dv have one
// order.
func (b *attentionBackward) run(s Span, kv int) {
	if s.Len == 0 {
		b.clearKeys(s, kv)
		return
	}
	t := backwardTile{attentionBackward: b, kv: kv, key: s.KV*b.ldkv + kv*b.Dim, half: b.Heads.half()}
	rows := min(tileQ, s.Len) * b.group()
	even := (rows + 1) &^ 1 // in bf16, whole pairs
	packed, scores := keyPanels(s.keys())*panel*b.Dim, even
	if t.half {
		packed, scores = 0, stripRows
	}
	keys, width := s.keys()*b.Dim, even*b.Dim
	buf := getF32(2*packed + 2*keys + 3*width + 2*even + 2*scores*blockKeys)
	defer putF32(buf)
	x := arena[float32](*buf)
	t.keys, t.values, t.dk, t.dv = x.cut(packed), x.cut(packed), x.cut(keys), x.cut(keys)
	t.q, t.do, t.dq, t.lse, t.delta = x.cut(width), x.cut(width), x.cut(width), x.cut(even), x.cut(even)
	t.p, t.ds = x.cut(scores*blockKeys), x.cut(scores*blockKeys)
	if t.half {
		defer putU16(t.packPairs(s.keys(), even))
	} else {
		packKeys(t.keys, b.k[t.key:], b.ldkv, s.keys(), b.Dim)
		packKeys(t.values, b.v[t.key:], b.ldkv, s.keys(), b.Dim)
	}
	if t.windowed = b.Window > 0; t.windowed { // keys that nobody sees, and sums that begin anywhere
		clear(t.dk)
		clear(t.dv)
	}
	for i0 := 0; i0 < s.Len; i0 += tileQ {
		t.tile(s, i0, min(tileQ, s.Len-i0))
	}
	for j := range s.keys() {
		at := t.key + j*b.ldkv
		copy(b.dv[at:], t.dv[j*b.Dim:][:b.Dim])
		copy(b.dk[at:], t.dk[j*b.Dim:][:b.Dim])
	}
}

// clearKeys is run of a span without queries.
func (b *attentionBackward) clearKeys(s Span, kv int) {
	for j := range s.keys() {
		at := (s.KV+j)*b.ldkv + kv*b.Dim
		clear(b.dk[at:][:b.Dim])
		clear(b.dv[at:][:b.Dim])
	}
}

// tile adds what n queries from i0 on give: with P recomputed from lse and dS = scale·P∘(do·vᵀ - Σ do·o), which is zero
// beyond the mask, dq = dS·k, dk += dSᵀ·q and dv += Pᵀ·do.
func (t *backwardTile) tile(s Span, i0, n int) {
	t.load(s, i0, n)
	if t.windowed {
		clear(t.dq)
	}
	for b0 := t.first(); b0 < t.tileRows.keys(); b0 += blockKeys {
		first, end := t.from(b0), t.to(b0+blockKeys-1)
		if t.half { // whole pairs
			first, end = first&^1, min(t.rows, (end+1)&^1)
		}
		for r := first; r < end; r += stripRows {
			if m := min(stripRows, end-r); t.half {
				t.stripBF16(r, m, b0)
			} else {
				t.strip(r, m, b0)
			}
		}
		see := t.sees(t.rows-1, b0)
		for j := 0; j < see; j += gradientKeys {
			m := min(gradientKeys, s.keys()-b0-j)
			acc := t.windowed || i0 > 0 && b0+j < t.past // an earlier tile saw the first of them, and wrote all
			if t.half {
				t.sumBF16(j, b0, m, acc)
			} else {
				t.sum(j, b0, m, acc)
			}
		}
	}
	width := t.group * t.Dim
	for i := range n {
		copy(t.attentionBackward.dq[(t.row+i)*t.ldq+t.kv*width:], t.dq[i*width:][:width])
	}
}

// load fetches the rows of n queries from i0 on.
func (t *backwardTile) load(s Span, i0, n int) {
	g := t.Heads.group()
	t.tileRows, t.row = t.tileOf(s, i0, n), s.Q+i0
	width := g * t.Dim
	gatherRows(t.q, t.operands.q, t.ldq, t.row, t.kv, n, width)
	gatherRows(t.do, t.attentionBackward.do, t.ldo, t.row, t.kv, n, width)
	gatherRows(t.lse, t.operands.lse, t.Heads.Heads, t.row, t.kv, n, g)
	for r := range t.rows {
		o := t.o[(t.row+r/g)*t.ldo+t.kv*width+r%g*t.Dim:][:t.Dim]
		t.delta[r] = Dot(t.do[r*t.Dim:][:t.Dim], o)
	}
	if t.half {
		t.loadPairs()
	}
}

// strip makes p and ds of n rows from r0 on and the keys from b0 on, and adds to dq. Behind what a row sees there are
// zeros to the end of a panel.
func (t *backwardTile) strip(r0, n, b0 int) {
	see := t.sees(r0+n-1, b0)
	whole := keyPanels(see) * panel
	p, ds := t.p[r0*blockKeys:], t.ds[r0*blockKeys:]
	mulKeys(p, blockKeys, t.q[r0*t.Dim:], t.Dim, n, see, t.keys[b0*t.Dim:], t.Dim)
	mulKeys(ds, blockKeys, t.do[r0*t.Dim:], t.Dim, n, see, t.values[b0*t.Dim:], t.Dim)
	for i := range n {
		p, ds := p[i*blockKeys:][:whole], ds[i*blockKeys:][:whole]
		if t.Cap > 0 {
			softCapScores(p[:t.sees(r0+i, b0)], ds, t.Cap/t.Scale, t.delta[r0+i])
		}
		vis := hide(p, t.sees(r0+i, b0))
		fillNegInf(p[:t.hidden(r0+i, b0)])
		softmaxGrad(vis, ds[:len(vis)], t.Scale, t.lse[r0+i], t.delta[r0+i])
		clear(p[len(vis):])
		clear(ds[len(vis):])
	}
	mulRows(t.dq[r0*t.Dim:], t.Dim, strided{ds, blockKeys, 1}, t.k[t.key+b0*t.ldkv:], t.ldkv, n, t.Dim, see, b0 > 0 || t.windowed)
}

// sum writes the gradients of n keys from j of the block at b0 on, or adds to them.
func (t *backwardTile) sum(j, b0, n int, acc bool) {
	r, end := t.from(b0+j), t.to(b0+j+n-1)
	if r >= end {
		return
	}
	at := (b0 + j) * t.Dim
	k := end - r
	mulRows(t.dv[at:], t.Dim, strided{t.p[r*blockKeys+j:], 1, blockKeys}, t.do[r*t.Dim:], t.Dim, n, t.Dim, k, acc)
	mulRows(t.dk[at:], t.Dim, strided{t.ds[r*blockKeys+j:], 1, blockKeys}, t.q[r*t.Dim:], t.Dim, n, t.Dim, k, acc)
}
