package kernels

import (
	"math"
	"slices"
	"testing"
)

// hardValues are bits of f32 at which rounding to 16 bits goes wrong most easily.
func hardValues() []float32 {
	var x []float32
	for _, b := range []uint32{
		0, 1, 0x007fffff, 0x00800000, // zero, denormals, the least normal number
		0x3f800000, 0x3f808000, 0x3f818000, 0x3f807fff, 0x3f808001, // ties of bf16 and their neighbours
		0x3f801000, 0x3f803000, 0x3f802fff, 0x3f803001, // ties of halves
		0x33000000, 0x33000001, 0x32ffffff, 0x33800000, 0x387fc000, 0x387fe000, 0x38800000, // the least halves
		0x477fe000, 0x477fefff, 0x477ff000, 0x47800000, // the largest halves
		0x7f7f7fff, 0x7f7f8000, 0x7f7fffff, 0x7f800000, // the largest bf16, infinity
		0x7f800001, 0x7f80ffff, 0x7fbfffff, 0x7fc00000, 0x7fffffff, // NaN
	} {
		x = append(x, math.Float32frombits(b), math.Float32frombits(b|1<<31))
	}
	rnd := rng(9)
	for range 4096 {
		x = append(x, math.Float32frombits(rnd.Uint32()))
	}
	return x
}

// nearestEven rounds to the neighbours that a format's widening function has, by the definition.
func nearestEven(x float32, widen func(uint16) float32) float64 {
	best, even := math.Inf(1), uint16(0)
	var value float64
	for h := range 1 << 15 {
		w := float64(widen(uint16(h)))
		if math.IsNaN(w) {
			continue
		}
		d := math.Abs(math.Abs(float64(x)) - w)
		if d < best || d == best && even&1 == 1 {
			best, even, value = d, uint16(h), w
		}
	}
	return math.Copysign(value, float64(x))
}

func TestConversionsTo16Bits(t *testing.T) {
	x := hardValues()
	each(t, func(t *testing.T) {
		for name, f := range map[string]struct {
			to, generic func([]uint16, []float32)
			from        func([]float32, []uint16)
		}{
			"bf16": {ToBF16, toBF16Generic, FromBF16},
			"f16":  {ToF16, toF16Generic, FromF16},
		} {
			got, want := make([]uint16, len(x)), make([]uint16, len(x))
			f.to(got, x)
			f.generic(want, x)
			for i, g := range got {
				if g != want[i] {
					t.Fatalf("%s of %x is %x, want %x", name, math.Float32bits(x[i]), g, want[i])
				}
			}
			back := make([]float32, len(x))
			f.from(back, got)
			for i, b := range back {
				if (b != b) != (x[i] != x[i]) {
					t.Fatalf("%s of %x: a NaN came or went", name, math.Float32bits(x[i]))
				}
			}
		}
	})
}

func TestRoundingIsToNearestEven(t *testing.T) {
	for _, x := range hardValues()[:200] {
		if x != x || math.Abs(float64(x)) > 60000 { // beyond the largest half infinity is not the nearest
			continue
		}
		if got, want := float64(F16(roundF16(x))), nearestEven(x, F16); got != want {
			t.Errorf("half of %v is %v, want %v", x, got, want)
		}
		if got, want := float64(bf16(roundBF16(x))), nearestEven(x, bf16); got != want {
			t.Errorf("bf16 of %v is %v, want %v", x, got, want)
		}
	}
}

// TestHalvesThereAndBack: every half and every bf16 widens to the same bits everywhere and comes back as it was.
func TestHalvesThereAndBack(t *testing.T) {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	each(t, func(t *testing.T) {
		x, want, back := make([]float32, len(all)), make([]float32, len(all)), make([]uint16, len(all))
		check := func(name string, quiet uint16) {
			t.Helper()
			for i, v := range x {
				if math.Float32bits(v) != math.Float32bits(want[i]) {
					t.Fatalf("%s %x is %x, want %x", name, i, math.Float32bits(v), math.Float32bits(want[i]))
				}
				if w := all[i]; back[i] != w && (v == v || back[i] != w|quiet) {
					t.Fatalf("%s %x came back as %x", name, w, back[i])
				}
			}
		}
		FromF16(x, all)
		fromF16Generic(want, all)
		ToF16(back, x)
		check("half", 0x200)
		FromBF16(x, all)
		fromBF16Generic(want, all)
		ToBF16(back, x)
		check("bf16", 0x40)
	})
}

func TestConversionsOfOddLengths(t *testing.T) {
	each(t, func(t *testing.T) {
		x := randn(rng(4), 70)
		for n := range x {
			for _, f := range [][2]func([]uint16, []float32){{ToBF16, toBF16Generic}, {ToF16, toF16Generic}} {
				got, want := make([]uint16, len(x)), make([]uint16, len(x))
				f[0](got[:n], x)
				f[1](want[:n], x[:n])
				if !slices.Equal(got, want) {
					t.Fatalf("length %d", n)
				}
			}
		}
	})
}
