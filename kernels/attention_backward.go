package kernels

// AttentionBackward writes dq, dk and dv, with the strides of q, k and v, from do; o and lse are the forward's, from
// which the probabilities are made again instead of kept (arXiv 2307.08691, algorithm 2). Rows of dk and dv that belong
// to no span stay as they are.
func AttentionBackward(p *Pool, dq, dk, dv, do []float32, ldo int, o, q []float32, ldq int, k, v []float32, ldkv int, spans []Span, h Heads, lse []float32) {
	p.Run(len(spans)*h.KV, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			b := attentionBackward{
				attention: attention{Heads: h, o: o, q: q, k: k, v: v, ldo: ldo, ldq: ldq, ldkv: ldkv, lse: lse},
				span:      spans[i/h.KV], kv: i % h.KV, dq: dq, dk: dk, dv: dv, do: do,
			}
			b.run()
		}
	})
}

// attentionBackward is the backward of one span and key head. Its queries' heads and tiles go one after the other, so
// that sums into dk and dv have one order.
type attentionBackward struct {
	attention
	span           Span
	kv             int
	dq, dk, dv, do []float32
	keys, values   []float32 // packed
	p, ds          []float32 // scores and their gradient, a tile
	scaled         []float32 // the tile's queries times Scale
}

func (b *attentionBackward) run() {
	keys := b.span.keys()
	off := b.span.KV*b.ldkv + b.kv*b.Dim
	for j := range keys {
		clear(b.dk[off+j*b.ldkv:][:b.Dim])
		clear(b.dv[off+j*b.ldkv:][:b.Dim])
	}
	pack, tile := keyPanels(keys)*panel*b.Dim, tileQ*scoreStride(keys)
	buf := getF32(2*pack + 2*tile + tileQ*b.Dim)
	defer putF32(buf)
	x := *buf
	cut := func(n int) []float32 {
		part := x[:n]
		x = x[n:]
		return part
	}
	b.keys, b.values, b.p, b.ds, b.scaled = cut(pack), cut(pack), cut(tile), cut(tile), x
	packKeys(b.keys, b.k[off:], b.ldkv, keys, b.Dim)
	packKeys(b.values, b.v[off:], b.ldkv, keys, b.Dim)
	group := b.Heads.Heads / b.KV
	for head := b.kv * group; head < (b.kv+1)*group; head++ {
		for i0 := 0; i0 < b.span.Len; i0 += tileQ {
			b.tile(head, i0, min(tileQ, b.span.Len-i0))
		}
	}
}

// tile adds what n queries of a head give: with P recomputed from lse and dS = P∘(do·vᵀ - Σ do·o), which is zero beyond
// the mask, dq = scale·dS·k, dk += dSᵀ·scale·q and dv += Pᵀ·do.
func (b *attentionBackward) tile(head, i0, n int) {
	see := b.span.Past + i0 + n
	ld := scoreStride(see)
	p, ds := b.p[:n*ld], b.ds[:n*ld]
	row := b.span.Q + i0
	dq, do, o := b.dq[row*b.ldq+head*b.Dim:], b.do[row*b.ldo+head*b.Dim:], b.o[row*b.ldo+head*b.Dim:]
	b.scaleQueries(b.scaled, row, head, n)
	mulKeys(p, ld, b.scaled, b.Dim, n, see, b.keys, b.Dim)
	mulKeys(ds, ld, do, b.ldo, n, see, b.values, b.Dim)
	whole := keyPanels(see) * panel
	for i := range n {
		pr, dr := p[i*ld:][:whole], ds[i*ld:][:whole]
		vis := maskRow(pr, see-n+i+1)
		ExpSum(vis, vis, b.lse[(row+i)*b.Heads.Heads+head])
		subMul(dr, pr, dr, Dot(do[i*b.ldo:][:b.Dim], o[i*b.ldo:][:b.Dim]))
	}
	off := b.span.KV*b.ldkv + b.kv*b.Dim
	mulRows(dq, b.ldq, strided{ds, ld, 1}, b.k[off:], b.ldkv, n, b.Dim, see, false)
	for i := range n {
		Scale(b.Scale, dq[i*b.ldq:][:b.Dim])
	}
	mulRows(b.dv[off:], b.ldkv, strided{p, 1, ld}, do, b.ldo, see, b.Dim, n, true)
	mulRows(b.dk[off:], b.ldkv, strided{ds, 1, ld}, b.scaled, b.Dim, see, b.Dim, n, true)
}
