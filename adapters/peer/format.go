package peer

import "github.com/gopeft/peft/kernels"

// Format is how rows are kept.
type Format uint8

// The formats.
const (
	BF16 Format = iota // for use: half the memory, and no loss that could be measured
	F32                // for training
)

// String returns the format's name in stored sets.
func (f Format) String() string {
	if f == F32 {
		return "f32"
	}
	return "bf16"
}

func (f Format) bytes() int {
	if f == F32 {
		return 4
	}
	return 2
}

// Rows is a table of parameters, [experts, width], in one of the formats.
type Rows struct {
	Format Format
	Width  int
	F32    []float32 // when Format is F32
	BF16   []uint16  // when Format is BF16
}

// NewRows returns zeros.
func NewRows(experts, width int, f Format) Rows {
	r := Rows{Format: f, Width: width}
	if f == F32 {
		r.F32 = make([]float32, experts*width)
	} else {
		r.BF16 = make([]uint16, experts*width)
		kernels.LargePages(r.BF16)
	}
	return r
}

// Len returns the number of rows.
func (r Rows) Len() int { return (len(r.F32) + len(r.BF16)) / r.Width }

// Row returns row i in f32: the row itself, or buf: [width] filled with it.
func (r Rows) Row(i int, buf []float32) []float32 {
	if r.Format == F32 {
		return r.F32[i*r.Width : (i+1)*r.Width]
	}
	kernels.FromBF16(buf[:r.Width], r.BF16[i*r.Width:(i+1)*r.Width])
	return buf[:r.Width]
}

// Set writes row i.
func (r Rows) Set(i int, row []float32) {
	if r.Format == F32 {
		copy(r.F32[i*r.Width:(i+1)*r.Width], row)
	} else {
		kernels.ToBF16(r.BF16[i*r.Width:(i+1)*r.Width], row)
	}
}

// Convert returns the rows in that format: r itself when it has it.
func (r Rows) Convert(p *kernels.Pool, f Format) Rows {
	if r.Format == f {
		return r
	}
	to := NewRows(r.Len(), r.Width, f)
	p.Run(r.Len(), 256, func(lo, hi int) {
		buf := make([]float32, r.Width)
		for i := lo; i < hi; i++ {
			to.Set(i, r.Row(i, buf))
		}
	})
	return to
}
