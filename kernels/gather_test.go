package kernels

import (
	"fmt"
	"slices"
	"testing"
)

func TestGatheredRows(t *testing.T) {
	each(t, func(t *testing.T) {
		rnd := rng(5)
		for _, width := range []int{1, 7, 16, 24, 48, 192, 256, 304, 576} {
			for _, n := range []int{0, 1, 3, 4, 5, 11} {
				table, x := randn(rnd, 9*width), randn(rnd, width)
				w, rows := randn(rnd, n), make([]uint32, n)
				for i := range rows {
					rows[i] = uint32(rnd.IntN(9)) // some twice
				}
				name := fmt.Sprintf("width %d, %d rows", width, n)
				out, want := make([]float32, n), make([]float32, n)
				GatherDot(out, table, width, rows, x)
				for i, r := range rows {
					want[i] = dotGeneric(x, table[int(r)*width:][:width])
					var one [1]float32
					GatherDot(one[:], table, width, rows[i:i+1], x)
					if one[0] != out[i] {
						t.Fatalf("%s: a row alone gives other bits", name)
					}
				}
				near(t, name+": dot", out, want, 1e-5)
				y, ref := randn(rnd, width), make([]float32, width)
				copy(ref, y)
				seq := slices.Clone(y)
				GatherAxpy(y, table, width, rows, w)
				for i, r := range rows {
					axpyGeneric(w[i], table[int(r)*width:][:width], ref)
					GatherAxpy(seq, table, width, rows[i:i+1], w[i:i+1])
				}
				near(t, name+": gather", y, ref, 1e-5)
				if !slices.Equal(seq, y) {
					t.Fatalf("%s: gathering one at a time gives other bits", name)
				}
				to, refTable := slices.Clone(table), slices.Clone(table)
				ScatterAxpy(to, width, rows, w, x)
				for i, r := range rows {
					axpyGeneric(w[i], x, refTable[int(r)*width:][:width])
				}
				near(t, name+": scatter", to, refTable, 1e-5)
			}
		}
	})
}

// TestGatheredHalves has rows of which a part is used, as those of u or v in a row of both.
func TestGatheredHalves(t *testing.T) {
	each(t, func(t *testing.T) {
		rnd := rng(6)
		for _, width := range []int{1, 7, 16, 24, 48, 192, 256, 304, 576} {
			stride := 2 * width
			for _, n := range []int{0, 1, 2, 3, 16} {
				wide := roundAll(randn(rnd, 9*stride))
				table, x, w, rows := make([]uint16, len(wide)), randn(rnd, width), randn(rnd, n), make([]uint32, n)
				ToBF16(table, wide)
				for i := range rows {
					rows[i] = uint32(rnd.IntN(9))
				}
				name := fmt.Sprintf("width %d, %d rows", width, n)
				for _, at := range []int{0, width} {
					out, want := make([]float32, n), make([]float32, n)
					GatherDotBF16(out, table[at:], stride, rows, rows, x)
					sum, y := make([]float32, width), randn(rnd, width)
					for i, r := range rows {
						row := wide[int(r)*stride+at:][:width]
						want[i] = dotGeneric(x, row)
						axpyGeneric(w[i], row, sum)
						var one [1]float32
						GatherDotBF16(one[:], table[at:], stride, rows[i:i+1], nil, x)
						if one[0] != out[i] {
							t.Fatalf("%s: a row alone gives other bits", name)
						}
					}
					near(t, name+": dot", out, want, 1e-5)
					got := slices.Clone(y)
					GatherAxpyBF16(got, table[at:], stride, rows, nil, w)
					addGeneric(y, y, sum)
					near(t, name+": sum", got, y, 1e-5)
				}
			}
		}
	})
}

func TestGatheredHalvesOutside(t *testing.T) {
	for name, f := range map[string]func(){
		"dot": func() {
			GatherDotBF16(make([]float32, 1), make([]uint16, 47), 16, []uint32{2}, nil, make([]float32, 16))
		},
		"axpy": func() {
			GatherAxpyBF16(make([]float32, 16), make([]uint16, 47), 16, []uint32{2}, nil, make([]float32, 1))
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: a row outside the table passes", name)
				}
			}()
			f()
		}()
	}
}

func TestGatheredRowsOutside(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a row outside the table passes")
		}
	}()
	GatherDot(make([]float32, 1), make([]float32, 32), 16, []uint32{2}, make([]float32, 16))
}

func BenchmarkGatheredRows(b *testing.B) {
	rnd := rng(1)
	const width, n = 576, 32
	table, x, w, rows := randn(rnd, 128*width), randn(rnd, width), randn(rnd, n), make([]uint32, n)
	for i := range rows {
		rows[i] = uint32(4 * i)
	}
	out := make([]float32, n)
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"dot", func() { GatherDot(out, table, width, rows, x) }},
		{"dotEach", func() { gatherDotEach(out, table, width, rows, x) }},
		{"gather", func() { GatherAxpy(x, table, width, rows, w) }},
		{"gatherEach", func() { gatherAxpyEach(x, table, width, rows, w) }},
		{"scatter", func() { ScatterAxpy(table, width, rows, w, x) }},
		{"scatterEach", func() { scatterAxpyEach(table, width, rows, w, x) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.f()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
		})
	}
}
