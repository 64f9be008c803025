package kernels

import "math"

// Span is one sequence of attention: its query rows Q … Q+Len, its key and value rows KV … KV+Past+Len. Query i of the
// span sees the keys up to its own, KV+Past+i.
type Span struct{ Q, Len, KV, Past int }

// Heads are the shapes of grouped-query attention (arXiv 2305.13245): query head h reads key head h·KV/Heads.
type Heads struct {
	Heads, KV, Dim int
	Scale          float32 // of q·k, usually 1/√Dim
}

// tileQ is how many queries are worked on at a time; scores take tileQ rows of a span's keys and never all of T².
const tileQ = 32

// Attention writes o = softmax(scale·q·kᵀ)·v with the causal mask of each span: q, o: rows of Heads·Dim, ldq and ldo
// apart; k, v: rows of KV·Dim, ldkv apart. lse: [query rows, Heads] keeps the log of the sums of exponentials for the
// backward and may be nil.
func Attention(p *Pool, o []float32, ldo int, q []float32, ldq int, k, v []float32, ldkv int, spans []Span, h Heads, lse []float32) {
	group := h.Heads / h.KV
	for _, s := range spans {
		if s.Len < 4 {
			attendFew(p, o, ldo, q, ldq, k, v, ldkv, s, h, lse)
			continue
		}
		keys := s.Past + s.Len
		kp, vp := packHeads(p, k, ldkv, s.KV, keys, h, false), packHeads(p, v, ldkv, s.KV, keys, h, true)
		tiles := (s.Len + tileQ - 1) / tileQ
		p.Run(h.Heads*tiles, 1, func(lo, hi int) {
			buf := getF32(tileQ * keys)
			defer putF32(buf)
			for it := lo; it < hi; it++ {
				// the longest tiles first, so that threads end together
				head, tile := it%h.Heads, tiles-1-it/h.Heads
				i0 := tile * tileQ
				n := min(tileQ, s.Len-i0)
				see := s.Past + i0 + n // keys that some row of the tile sees
				sc := (*buf)[:n*see]
				kh := viewN(kp[head/group], see)
				mulView(sc, see, q[(s.Q+i0)*ldq+head*h.Dim:], ldq, n, &kh, false)
				for i := range n {
					row := sc[i*see : (i+1)*see]
					vis := row[:s.Past+i0+i+1]
					Scale(h.Scale, vis)
					m := Max(vis)
					sum := ExpSum(vis, vis, m)
					Scale(1/sum, vis)
					clear(row[len(vis):])
					if lse != nil {
						lse[(s.Q+i0+i)*h.Heads+head] = m + float32(math.Log(float64(sum)))
					}
				}
				vh := viewK(vp[head/group], see)
				mulView(o[(s.Q+i0)*ldo+head*h.Dim:], ldo, sc, see, n, &vh, false)
			}
		})
		releaseHeads(kp)
		releaseHeads(vp)
	}
}

// attendFew is Attention for a few queries, as in decoding, where packing would cost more than the products.
func attendFew(p *Pool, o []float32, ldo int, q []float32, ldq int, k, v []float32, ldkv int, s Span, h Heads, lse []float32) {
	group := h.Heads / h.KV
	p.Run(s.Len*h.Heads, max(1, h.Heads/p.Threads()), func(lo, hi int) {
		buf := getF32(s.Past + s.Len)
		defer putF32(buf)
		for it := lo; it < hi; it++ {
			i, head := it/h.Heads, it%h.Heads
			off := head / group * h.Dim
			qr := q[(s.Q+i)*ldq+head*h.Dim:][:h.Dim]
			sc := (*buf)[:s.Past+i+1]
			for j := range sc {
				sc[j] = h.Scale * Dot(qr, k[(s.KV+j)*ldkv+off:][:h.Dim])
			}
			m := Max(sc)
			sum := ExpSum(sc, sc, m)
			out := o[(s.Q+i)*ldo+head*h.Dim:][:h.Dim]
			clear(out)
			for j, e := range sc {
				Axpy(e/sum, v[(s.KV+j)*ldkv+off:][:h.Dim], out)
			}
			if lse != nil {
				lse[(s.Q+i)*h.Heads+head] = m + float32(math.Log(float64(sum)))
			}
		}
	})
}

// packedHead is one key head's rows packed in scratch.
type packedHead struct {
	Packed
	buf *[]float32
}

// packHeads packs each key head's rows: [keys, dim] as NN (for P·V) or NT (for Q·Kᵀ).
func packHeads(p *Pool, x []float32, ld, row0, keys int, h Heads, nn bool) []*packedHead {
	out := make([]*packedHead, h.KV)
	p.Run(h.KV, 1, func(lo, hi int) {
		for g := lo; g < hi; g++ {
			out[g] = packRows(x[row0*ld+g*h.Dim:], ld, keys, h.Dim, nn)
		}
	})
	return out
}

func releaseHeads(hs []*packedHead) {
	for _, h := range hs {
		putF32(h.buf)
	}
}

// packRows packs rows x cols of a strided matrix as the weight of X·Wᵀ (N = rows) or, when nn, of X·W (N = cols).
func packRows(x []float32, ld, rows, cols int, nn bool) *packedHead {
	w := &packedHead{Packed: Packed{N: rows, K: cols}}
	rn, rk := ld, 1
	if nn {
		w.N, w.K = cols, rows
		rn, rk = 1, ld
	}
	w.buf = getF32(w.panels() * w.K * panel)
	w.f = *w.buf
	if w.N%panel != 0 {
		clear(w.f[(w.panels()-1)*w.K*panel:])
	}
	for i := range w.panels() {
		packPanel(w.f[i*w.K*panel:], x[i*panel*rn:], min(panel, w.N-i*panel), w.K, rn, rk)
	}
	return w
}

// view is part of a packed head: its first n columns or first k rows.
type view struct {
	w     *packedHead
	n, k  int
	whole int // rows of k between panels
}

func viewN(w *packedHead, n int) view { return view{w: w, n: n, k: w.K, whole: w.K} }
func viewK(w *packedHead, k int) view { return view{w: w, n: w.N, k: k, whole: w.K} }

// mulView is MulPackedStride on one thread for a view.
func mulView(y []float32, ldy int, x []float32, ldx, m int, v *view, acc bool) {
	for i := 0; i*panel < v.n; i++ {
		cols := min(panel, v.n-i*panel)
		b := v.w.f[i*v.whole*panel:]
		for r := 0; r < m; {
			n := rowsOf(m - r)
			if cols == panel {
				micro(n, v.k, x[r*ldx:], ldx, b, y[r*ldy+i*panel:], ldy, acc)
			} else {
				var edge [8 * panel]float32
				micro(n, v.k, x[r*ldx:], ldx, b, edge[:], panel, false)
				for q := range n {
					d, e := y[(r+q)*ldy+i*panel:][:cols], edge[q*panel:][:cols]
					if acc {
						add(d, d, e)
					} else {
						copy(d, e)
					}
				}
			}
			r += n
		}
	}
}
