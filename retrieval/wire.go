package retrieval

import (
	"encoding/binary"
	"fmt"
	"math"
)

// encoder appends unsigned variable-length integers, and floats as little-endian f32.
type encoder struct{ b []byte }

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }

func (e *encoder) bytes(v []byte) {
	e.uint(uint64(len(v)))
	e.b = append(e.b, v...)
}

func (e *encoder) floats(v []float32) {
	for _, x := range v {
		e.b = binary.LittleEndian.AppendUint32(e.b, math.Float32bits(x))
	}
}

// decoder reads what encoder wrote. After the first error it returns zeros; no length is trusted before the bytes are
// known to be there.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, a ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format+": %w", append(a, ErrCorrupt)...)
	}
}

func (d *decoder) uint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("a number is cut off or too long, %d bytes before the end", len(d.b))
		return 0
	}
	if n > 1 && d.b[n-1] == 0 {
		d.fail("a number is longer than it must be, %d bytes before the end", len(d.b))
		return 0
	}
	d.b = d.b[n:]
	return v
}

// int reads a number of at most limit.
func (d *decoder) int(limit int) int {
	v := d.uint()
	if v > uint64(limit) {
		d.fail("number %d, want at most %d", v, limit)
		return 0
	}
	return int(v)
}

func (d *decoder) bytes() []byte {
	n := d.int(len(d.b))
	if d.err != nil || n > len(d.b) {
		d.fail("%d bytes announced, %d left", n, len(d.b))
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) floats(n int) []float32 {
	if d.err != nil {
		return nil
	}
	if n > len(d.b)/4 {
		d.fail("%d values announced, %d bytes left", n, len(d.b))
		return nil
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(d.b[4*i:]))
	}
	d.b = d.b[4*n:]
	return v
}

// counts reads n 32-bit numbers.
func (d *decoder) counts(n int) []uint32 {
	if n > len(d.b) {
		d.fail("%d counts announced, %d bytes left", n, len(d.b))
		return nil
	}
	v := make([]uint32, n)
	for i := range v {
		v[i] = uint32(d.int(math.MaxUint32))
	}
	return v
}

// end reports the first error, or bytes left over.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes too many", len(d.b))
	}
	return d.err
}

// MarshalCounts returns the stored form of counts a cell.
func MarshalCounts(counts []uint32) []byte {
	var e encoder
	e.uint(uint64(len(counts)))
	for _, c := range counts {
		e.uint(uint64(c))
	}
	return e.b
}

// UnmarshalCounts reads what MarshalCounts wrote; there must be one count for each of cells, or none. Errors wrap
// ErrCorrupt.
func UnmarshalCounts(data []byte, cells int) ([]uint32, error) {
	d := decoder{b: data}
	n := d.int(cells)
	if n != 0 && n != cells {
		d.fail("%d counts for %d cells", n, cells)
	}
	var v []uint32
	if n > 0 && d.err == nil {
		v = d.counts(n)
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("retrieval: cell counts: %w", err)
	}
	return v, nil
}
