package kernels

import "sync"

// Span is one sequence of attention: its query rows Q … Q+Len, its key and value rows KV … KV+Past+Len. Query i of the
// span sees the keys up to its own, KV+Past+i, or the last of those (Heads.Window).
type Span struct{ Q, Len, KV, Past int }

func (s Span) keys() int { return s.Past + s.Len }

// Heads are the shapes of grouped-query attention (arXiv 2305.13245): query head h reads key head h·KV/Heads.
type Heads struct {
	Heads, KV, Dim int
	Scale          float32 // of q·k, positive, usually 1/√Dim
	Window         int     // how many keys a query sees, its own the last of them (arXiv 2004.05150, section 3.1); 0 for all
	Cap            float32 // scores s become Cap·tanh(s/Cap) (arXiv 2408.00118, section 2); 0 for none
	// Precision BF16 rounds the factors of all products to bf16, for training, where bf16 products are faster than f32
	// and Dim is a multiple of 16; otherwise everything is f32.
	Precision Precision
}

// group is how many query heads read a key head.
func (h Heads) group() int { return h.Heads / h.KV }

// half reports whether the products are in bf16.
func (h Heads) half() bool {
	return h.Precision == BF16 && h.Dim%16 == 0 && (vectorsBF16() || active == Generic)
}

const (
	// tileQ is how many queries, times the heads of a group, are worked on at a time.
	tileQ = 32
	// blockKeys is how many keys meet a tile before the next, whole panels: the block's keys and values stay in the second
	// cache, and there are never scores of more keys.
	blockKeys = 4 * panel
	// stripRows is how many rows of a tile have scores at a time, which stay in the first cache.
	stripRows = 24
)

// Attention writes o = softmax(scale·q·kᵀ)·v with the causal mask of each span: q, o: rows of Heads·Dim, ldq and ldo
// apart; k, v: rows of KV·Dim, ldkv apart. lse: [query rows, Heads] keeps the log of the sums of exponentials for the
// backward and may be nil. A query row's result does not depend on the other query rows, to the bit.
func Attention(p *Pool, o []float32, ldo int, q []float32, ldq int, k, v []float32, ldkv int, spans []Span, h Heads, lse []float32) {
	a := attentions.Get().(*attention)
	a.operands = operands{Heads: h, spans: spans, o: o, q: q, k: k, v: v, ldo: ldo, ldq: ldq, ldkv: ldkv, lse: lse}
	a.run(p)
}

// run computes the operands' rows and lets go of them.
func (a *attention) run(p *Pool) {
	h, spans := a.Heads, a.spans
	a.offset = a.offset[:0]
	total := 0
	a.tiles = 0
	for _, s := range spans {
		a.offset = append(a.offset, total)
		if a.held == nil {
			total += h.KV * keyPanels(s.keys()) * panel * h.Dim
		}
		a.tiles = max(a.tiles, (s.Len+tileQ-1)/tileQ)
	}
	var packed *[]float32
	var rounded *[]uint16
	if h.half() {
		rounded = getU16(2 * total)
		a.keys16, a.values16 = (*rounded)[:total], (*rounded)[total:]
	} else {
		packed = getF32(total)
		a.keys32 = *packed
	}
	if a.held == nil {
		p.Run(len(spans)*h.KV, 1, a.packPart)
	}
	p.Run(len(spans)*h.KV*a.tiles, 1, a.tilePart)
	if rounded != nil {
		putU16(rounded)
	} else {
		putF32(packed)
	}
	a.operands, a.keys32, a.keys16, a.values16 = operands{}, nil, nil, nil
	attentions.Put(a)
}

// operands of a call.
type operands struct {
	Heads
	spans          []Span
	o, q, k, v     []float32
	ldo, ldq, ldkv int
	lse            []float32
	held           []float32 // the keys, instead of k, as StoreKeys lays them out
}

// attention is one call. It is kept for the next call, with its functions bound once, so that a call allocates nothing.
type attention struct {
	operands
	offset           []int // where a span's packed keys and values begin
	tiles            int   // of the longest span
	keys32           []float32
	keys16, values16 []uint16 // instead, in bf16; see pack

	packPart, tilePart func(lo, hi int)
}

var attentions = sync.Pool{New: func() any {
	a := new(attention)
	a.packPart = func(lo, hi int) {
		for i := lo; i < hi; i++ {
			a.pack(i/a.KV, i%a.KV)
		}
	}
	a.tilePart = func(lo, hi int) {
		for i := lo; i < hi; i++ {
			// a head's longest tiles first, so that threads end together
			a.tile(i/(a.KV*a.tiles), i/a.tiles%a.KV, a.tiles-1-i%a.tiles)
		}
	}
	return a
}}

// packedAt returns where the packed keys of a span and key head begin, and how many elements they are.
func (a *attention) packedAt(span, kv int) (at, n int) {
	n = keyPanels(a.spans[span].keys()) * panel * a.Dim
	return a.offset[span] + kv*n, n
}

// pack lays out a span's keys of a head as panels and, in bf16, its values as pairs of rows.
func (a *attention) pack(span, kv int) {
	s := a.spans[span]
	at, n := a.packedAt(span, kv)
	off := s.KV*a.ldkv + kv*a.Dim
	if a.half() {
		packKeysBF16(a.keys16[at:][:n], a.k[off:], a.ldkv, s.keys(), a.Dim)
		pairRows(a.values16[at:][:n], a.v[off:], a.ldkv, s.keys(), a.Dim)
		return
	}
	packKeys(a.keys32[at:][:n], a.k[off:], a.ldkv, s.keys(), a.Dim)
}

func keyPanels(keys int) int { return (keys + panel - 1) / panel }

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

// packKeysBF16 is packKeys in bf16, in panels of pairs; dim is even.
func packKeysBF16(dst []uint16, x []float32, ld, rows, dim int) {
	for i := range keyPanels(rows) {
		d, n := dst[i*dim*panel:][:dim*panel], min(panel, rows-i*panel)
		if n < panel {
			clear(d)
		}
		packPanelBF16(d, x[i*panel*ld:], n, dim, ld, 1)
	}
}

// mulKeys writes the products of n rows of q, ldq apart, with the first see keys, rounded up to whole vectors.
func mulKeys(sc []float32, ld int, q []float32, ldq, n, see int, keys []float32, dim int) {
	for j := 0; j < see; j += panel {
		b := keys[j*dim:]
		if rest := vectors(see - j); rest < panel {
			mulRows(sc[j:], ld, strided{q, ldq, 1}, b, panel, n, rest, dim, false)
			return
		}
		for r := 0; r < n; {
			m := rowsOf(n - r)
			micro(m, dim, q[r*ldq:], ldq, b, sc[r*ld+j:], ld, false)
			r += m
		}
	}
}

// mulKeysBF16 is mulKeys in bf16.
func mulKeysBF16(sc []float32, ld int, q []uint16, ldq, n, see int, keys []uint16, dim int) {
	for j := 0; j < see; j += panel {
		b := keys[j*dim:]
		if rest := vectors(see - j); rest < panel {
			mulPairs(sc[j:], ld, pairs{q, ldq / 2, 1}, b, panel, n, rest, dim/2, false)
			return
		}
		for r := 0; r < n; {
			m := rowsOf(n - r)
			microBF16(m, dim/2, q[r*ldq:], ldq, b, sc[r*ld+j:], ld, false)
			r += m
		}
	}
}

// vectors rounds a number of scores up to whole vectors.
func vectors(n int) int { return (n + 15) &^ 15 }
