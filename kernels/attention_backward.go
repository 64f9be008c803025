package kernels

// AttentionBackward writes dq, dk and dv, with the strides of q, k and v, from do; o and lse are the forward's. Rows of
// dk and dv that belong to no span stay as they are.
func AttentionBackward(p *Pool, dq, dk, dv, do []float32, ldo int, o, q []float32, ldq int, k, v []float32, ldkv int, spans []Span, h Heads, lse []float32) {
	p.Run(len(spans)*h.KV, 1, func(lo, hi int) {
		for it := lo; it < hi; it++ {
			b := attnBack{Heads: h, s: spans[it/h.KV], kv: it % h.KV, dq: dq, dk: dk, dv: dv, do: do, o: o, q: q, k: k, v: v, ldo: ldo, ldq: ldq, ldkv: ldkv, lse: lse}
			b.run()
		}
	})
}

// attnBack is the backward of one span and key head. Its queries' heads and tiles go one after the other, so that sums
// into dk and dv have one order.
type attnBack struct {
	Heads
	s                          Span
	kv                         int
	dq, dk, dv, do, o, q, k, v []float32
	ldo, ldq, ldkv             int
	lse                        []float32
}

func (b *attnBack) run() {
	keys := b.s.Past + b.s.Len
	off := b.s.KV*b.ldkv + b.kv*b.Dim
	for j := range keys {
		clear(b.dk[off+j*b.ldkv:][:b.Dim])
		clear(b.dv[off+j*b.ldkv:][:b.Dim])
	}
	kT := packRows(b.k[off:], b.ldkv, keys, b.Dim, false) // q·kᵀ
	vT := packRows(b.v[off:], b.ldkv, keys, b.Dim, false) // do·vᵀ
	kN := packRows(b.k[off:], b.ldkv, keys, b.Dim, true)  // ds·k
	pb, db, tb := getF32(tileQ*keys), getF32(tileQ*keys), getF32(tileQ*keys)
	group := b.Heads.Heads / b.Heads.KV
	for head := b.kv * group; head < (b.kv+1)*group; head++ {
		for i0 := 0; i0 < b.s.Len; i0 += tileQ {
			b.tile(head, i0, min(tileQ, b.s.Len-i0), kT, vT, kN, *pb, *db, *tb)
		}
	}
	for _, x := range []*[]float32{pb, db, tb, kT.buf, vT.buf, kN.buf} {
		putF32(x)
	}
}

func (b *attnBack) tile(head, i0, n int, kT, vT, kN *packedHead, pbuf, dbuf, tbuf []float32) {
	see := b.s.Past + i0 + n
	pr, ds, tr := pbuf[:n*see], dbuf[:n*see], tbuf[:n*see]
	row := b.s.Q + i0
	qh, doh, oh := b.q[row*b.ldq+head*b.Dim:], b.do[row*b.ldo+head*b.Dim:], b.o[row*b.ldo+head*b.Dim:]
	kv, vv := viewN(kT, see), viewN(vT, see)
	mulView(pr, see, qh, b.ldq, n, &kv, false)
	mulView(ds, see, doh, b.ldo, n, &vv, false)
	for i := range n {
		p, d := pr[i*see:(i+1)*see], ds[i*see:(i+1)*see]
		vis := b.s.Past + i0 + i + 1
		Scale(b.Scale, p[:vis])
		ExpSum(p[:vis], p[:vis], b.lse[(row+i)*b.Heads.Heads+head])
		clear(p[vis:])
		delta := Dot(doh[i*b.ldo:][:b.Dim], oh[i*b.ldo:][:b.Dim])
		for j := range d { // dS = P∘(dP - Σ do·o)·scale; P is zero beyond the mask
			d[j] = p[j] * (d[j] - delta) * b.Scale
		}
	}
	kn := viewK(kN, see)
	mulView(b.dq[row*b.ldq+head*b.Dim:], b.ldq, ds, see, n, &kn, false)
	off := b.s.KV*b.ldkv + b.kv*b.Dim
	b.addTransposed(b.dv[off:], pr, tr, doh, b.ldo, n, see)
	b.addTransposed(b.dk[off:], ds, tr, qh, b.ldq, n, see)
}

// addTransposed adds aᵀ·x to rows of dst ldkv apart: a: [n, see], x: n rows of Dim ldx apart.
func (b *attnBack) addTransposed(dst, a, t, x []float32, ldx, n, see int) {
	for j0 := 0; j0 < see; j0 += 16 {
		for i := range n {
			for j := j0; j < min(j0+16, see); j++ {
				t[j*n+i] = a[i*see+j]
			}
		}
	}
	w := packRows(x, ldx, n, b.Dim, true)
	v := viewK(w, n)
	mulView(dst, b.ldkv, t, n, see, &v, true)
	putF32(w.buf)
}
