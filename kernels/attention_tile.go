package kernels

import "math"

// tileRows are the rows of a tile: for each of its queries the heads that share a key head, one after the other.
type tileRows struct {
	group int
	rows  int
	past  int // keys before the first query's own
	// window is how many keys a row sees, 0 for all up to its own.
	window int
}

// tileOf returns the rows of n queries of a span from i0 on.
func (h Heads) tileOf(s Span, i0, n int) tileRows {
	g := h.group()
	return tileRows{g, n * g, s.Past + i0, h.Window}
}

// sees returns how many keys row r sees, from key b0 of the span on and at most a block.
func (t tileRows) sees(r, b0 int) int { return min(blockKeys, t.past+r/t.group+1-b0) }

// hidden returns how many keys from key b0 on are behind row r, out of its window; at most a block.
func (t tileRows) hidden(r, b0 int) int {
	if t.window == 0 {
		return 0
	}
	return min(blockKeys, max(0, t.past+r/t.group+1-t.window-b0))
}

// from returns the first row that sees a key, if any does.
func (t tileRows) from(key int) int { return max(0, key-t.past) * t.group }

// to returns the first row for which a key is out of its window.
func (t tileRows) to(key int) int {
	if t.window == 0 {
		return t.rows
	}
	return min(t.rows, max(0, key+t.window-t.past)*t.group)
}

// first returns the first block's first key that a row sees.
func (t tileRows) first() int {
	if t.window == 0 {
		return 0
	}
	return max(0, t.past+1-t.window) / blockKeys * blockKeys
}

// keys returns how many keys the last row sees.
func (t tileRows) keys() int { return t.past + (t.rows-1)/t.group + 1 }

// tile computes tileQ queries of one span and the heads of one key head, a block of keys after the other: what a row has
// summed so far is corrected when a larger score comes (arXiv 2205.14135, algorithm 1). Blocks begin at the same keys for
// every tile, so that a row's result does not depend on its neighbours.
func (a *attention) tile(span, kv, tile int) {
	s := a.spans[span]
	i0 := tile * tileQ
	n := min(tileQ, s.Len-i0)
	if n <= 0 {
		return
	}
	g := a.group()
	f := forwardTile{tileRows: a.tileOf(s, i0, n), attention: a, row: s.KV*a.ldkv + kv*a.Dim}
	at, packed := a.packedAt(span, kv)
	width := f.rows * a.Dim
	buf := getF32(2*width + 2*f.rows + stripRows*blockKeys)
	defer putF32(buf)
	x := arena[float32](*buf)
	f.q, f.o, f.top, f.sum, f.scores = x.cut(width), x.cut(width), x.cut(f.rows), x.cut(f.rows), x.cut(stripRows*blockKeys)
	if !a.half() {
		gatherRows(f.q, a.q, a.ldq, s.Q+i0, kv, n, g*a.Dim)
	} else {
		half := getU16(width + stripRows*blockKeys)
		defer putU16(half)
		f.q16, f.p16 = (*half)[:width], (*half)[width:]
		for i := range n {
			toBF16(f.q16[i*g*a.Dim:], a.q[(s.Q+i0+i)*a.ldq+kv*g*a.Dim:][:g*a.Dim])
		}
	}
	if f.window > 0 { // rows begin with different blocks
		clear(f.o)
		clear(f.sum)
		fillNegInf(f.top)
	}
	for b0 := f.first(); b0 < f.keys(); b0 += blockKeys {
		switch from := b0 * a.Dim; {
		case a.held != nil:
			f.keys32 = a.heldBlock(kv, b0)
		case a.half():
			f.keys16, f.values16 = a.keys16[at:][from:packed], a.values16[at:][from:packed]
		default:
			f.keys32 = a.keys32[at:][from:packed]
		}
		end := f.to(b0 + blockKeys - 1)
		for r := f.from(b0); r < end; r += stripRows {
			f.strip(r, min(stripRows, end-r), b0)
		}
	}
	f.finish(s.Q+i0, kv)
}

