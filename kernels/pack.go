package kernels

import "fmt"

// Precision is the arithmetic of a packed product.
type Precision uint8

// The precisions.
const (
	F32  Precision = iota
	BF16           // operands rounded to bf16, sums in f32
)

func (p Precision) String() string {
	if p == BF16 {
		return "bf16"
	}
	return "f32"
}

// panel is the width of a packed panel in columns; the assembly has it built in.
const panel = 48

// Packed is a weight laid out once for many products: panels of 48 columns, in each for every k the 48 values (for bf16
// every pair of k the 48 pairs), the last panel filled up with zeros.
type Packed struct {
	N, K int
	prec Precision
	f    []float32 // [panels, K, 48]
	h    []uint16  // [panels, ⌈K/2⌉, 48, 2]
}

// Bytes returns the size of the packed weight.
func (w *Packed) Bytes() int { return 4*len(w.f) + 2*len(w.h) }

// Precision returns the arithmetic of products with w.
func (w *Packed) Precision() Precision { return w.prec }

func (w *Packed) panels() int { return (w.N + panel - 1) / panel }

func newPacked(n, k int, prec Precision) *Packed {
	w := &Packed{N: n, K: k, prec: prec}
	if prec == BF16 {
		w.h = make([]uint16, w.panels()*((k+1)/2)*panel*2)
	} else {
		w.f = make([]float32, w.panels()*k*panel)
	}
	return w
}

// PackNT packs w: [n, k], a linear layer's weight (out × in), for Y = X·Wᵀ.
func PackNT(p *Pool, w []float32, n, k int, prec Precision) *Packed {
	d := newPacked(n, k, prec)
	d.Repack(p, w, false)
	return d
}

// PackNN packs w: [k, n] for Y = X·W, such as dX = dY·W with a linear layer's weight W: [out = k, in = n].
func PackNN(p *Pool, w []float32, k, n int, prec Precision) *Packed {
	d := newPacked(n, k, prec)
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
	p.Run(w.panels(), 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			cols := min(panel, w.N-i*panel)
			if w.prec == BF16 {
				packPanelBF16(w.h[i*((w.K+1)/2)*panel*2:], v[i*panel*rn:], cols, w.K, rn, rk)
			} else {
				packPanel(w.f[i*w.K*panel:], v[i*panel*rn:], cols, w.K, rn, rk)
			}
		}
	})
}

// packPanel writes dst[kk][c] = v[c·rn + kk·rk].
func packPanel(dst, v []float32, cols, k, rn, rk int) {
	if rn == 1 {
		for kk := range k {
			copy(dst[kk*panel:kk*panel+cols], v[kk*rk:])
		}
		return
	}
	const block = 16 // of k, so that the lines written stay in cache
	for k0 := 0; k0 < k; k0 += block {
		k1 := min(k0+block, k)
		for c := range cols {
			row := v[c*rn : c*rn+k1]
			d := dst[c:]
			for kk := k0; kk < k1; kk++ {
				d[kk*panel] = row[kk]
			}
		}
	}
}

func packPanelBF16(dst []uint16, v []float32, cols, k, rn, rk int) {
	var row [panel]uint16
	if rn == 1 {
		for kk := range k {
			toBF16(row[:cols], v[kk*rk:kk*rk+cols])
			d := dst[kk/2*panel*2+kk%2:]
			for c, x := range row[:cols] {
				d[2*c] = x
			}
		}
		return
	}
	for c := range cols {
		src := v[c*rn : c*rn+k]
		for kk, x := range src {
			dst[(kk/2*panel+c)*2+kk%2] = roundBF16(x)
		}
	}
}
