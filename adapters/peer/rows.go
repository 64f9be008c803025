package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/gopeft/peft/kernels"
)

// SizedReaderAt is a part that can be read at several places at once and knows its size: what it holds is there.
type SizedReaderAt interface {
	io.ReaderAt
	Size() int64
}

// readRows reads [experts, width]. Memory grows with what is really there, so that a header cannot ask for more.
func readRows(threads int, r io.Reader, experts, width int, f Format) (Rows, error) {
	rowBytes := width * f.bytes()
	if at, ok := r.(SizedReaderAt); ok && at.Size() == int64(experts)*int64(rowBytes) {
		return readRowsAt(threads, at, experts, width, f)
	}
	rows := Rows{Format: f, Width: width}
	n := max(1, min(experts, 1<<20/rowBytes))
	buf := make([]byte, n*rowBytes)
	for done := 0; done < experts; {
		b := buf[:min(n, experts-done)*rowBytes]
		if _, err := io.ReadFull(r, b); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return Rows{}, fmt.Errorf("cut off after %d of %d rows: %w", done, experts, ErrCorrupt)
			}
			return Rows{}, err
		}
		if have := max(cap(rows.F32), cap(rows.BF16)) / width; done+len(b)/rowBytes > have {
			rows.reserve(min(experts, max(n, 4*done)))
		}
		if err := rows.appendBytes(b); err != nil {
			return Rows{}, err
		}
		done += len(b) / rowBytes
	}
	var more [1]byte
	if k, err := io.ReadFull(r, more[:]); k > 0 {
		return Rows{}, fmt.Errorf("more than %d rows: %w", experts, ErrCorrupt)
	} else if !errors.Is(err, io.EOF) {
		return Rows{}, err
	}
	return rows, nil
}

// readRowsAt reads rows where they stay, as many at a time as Encode wrote in a chunk.
func readRowsAt(threads int, r SizedReaderAt, experts, width int, f Format) (Rows, error) {
	rows, n := NewRows(experts, width, f), rowsInChunk(width*f.bytes())
	var (
		wg     sync.WaitGroup
		next   atomic.Int64
		failed atomic.Pointer[error]
	)
	for range max(1, threads) {
		wg.Go(func() {
			for failed.Load() == nil {
				lo := int(next.Add(int64(n))) - n
				if lo >= experts {
					return
				}
				if err := rows.readAt(r, lo, min(lo+n, experts)); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return Rows{}, *err
	}
	return rows, nil
}

// readAt reads the rows [lo, hi). Their bytes become numbers in place.
func (r Rows) readAt(from io.ReaderAt, lo, hi int) error {
	rowBytes := r.Width * r.Format.bytes()
	b := r.raw()[lo*rowBytes : hi*rowBytes]
	if n, err := from.ReadAt(b, int64(lo)*int64(rowBytes)); n < len(b) {
		if errors.Is(err, io.EOF) {
			err = ErrCorrupt
		}
		return fmt.Errorf("cut off in the rows from %d on: %w", lo, err)
	}
	bad := false
	if r.Format == F32 {
		bad = readF32(r.F32[lo*r.Width:hi*r.Width], b)
	} else {
		bad = readBF16(r.BF16[lo*r.Width:hi*r.Width], b)
	}
	if bad {
		return fmt.Errorf("an expert from %d to %d has a value that is not finite: %w", lo, hi-1, ErrCorrupt)
	}
	return nil
}

// raw returns the table's memory.
func (r Rows) raw() []byte {
	if r.Format == F32 {
		return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(r.F32))), 4*len(r.F32))
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(r.BF16))), 2*len(r.BF16))
}

func (r *Rows) reserve(experts int) {
	if r.Format == F32 {
		r.F32 = append(make([]float32, 0, experts*r.Width), r.F32...)
	} else {
		rows := make([]uint16, 0, experts*r.Width)
		kernels.LargePages(rows)
		r.BF16 = append(rows, r.BF16...)
	}
}

// appendBytes appends whole rows as appendTo wrote them.
func (r *Rows) appendBytes(b []byte) error {
	bad := false
	if r.Format == F32 {
		at := len(r.F32)
		r.F32 = slices.Grow(r.F32, len(b)/4)[:at+len(b)/4]
		bad = readF32(r.F32[at:], b)
	} else {
		at := len(r.BF16)
		r.BF16 = slices.Grow(r.BF16, len(b)/2)[:at+len(b)/2]
		bad = readBF16(r.BF16[at:], b)
	}
	if bad {
		return fmt.Errorf("an expert among the first %d has a value that is not finite: %w", r.Len(), ErrCorrupt)
	}
	return nil
}

// readF32 reads little-endian values, which may lie in the same memory, and reports whether one is not finite.
func readF32(to []float32, b []byte) bool {
	bad := false
	for i := range to {
		u := binary.LittleEndian.Uint32(b[4*i:])
		bad = bad || u&0x7f800000 == 0x7f800000
		to[i] = math.Float32frombits(u)
	}
	return bad
}

// readBF16 reads little-endian values, which may lie in the same memory, and reports whether one is not finite: its eight bits of exponent are all ones. Four
// are looked at together; a word has a zero lane when (w - 1) & ^w has the lane's highest bit.
func readBF16(to []uint16, b []byte) bool {
	const exponents, ones, highest = 0x7f807f807f807f80, 0x0001000100010001, 0x8000800080008000
	var found uint64
	for len(to) >= 4 {
		u := binary.LittleEndian.Uint64(b)
		w := u&exponents ^ exponents
		found |= (w - ones) &^ w & highest
		to[0], to[1], to[2], to[3] = uint16(u), uint16(u>>16), uint16(u>>32), uint16(u>>48)
		to, b = to[4:], b[8:]
	}
	for i := range to {
		to[i] = binary.LittleEndian.Uint16(b[2*i:])
		if to[i]&0x7f80 == 0x7f80 {
			found = 1
		}
	}
	return found != 0
}