// forwardTile is a tile's working memory.
type forwardTile struct {
	tileRows
	*attention
	row              int       // where the first rows of keys and values begin
	q, o             []float32 // [rows, Dim]
	top, sum         []float32 // [rows]: the largest score so far, scaled, and the sum of exponentials less that
	scores           []float32 // [stripRows, blockKeys]
	q16, p16         []uint16  // q and the exponentials, in bf16
	keys32           []float32 // of the block, packed
	keys16, values16 []uint16
}

// strip adds the keys from b0 on to n rows from r0 on.
func (f *forwardTile) strip(r0, n, b0 int) {
	see := f.sees(r0+n-1, b0)
	half := f.q16 != nil
	if half {
		mulKeysBF16(f.scores, blockKeys, f.q16[r0*f.Dim:], f.Dim, n, see, f.keys16, f.Dim)
	} else {
		mulKeys(f.scores, blockKeys, f.q[r0*f.Dim:], f.Dim, n, see, f.keys32, f.Dim)
	}
	end := vectors(see)
	for i := range n {
		s := f.scores[i*blockKeys:][:end]
		if f.Cap > 0 {
			softCap(s, f.Cap/f.Scale)
		}
		fillNegInf(s[f.sees(r0+i, b0):])
		fillNegInf(s[:f.hidden(r0+i, b0)])
	}
	begun := b0 > 0 || f.window > 0
	var top, sum [stripRows]float32
	maxRows(top[:n], f.scores, blockKeys, end)
	for i := range n {
		f.raise(r0+i, f.Scale*top[i], !begun)
	}
	if half {
		expRowsBF16s(sum[:n], f.p16, f.scores, blockKeys, end, f.Scale, f.top[r0:])
	} else {
		expRows(sum[:n], f.scores, blockKeys, end, f.Scale, f.top[r0:])
	}
	for i := range n {
		f.sum[r0+i] += sum[i]
	}
	o := f.o[r0*f.Dim:]
	if half {
		mulPairs(o, f.Dim, pairs{f.p16, blockKeys / 2, 1}, f.values16, f.Dim, n, f.Dim, (see+1)/2, begun)
	} else {
		mulRows(o, f.Dim, strided{f.scores, blockKeys, 1}, f.v[f.row+b0*f.ldkv:], f.ldkv, n, f.Dim, see, begun)
	}
}

// raise takes a row's largest score of a block, and brings the row's sums to it if it is larger than those before.
func (f *forwardTile) raise(r int, top float32, first bool) {
	if first {
		f.top[r], f.sum[r] = top, 0
		return
	}
	if top <= f.top[r] {
		return
	}
	less := exp32(f.top[r] - top)
	f.top[r] = top
	f.sum[r] *= less
	Scale(less, f.o[r*f.Dim:][:f.Dim])
}

// finish divides by the sums and writes the rows where they belong, the first query's to row.
func (f *forwardTile) finish(row, kv int) {
	for r := range f.rows {
		Scale(1/f.sum[r], f.o[r*f.Dim:][:f.Dim])
	}
	width := f.group * f.Dim
	for i := range f.rows / f.group {
		copy(f.attention.o[(row+i)*f.ldo+kv*width:], f.o[i*width:][:width])
	}
	if f.lse == nil {
		return
	}
	for r := range f.rows {
		f.lse[(row+r/f.group)*f.Heads.Heads+kv*f.group+r%f.group] = f.top[r] + float32(math.Log(float64(f.sum[r])))
	}
}

// gatherRows copies width elements of n rows of x from row on, those of a key head's group, to where they lie tight.
func gatherRows(dst, x []float32, ld, row, kv, n, width int) {
	for i := range n {
		copy(dst[i*width:][:width], x[(row+i)*ld+kv*width:])
	}
}

// hide makes the scores from vis on -Inf, up to a whole vector, and returns the row up to there.
func hide(row []float32, vis int) []float32 {
	end := vectors(vis)
	fillNegInf(row[vis:end])
	return row[:end]
}

func fillNegInf(x []float32) {
	for i := range x {
		x[i] = negInf
	}
}

var negInf = float32(math.Inf(-1))
