package kernels

import (
	"fmt"
	"math"
	"sync"
	"unsafe"
)

// Precision is the arithmetic of a packed product.
type Precision uint8

// The precisions.
const (
	F32    Precision = iota
	BF16             // operands rounded to bf16, sums in f32
	Stored           // quantised weights in the codes they are stored in (see Coded), others as F32
	Int8             // quantised weights likewise, times operands rounded to 8 bits (see MulCodedHigh and MulCodedBack); all others as BF16
)

func (p Precision) String() string {
	switch p {
	case BF16:
		return "bf16"
	case Stored:
		return "stored"
	case Int8:
		return "int8"
	}
	return "f32"
}

// panel is the width of a packed panel in columns; the assembly has it built in.
const panel = 48

// Packed is a weight laid out once for many products: panels of 48 columns, in each for every k the 48 values, the last
// panel filled up with zeros. In bf16 every pair of k has its 48 pairs; where the implementation in use has no bf16
// products, the rounded values are kept and multiplied as f32, which takes the room of f32 and about its time. A weight
// whose values are all such that bf16 holds them takes half the room in F32 too, with the same bits for a result. A weight
// in its codes (FromCodes) has no panels: each is unpacked when it is needed.
type Packed struct {
	N, K int
	prec Precision
	f    []float32 // [panels, K, 48]
	h    []uint16  // [panels, ⌈K/2⌉, 48, 2]
	e    []uint16  // [panels, K, 48] what f would hold, in bf16

	codes  *Coded // instead of h; see FromCodes
	turned bool   // the weight is the codes' transpose
}

// Bytes returns the size of the packed weight, without that of codes.
func (w *Packed) Bytes() int { return 4*len(w.f) + 2*len(w.h) + 2*len(w.e) }

// Precision returns the arithmetic of products with w.
func (w *Packed) Precision() Precision { return w.prec }

func (w *Packed) panels() int { return (w.N + panel - 1) / panel }

// keep makes room for the values in the format that they are kept in.
func (w *Packed) keep(v []float32) {
	switch n := w.panels() * w.K * panel; {
	case w.prec == BF16 && HasBF16():
		if w.h == nil {
			w.h = make([]uint16, w.panels()*((w.K+1)/2)*panel*2)
		}
	case w.f == nil && w.prec != BF16 && isBF16(v):
		if w.e == nil {
			w.e = make([]uint16, n)
		}
	case w.f == nil:
		w.f, w.e = make([]float32, n), nil
	}
}

// isBF16 reports whether bf16 holds all values.
func isBF16(v []float32) bool {
	for _, x := range v {
		if math.Float32bits(x)&0xffff != 0 {
			return false
		}
	}
	return true
}

// PackNT packs w: [n, k], a linear layer's weight (out × in), for Y = X·Wᵀ.
func PackNT(p *Pool, w []float32, n, k int, prec Precision) *Packed {
	d := &Packed{N: n, K: k, prec: prec}
	d.Repack(p, w, false)
	return d
}

// PackNN packs w: [k, n] for Y = X·W, such as dX = dY·W with a linear layer's weight W: [out = k, in = n].
func PackNN(p *Pool, w []float32, k, n int, prec Precision) *Packed {
	d := &Packed{N: n, K: k, prec: prec}
	d.Repack(p, w, true)
	return d
}

// Repack lays new values of the same shape out in place: w: [K, N] when nn, as PackNN has it, otherwise [N, K].
func (w *Packed) Repack(p *Pool, v []float32, nn bool) {
	if len(v) != w.N*w.K {
		panic(fmt.Sprintf("kernels: pack %d values as [%d, %d]", len(v), w.N, w.K))
	}
	if len(v) == 0 {
		return
	}
	rn, rk := w.K, 1 // strides of v along n and k
	if nn {
		rn, rk = 1, w.N
	}
	w.keep(v)
	w.lay(p, v, rn, rk)
}

// lay lays values out whose strides along n and k are given; one of them is 1.
func (w *Packed) lay(p *Pool, v []float32, rn, rk int) {
	g := packings.Get().(*packing)
	g.w, g.v, g.rn, g.rk = *w, v, rn, rk
	p.Run(w.panels(), 1, g.panels)
	*g = packing{panels: g.panels}
	packings.Put(g)
}

// packing is one call's operands, kept for the next call with its function bound once, so that a call allocates nothing.
type packing struct {
	w      Packed
	v      []float32
	rn, rk int
	panels func(lo, hi int)
}

