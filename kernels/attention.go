package kernels

import (
	"math"
	"sync"
)

// Span is one sequence of attention: its query rows Q … Q+Len, its key and value rows KV … KV+Past+Len. Query i of the
// span sees the keys up to its own, KV+Past+i.
type Span struct{ Q, Len, KV, Past int }

func (s Span) keys() int { return s.Past + s.Len }

// Heads are the shapes of grouped-query attention (arXiv 2305.13245): query head h reads key head h·KV/Heads.
type Heads struct {
	Heads, KV, Dim int
	Scale          float32 // of q·k, usually 1/√Dim
}

// tileQ is how many queries are worked on at a time; scores take tileQ rows of a span's keys and never all of T².
const tileQ = 32

// fewQ is the span length below which packing the keys costs more than it saves, as in decoding.
const fewQ = 4

// Attention writes o = softmax(scale·q·kᵀ)·v with the causal mask of each span: q, o: rows of Heads·Dim, ldq and ldo
// apart; k, v: rows of KV·Dim, ldkv apart. lse: [query rows, Heads] keeps the log of the sums of exponentials for the
// backward and may be nil.
func Attention(p *Pool, o []float32, ldo int, q []float32, ldq int, k, v []float32, ldkv int, spans []Span, h Heads, lse []float32) {
	a := attentions.Get().(*attention)
	defer attentions.Put(a)
	a.Heads, a.spans, a.lse = h, spans, lse
	a.o, a.q, a.k, a.v, a.ldo, a.ldq, a.ldkv = o, q, k, v, ldo, ldq, ldkv
	a.offset = a.offset[:0]
	total, tiles := 0, 0
	for _, s := range spans {
		a.offset = append(a.offset, total)
		if s.Len >= fewQ {
			total += h.KV * keyPanels(s.keys()) * panel * h.Dim
		}
		tiles = max(tiles, (s.Len+tileQ-1)/tileQ)
	}
	packed := getF32(total)
	a.packed = *packed
	p.Run(len(spans)*h.KV, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			a.pack(i/h.KV, i%h.KV)
		}
	})
	p.Run(len(spans)*h.Heads*tiles, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			// a head's longest tiles first, so that threads end together
			a.tile(i/(h.Heads*tiles), i/tiles%h.Heads, tiles-1-i%tiles)
		}
	})
	putF32(packed)
	a.spans, a.lse, a.o, a.q, a.k, a.v, a.packed = nil, nil, nil, nil, nil, nil, nil
}

// attention is one call's operands.
type attention struct {
	Heads
	spans          []Span
	o, q, k, v     []float32
	ldo, ldq, ldkv int
	lse            []float32
	packed         []float32 // the spans' keys: [KV, panels, Dim, 48] each
	offset         []int     // where a span's begin
}

var attentions = sync.Pool{New: func() any { return new(attention) }}

// keysOf returns the packed keys of a span and key head.
func (a *attention) keysOf(span, kv int) []float32 {
	n := keyPanels(a.spans[span].keys()) * panel * a.Dim
	return a.packed[a.offset[span]+kv*n:][:n]
}

func (a *attention) pack(span, kv int) {
	if s := a.spans[span]; s.Len >= fewQ {
		packKeys(a.keysOf(span, kv), a.k[s.KV*a.ldkv+kv*a.Dim:], a.ldkv, s.keys(), a.Dim)
	}
}

// tile computes tileQ queries of one span and head.
func (a *attention) tile(span, head, tile int) {
	s := a.spans[span]
	i0 := tile * tileQ
	n := min(tileQ, s.Len-i0)
	if n <= 0 {
		return
	}
	kv := head / (a.Heads.Heads / a.KV)
	off := s.KV*a.ldkv + kv*a.Dim
	see := s.Past + i0 + n // keys that the last row of the tile sees
	ld := scoreStride(see)
	buf := getF32(tileQ * (ld + a.Dim))
	sc, scaled := (*buf)[:n*ld], (*buf)[tileQ*ld:]
	defer putF32(buf)
	row := s.Q + i0
	a.scaleQueries(scaled, row, head, n)
	if s.Len >= fewQ {
		mulKeys(sc, ld, scaled, a.Dim, n, see, a.keysOf(span, kv), a.Dim)
	} else {
		for j := range see {
			key := a.k[off+j*a.ldkv:][:a.Dim]
			for i := range n {
				sc[i*ld+j] = Dot(scaled[i*a.Dim:][:a.Dim], key)
			}
		}
	}
	whole := keyPanels(see) * panel
	var inv [tileQ]float32
	for i := range n {
		vis := maskRow(sc[i*ld:][:whole], see-n+i+1)
		m := Max(vis)
		sum := ExpSum(vis, vis, m)
		inv[i] = 1 / sum
		if a.lse != nil {
			a.lse[(row+i)*a.Heads.Heads+head] = m + float32(math.Log(float64(sum)))
		}
	}
	out := a.o[row*a.ldo+head*a.Dim:]
	mulRows(out, a.ldo, strided{sc, ld, 1}, a.v[off:], a.ldkv, n, a.Dim, see, false)
	for i := range n {
		Scale(inv[i], out[i*a.ldo:][:a.Dim])
	}
}

// scaleQueries writes n rows of a head's queries times Scale, packed tight.
func (a *attention) scaleQueries(dst []float32, row, head, n int) {
	for i := range n {
		d := dst[i*a.Dim:][:a.Dim]
		copy(d, a.q[(row+i)*a.ldq+head*a.Dim:])
		Scale(a.Scale, d)
	}
}

func keyPanels(keys int) int { return (keys + panel - 1) / panel }

// scoreStride is the length of a row of scores: whole panels, and not so that all rows fall on the same cache lines.
func scoreStride(see int) int {
	ld := keyPanels(see) * panel
	if ld%256 == 0 {
		ld += 16
	}
	return ld
}

// maskRow hides the scores from key vis on and returns the row up to there, rounded up to whole vectors, in which hidden
// scores are -Inf; behind it they are 0, which is what their exponential will be.
func maskRow(row []float32, vis int) []float32 {
	end := (vis + 15) &^ 15
	for i := vis; i < end; i++ {
		row[i] = negInf
	}
	clear(row[end:])
	return row[:end]
}

var negInf = float32(math.Inf(-1))

// packKeys lays rows of x, ld apart, out in panels of 48 rows, the last filled up with zeros.
func packKeys(dst, x []float32, ld, rows, dim int) {
	for i := range keyPanels(rows) {
		d, n := dst[i*dim*panel:][:dim*panel], min(panel, rows-i*panel)
		if n < panel {
			clear(d)
		}
		packPanel(d, x[i*panel*ld:], n, dim, ld, 1)
	}
}

// mulKeys writes the products of n rows of q, ldq apart, with the first see keys, and on to the end of their panel.
func mulKeys(sc []float32, ld int, q []float32, ldq, n, see int, keys []float32, dim int) {
	for i := range keyPanels(see) {
		for r := 0; r < n; {
			m := rowsOf(n - r)
			micro(m, dim, q[r*ldq:], ldq, keys[i*dim*panel:], sc[r*ld+i*panel:], ld, false)
			r += m
		}
	}
}
