package gguf

import (
	"fmt"
	"math"
)

// Metadata types by the file's numbers.
const (
	tU8 = iota
	tI8
	tU16
	tI16
	tU32
	tI32
	tF32
	tBool
	tString
	tArray
	tU64
	tI64
	tF64
)

// reader takes values off a slice; after the first error everything is zero.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) take(n uint64) []byte {
	if r.err == nil && n > uint64(len(r.b)-r.at) {
		r.err = fmt.Errorf("%d bytes wanted at %d of %d (truncated?): %w", n, r.at, len(r.b), ErrCorrupt)
	}
	if r.err != nil {
		return nil
	}
	b := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return b
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return le.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

func (r *reader) str() string { return string(r.take(r.u64())) }

func (r *reader) boolean() bool { return r.u8() != 0 }

// value reads one value of a metadata type; arrays become typed slices.
func (r *reader) value(t uint32, depth int) any {
	switch t {
	case tU8:
		return r.u8()
	case tI8:
		return int8(r.u8())
	case tU16:
		return r.u16()
	case tI16:
		return int16(r.u16())
	case tU32:
		return r.u32()
	case tI32:
		return int32(r.u32())
	case tF32:
		return math.Float32frombits(r.u32())
	case tBool:
		return r.boolean()
	case tString:
		return r.str()
	case tU64:
		return r.u64()
	case tI64:
		return int64(r.u64())
	case tF64:
		return math.Float64frombits(r.u64())
	case tArray:
		return r.array(depth)
	}
	if r.err == nil {
		r.err = fmt.Errorf("metadata type %d: %w", t, ErrUnsupported)
	}
	return nil
}

func (r *reader) array(depth int) any {
	t, n := r.u32(), r.u64()
	if r.err == nil && (depth >= maxDepth || n > uint64(len(r.b)-r.at)) {
		r.err = fmt.Errorf("an array of %d elements in the %d bytes left: %w", n, len(r.b)-r.at, ErrCorrupt)
	}
	if r.err != nil {
		return nil
	}
	switch t {
	case tU8:
		return list(r, n, r.u8)
	case tI8:
		return list(r, n, func() int8 { return int8(r.u8()) })
	case tU16:
		return list(r, n, r.u16)
	case tI16:
		return list(r, n, func() int16 { return int16(r.u16()) })
	case tU32:
		return list(r, n, r.u32)
	case tI32:
		return list(r, n, func() int32 { return int32(r.u32()) })
	case tF32:
		return list(r, n, func() float32 { return math.Float32frombits(r.u32()) })
	case tBool:
		return list(r, n, r.boolean)
	case tString:
		return r.strings(n)
	case tU64:
		return list(r, n, r.u64)
	case tI64:
		return list(r, n, func() int64 { return int64(r.u64()) })
	case tF64:
		return list(r, n, func() float64 { return math.Float64frombits(r.u64()) })
	case tArray:
		return list(r, n, func() any { return r.array(depth + 1) })
	}
	r.err = fmt.Errorf("array of metadata type %d: %w", t, ErrUnsupported)
	return nil
}

// strings reads n strings into one piece of memory.
func (r *reader) strings(n uint64) []string {
	from := r.at
	lengths := list(r, n, func() int { return len(r.take(r.u64())) })
	if r.err != nil {
		return nil
	}
	all, at := string(r.b[from:r.at]), 0
	out := make([]string, len(lengths))
	for i, l := range lengths {
		at += 8 // its length
		out[i] = all[at : at+l]
		at += l
	}
	return out
}

// list reads n elements; it grows as they come, because n is the file's word.
func list[T any](r *reader, n uint64, next func() T) []T {
	out := make([]T, 0, min(n, 1<<16))
	for range n {
		v := next()
		if r.err != nil {
			return nil
		}
		out = append(out, v)
	}
	return out
}

// Get returns a metadata value of type T, such as string, []string or float32. The error wraps ErrNotFound, or ErrCorrupt
// when the value has another type.
func Get[T any](f *File, key string) (T, error) {
	var zero T
	v, ok := f.Meta[key]
	if !ok {
		return zero, fmt.Errorf("key %q: %w", key, ErrNotFound)
	}
	t, ok := v.(T)
	if !ok {
		return zero, fmt.Errorf("key %q is a %T, want a %T: %w", key, v, zero, ErrCorrupt)
	}
	return t, nil
}

// Int returns a metadata value of any integer type that is not negative and fits an int.
func (f *File) Int(key string) (int, error) {
	v, ok := f.Meta[key]
	if !ok {
		return 0, fmt.Errorf("key %q: %w", key, ErrNotFound)
	}
	var n int64
	switch v := v.(type) {
	case uint8:
		n = int64(v)
	case int8:
		n = int64(v)
	case uint16:
		n = int64(v)
	case int16:
		n = int64(v)
	case uint32:
		n = int64(v)
	case int32:
		n = int64(v)
	case int64:
		n = v
	case uint64:
		n = int64(min(v, math.MaxInt64))
	default:
		return 0, fmt.Errorf("key %q is a %T, want an integer: %w", key, v, ErrCorrupt)
	}
	if n < 0 || n > math.MaxInt32 {
		return 0, fmt.Errorf("key %q is %d, want 0 to %d: %w", key, n, math.MaxInt32, ErrCorrupt)
	}
	return int(n), nil
}

// clip shortens a name from a file for a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
