package kernels

import (
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// randomCodes returns codes and the weight that they stand for.
func randomCodes(rnd *rand.Rand, n, k, bits int) (*Codes, []float32) {
	c, w, _ := randomParts(rnd, n, k, bits)
	return c, w
}

// randomParts returns codes, the weight that they stand for and what of it is D·Code.
func randomParts(rnd *rand.Rand, n, k, bits int) (*Codes, []float32, []float32) {
	code, ds, ms := make([]uint8, n*k), make([]uint16, n*k/32), make([]uint16, n*k/32)
	w, scaled := make([]float32, n*k), make([]float32, n*k)
	d, m := make([]float32, len(ds)), make([]float32, len(ms))
	for i := range d {
		d[i], m[i] = 0.01+rnd.Float32(), -rnd.Float32()*float32(int(1)<<(bits-1))
	}
	ToF16(ds, d)
	ToF16(ms, m)
	for i := range code {
		code[i] = uint8(rnd.IntN(1 << bits))
		scaled[i] = F16(ds[i/32]) * float32(code[i])
		w[i] = scaled[i] + F16(ms[i/32])
	}
	return &Codes{N: n, K: k, Bits: bits, Row: func(i int, d, m []uint16, to []byte) error {
		copy(d, ds[i*k/32:])
		copy(m, ms[i*k/32:])
		row := code[i*k : (i+1)*k]
		if bits == 8 {
			copy(to, row)
			return nil
		}
		for j := range to {
			at := j/16*32 + j%16
			to[j] = row[at] | row[at+16]<<4
		}
		return nil
	}}, w, scaled
}

// TestMulCoded compares with sums in f64: what is lost must be of the order of an f32 product's rounding.
func TestMulCoded(t *testing.T) {
	each(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 1))
		p := NewPool(2)
		defer p.Close()
		for _, bits := range []int{4, 8} {
			for _, s := range [][3]int{{1, 16, 32}, {1, 48, 576}, {3, 40, 64}, {8, 33, 96}, {13, 100, 160}, {140, 64, 64}, {2, 5, 32}, {1, 1000, 320}} {
				m, n, k := s[0], s[1], s[2]
				c, w, scaled := randomParts(rnd, n, k, bits)
				x, y := make([]float32, m*k), make([]float32, m*n)
				for i := range x {
					x[i] = float32(rnd.NormFloat64()) * float32(math.Exp(4*rnd.NormFloat64()))
				}
				packed, err := PackCodes(p, c)
				if err != nil {
					t.Fatal(err)
				}
				high := make([]float32, m*n)
				MulCoded(p, y, x, m, packed, false)
				MulCodedHigh(p, high, x, m, packed, false)
				twice := slices.Clone(y)
				MulCoded(p, twice, x, m, packed, true)
				for i := range m {
					alone := make([]float32, n)
					MulCoded(nil, alone, x[i*k:(i+1)*k], 1, packed, false)
					if !slices.Equal(alone, y[i*n:(i+1)*n]) {
						t.Fatalf("%d bits, %v: row %d depends on the others", bits, s, i)
					}
					if MulCodedHigh(nil, alone, x[i*k:(i+1)*k], 1, packed, false); !slices.Equal(alone, high[i*n:(i+1)*n]) {
						t.Fatalf("%d bits, %v: row %d of the high parts depends on the others", bits, s, i)
					}
					for j := range n {
						var want, size, rounded float64 // rounded: half of the last of 8 bits, times each code
						for b := 0; b < k; b += 32 {
							var most, sum float64
							for l := b; l < b+32; l++ {
								want += float64(w[j*k+l]) * float64(x[i*k+l])
								most, sum = max(most, math.Abs(float64(x[i*k+l]))), sum+math.Abs(float64(w[j*k+l]))
							}
							size += most * sum
							for l := b; l < b+32; l++ {
								rounded += most / 127 / 2 * 1.01 * float64(scaled[j*k+l])
							}
						}
						if got := float64(high[i*n+j]); math.Abs(got-want) > rounded+2e-5*size {
							t.Fatalf("%d bits, %v: the high parts give y[%d, %d] = %g, want %g within %g", bits, s, i, j, got, want, rounded)
						}
						if got := float64(y[i*n+j]); math.Abs(got-want) > 2e-5*size {
							t.Fatalf("%d bits, %v: y[%d, %d] is %g, want %g", bits, s, i, j, got, want)
						}
						if got, want := twice[i*n+j], 2*y[i*n+j]; math.Abs(float64(got-want)) > 1e-6*size {
							t.Fatalf("%d bits, %v: accumulated y[%d, %d] is %g, want %g", bits, s, i, j, got, want)
						}
					}
				}
			}
		}
	})
}

// TestQuantiseRow: all implementations write the same bytes, zeros are zeros, and the largest value is exact.
func TestQuantiseRow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 1))
	x := make([]float32, 64*32)
	for i := range x[64:] {
		x[64+i] = float32(rnd.NormFloat64()) * float32(math.Exp(10*rnd.NormFloat64()))
	}
	x[3*32], x[4*32] = 1e30, -1e-38
	layouts := []layout{parts16, parts8, biased8}
	want := make([][]byte, len(layouts))
	for i, l := range layouts {
		want[i] = make([]byte, len(x)/32*l.bytes())
		quantiseRowGeneric(want[i], x, l)
	}
	each(t, func(t *testing.T) {
		for i, l := range layouts {
			got := make([]byte, len(want[i]))
			quantiseRow(got, x, l)
			for j := range got {
				if got[j] != want[i][j] {
					t.Fatalf("layout %d: byte %d of block %d is %d, want %d", l, j%l.bytes(), j/l.bytes(), got[j], want[i][j])
				}
			}
		}
		nan := slices.Clone(x[:64])
		nan[40] = float32(math.NaN())
		c, _ := randomCodes(rnd, 16, 64, 4)
		w, err := PackCodes(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		y := make([]float32, 16)
		MulCoded(nil, y, nan, 1, w, false)
		for _, v := range y {
			if v == v {
				t.Fatalf("a NaN is multiplied as a number: %v", y)
			}
		}
	})
}

func TestPackCodesErrors(t *testing.T) {
	for name, change := range map[string]func(c *Codes){
		"bits": func(c *Codes) { c.Bits = 5 },
		"k":    func(c *Codes) { c.K = 33 },
		"rows": func(c *Codes) { c.Row = nil },
		"row":  func(c *Codes) { c.Row = func(int, []uint16, []uint16, []byte) error { return io.ErrUnexpectedEOF } },
	} {
		c, _ := randomCodes(rand.New(rand.NewPCG(1, 1)), 4, 64, 4)
		change(c)
		if _, err := PackCodes(nil, c); err == nil {
			t.Errorf("wrong %s passes", name)
		}
	}
}

// TestArena: weights in an arena, packed at once, are those packed alone.
func TestArena(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 1))
	const n = 40
	arena, weights, alone := new(Arena), make([]*Coded, n), make([]*Coded, n)
	var wg sync.WaitGroup
	for i := range n {
		bits := 4 + i%2*4
		c, _ := randomCodes(rnd, 1+rnd.IntN(4000), 32*(1+rnd.IntN(40)), bits) // more than one part of the arena together
		var err error
		if alone[i], err = PackCodes(nil, c); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if w, err := arena.PackCodes(nil, c); err != nil {
				t.Error(err)
			} else {
				weights[i] = w
			}
		})
	}
	wg.Wait()
	for i, w := range weights {
		if w == nil || !slices.Equal(w.data, alone[i].data) {
			t.Fatalf("weight %d differs", i)
		}
	}
}
