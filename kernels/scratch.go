package kernels

import (
	"math/bits"
	"sync"
)

// scratch keeps buffers for the next call, by the power of two above their length, so that a large product never grows
// a small one's buffer.
type scratch[T any] struct{ classes [64]sync.Pool }

// get returns n elements with any content.
func (s *scratch[T]) get(n int) *[]T {
	class := bits.Len(uint(max(n, 1) - 1))
	b, ok := s.classes[class].Get().(*[]T)
	if !ok {
		v := make([]T, 1<<class)
		LargePages(v)
		b = &v
	}
	*b = (*b)[:n]
	return b
}

func (s *scratch[T]) put(b *[]T) { s.classes[bits.Len(uint(cap(*b)-1))].Put(b) }

var (
	f32Scratch scratch[float32]
	u16Scratch scratch[uint16]
)

// getF32 returns scratch of n elements with any content; putF32 gives it back.
func getF32(n int) *[]float32 { return f32Scratch.get(n) }
func putF32(b *[]float32)     { f32Scratch.put(b) }
func getU16(n int) *[]uint16  { return u16Scratch.get(n) }
func putU16(b *[]uint16)      { u16Scratch.put(b) }

// arena is memory that is cut into parts.
type arena[T any] []T

// cut returns the next n elements.
func (a *arena[T]) cut(n int) []T {
	part := (*a)[:n:n]
	*a = (*a)[n:]
	return part
}