var packings = sync.Pool{New: func() any {
	g := new(packing)
	g.panels = g.pack
	return g
}}

func (g *packing) pack(lo, hi int) {
	w := &g.w
	for i := lo; i < hi; i++ {
		cols, from := min(panel, w.N-i*panel), g.v[i*panel*g.rn:]
		if w.h != nil {
			packPanelBF16(w.h[i*((w.K+1)/2)*panel*2:], from, cols, w.K, g.rn, g.rk)
			continue
		}
		size := w.K * panel
		if w.e != nil {
			wide := getF32(size)
			clear(*wide)
			packPanel(*wide, from, cols, w.K, g.rn, g.rk)
			toBF16(w.e[i*size:(i+1)*size], *wide)
			putF32(wide)
			continue
		}
		to := w.f[i*size : (i+1)*size]
		packPanel(to, from, cols, w.K, g.rn, g.rk)
		if w.prec == BF16 {
			roundToBF16(to, to)
		}
	}
}

// packBlock is how many k are packed at a time, so that the lines written stay in cache.
const packBlock = 64

// packPanel writes dst[kk][c] = v[c·rn + kk·rk]; one of the strides is 1.
func packPanel(dst, v []float32, cols, k, rn, rk int) {
	if rn == 1 {
		for kk := range k {
			copy(dst[kk*panel:kk*panel+cols], v[kk*rk:])
		}
		return
	}
	for k0 := 0; k0 < k; k0 += packBlock {
		transpose(words(dst[k0*panel:]), words(v[k0:]), cols, min(packBlock, k-k0), rn)
	}
}

// packPanelBF16 is packPanel into pairs: dst[kk/2][c][kk%2].
func packPanelBF16(dst []uint16, v []float32, cols, k, rn, rk int) {
	if rn == 1 {
		var even, odd [panel]uint16
		for kk := 0; kk < k; kk += 2 {
			toBF16(even[:cols], v[kk*rk:kk*rk+cols])
			if kk+1 < k {
				toBF16(odd[:cols], v[(kk+1)*rk:(kk+1)*rk+cols])
			} else {
				clear(odd[:])
			}
			d := dst[kk*panel:][:2*cols]
			for c := range cols {
				d[2*c], d[2*c+1] = even[c], odd[c]
			}
		}
		return
	}
	var rounded [panel * packBlock / 2]uint32 // rows of pairs, turned as one word each
	for k0 := 0; k0 < k; k0 += packBlock {
		n := min(packBlock, k-k0)
		h := unsafe.Slice((*uint16)(unsafe.Pointer(&rounded[0])), panel*packBlock)
		for c := range cols {
			row := h[c*packBlock : (c+1)*packBlock]
			toBF16(row[:n], v[c*rn+k0:c*rn+k0+n])
			clear(row[n:])
		}
		transpose(words(dst[k0*panel:]), rounded[:], cols, (n+1)/2, packBlock/2)
	}
}

// words returns the memory of x as 32-bit words; it holds a whole number of them.
func words[T float32 | uint16](x []T) []uint32 {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*uint32)(unsafe.Pointer(&x[0])), len(x)*int(unsafe.Sizeof(x[0]))/4)
}

// transpose writes dst[i·panel + c] = src[c·ld + i] for c < cols and i < n.
func transpose(dst, src []uint32, cols, n, ld int) {
	c := 0
	for ; c+8 <= cols; c += 8 {
		done := transpose8(dst[c:], src[c*ld:], n, ld)
		if done < n {
			transposeGeneric(dst[done*panel+c:], src[c*ld+done:], 8, n-done, ld)
		}
	}
	if c < cols {
		transposeGeneric(dst[c:], src[c*ld:], cols-c, n, ld)
	}
}

func transposeGeneric(dst, src []uint32, cols, n, ld int) {
	for c := range cols {
		for i, x := range src[c*ld : c*ld+n] {
			dst[i*panel+c] = x
		}
	}
}

// roundToBF16 writes x rounded to bf16, as f32; dst may be x.
func roundToBF16(dst, x []float32) {
	var h [256]uint16
	for len(x) > 0 {
		n := min(len(x), len(h))
		toBF16(h[:n], x[:n])
		fromBF16(dst[:n], h[:n])
		dst, x = dst[n:], x[n:]
	}
}
