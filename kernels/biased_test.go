package kernels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestUnpackBiased: all implementations write the same bytes, but for what lies on the edge between two, and the values are
// those of the codes to half a step.
func TestUnpackBiased(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 1))
	for _, bits := range []int{4, 8} {
		const n, k, pairs = 96, 64, 3
		c, w := randomCodes(rnd, n, k, bits)
		packed, err := PackCodes(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		each(t, func(t *testing.T) {
			first, second, scales := make([]byte, pairs*512), make([]byte, pairs*512), make([]float32, pairs)
			packed.unpackBiased(first, second, scales, 1, 0, pairs)
			for r := range n {
				for j := range 32 {
					part, s := first, scales[r/32]
					if j >= 16 {
						part = second
					}
					b := part[r/32*512+r%32/4*64+j%16*4+r%4]
					got, want := float64(s)*(float64(b)-128), float64(w[r*k+32+j])
					if math.Abs(got-want) > 0.501*float64(s) {
						t.Fatalf("%d bits: value %d, %d is %g, want %g to half of %g", bits, r, j, got, want, s)
					}
				}
			}
		})
	}
}

// TestMulCodedBack compares with sums in f64: what is lost must be of the order of 8 bits' rounding.
func TestMulCodedBack(t *testing.T) {
	each(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(3, 1))
		p := NewPool(2)
		defer p.Close()
		for _, bits := range []int{4, 8} {
			for _, s := range [][3]int{{1, 16, 32}, {1, 48, 576}, {3, 40, 64}, {8, 33, 96}, {13, 100, 160}, {140, 64, 64}, {2, 5, 32}, {2, 2100, 64}} {
				m, n, k := s[0], s[1], s[2]
				c, w := randomCodes(rnd, n, k, bits)
				packed, err := PackCodes(p, c)
				if err != nil {
					t.Fatal(err)
				}
				dy, dx := make([]float32, m*n), make([]float32, m*k)
				for i := range dy {
					dy[i] = float32(rnd.NormFloat64())
				}
				MulCodedBack(p, dx, dy, m, packed, false)
				twice := slices.Clone(dx)
				MulCodedBack(p, twice, dy, m, packed, true)
				var wrong, all float64
				for i := range m {
					alone := make([]float32, k)
					MulCodedBack(nil, alone, dy[i*n:(i+1)*n], 1, packed, false)
					if !slices.Equal(alone, dx[i*k:(i+1)*k]) {
						t.Fatalf("%d bits, %v: row %d depends on the others", bits, s, i)
					}
					for j := range k {
						var want float64
						for r := range n {
							want += float64(dy[i*n+r]) * float64(w[r*k+j])
						}
						got := float64(dx[i*k+j])
						wrong += (got - want) * (got - want)
						all += want * want
						if d := math.Abs(float64(twice[i*k+j]) - 2*got); d > 1e-5*(1+math.Abs(got)) {
							t.Fatalf("%d bits, %v: accumulated dx[%d, %d] is %g, want %g", bits, s, i, j, twice[i*k+j], 2*got)
						}
					}
				}
				if e := math.Sqrt(wrong / all); !(e < 0.02) {
					t.Errorf("%d bits, %v: error %.3f of the result, rms", bits, s, e)
				}
			}
		}
	})
}

// TestMulCodedBackNaN: a gradient that is no number does not become one.
func TestMulCodedBackNaN(t *testing.T) {
	each(t, func(t *testing.T) {
		c, _ := randomCodes(rand.New(rand.NewPCG(4, 1)), 64, 32, 4)
		w, err := PackCodes(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		dy, dx := make([]float32, 64), make([]float32, 32)
		dy[40] = float32(math.NaN())
		MulCodedBack(nil, dx, dy, 1, w, false)
		for i, v := range dx {
			if v == v {
				t.Fatalf("dx[%d] = %g", i, v)
			}
		}
	})
}

func BenchmarkMulCodedBack(b *testing.B) {
	const m, n, k = 1024, 3072, 576
	c, _ := randomCodes(rand.New(rand.NewPCG(5, 1)), n, k, 4)
	w, err := PackCodes(nil, c)
	if err != nil {
		b.Fatal(err)
	}
	dy, dx := make([]float32, m*n), make([]float32, m*k)
	for i := range dy {
		dy[i] = float32(i%97) - 48
	}
	for b.Loop() {
		MulCodedBack(nil, dx, dy, m, w, false)
	}
	b.ReportMetric(2*m*n*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GOP/s")
}
