//go:build unix

package kernels

import (
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guarded returns n elements whose end touches a page that cannot be read.
func guarded[T any](t *testing.T, n int) []T {
	t.Helper()
	var e T
	page, size := unix.Getpagesize(), n*int(unsafe.Sizeof(e))
	whole := (size + page - 1) / page * page
	b, err := unix.Mmap(-1, 0, whole+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	if err := unix.Mprotect(b[whole:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b[whole-size])), n)
}

func guardedCopy[T any](t *testing.T, x []T) []T {
	t.Helper()
	g := guarded[T](t, len(x))
	copy(g, x)
	return g
}

// guardedNonEmpty keeps nil as it is.
func guardedNonEmpty[T any](t *testing.T, x []T) []T {
	t.Helper()
	if x == nil {
		return nil
	}
	return guardedCopy(t, x)
}

// TestProductsStayInBounds puts every operand before a page that cannot be read or written.
func TestProductsStayInBounds(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, m := range []int{1, 2, 3, 4, 5, 6, 7, 8, 13} {
			for _, s := range [][2]int{{48, 16}, {49, 7}, {1, 1}, {95, 33}} {
				n, k := s[0], s[1]
				rnd := rng(uint64(m*1000 + n + k))
				a, b, y := guardedCopy(t, randn(rnd, m*k)), guardedCopy(t, randn(rnd, n*k)), guarded[float32](t, m*n)
				exact := guardedCopy(t, roundAll(b))
				for _, c := range []struct {
					b    []float32
					prec Precision
				}{{b, F32}, {exact, F32}, {b, BF16}} {
					for _, nn := range []bool{false, true} {
						w := PackNT(nil, c.b, n, k, c.prec)
						w.f, w.h, w.e = guardedNonEmpty(t, w.f), guardedNonEmpty(t, w.h), guardedNonEmpty(t, w.e)
						w.Repack(nil, c.b, nn)
						MulPacked(nil, y, a, m, w, false)
						MulPacked(nil, y, a, m, w, true)
					}
				}
				MatMulTN(nil, y, a, b, m, n, k, true)
				h := guarded[uint16](t, m*k)
				back := guarded[float32](t, m*k)
				ToBF16(h, a)
				FromBF16(back, h)
				ToF16(h, a)
				FromF16(back, h)
				near(t, "half", back, slices.Clone(a), 1e-2)
			}
		}
	})
}
