package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// KV is one metadata entry.
type KV struct {
	Key   string
	Value any // a bool, a number of fixed size, a string, or a slice of one of these
}

// Tensor is one tensor to write.
type Tensor struct {
	Name  string
	Shape []int // the slowest dimension first
	Type  Type  // F32, F16, BF16 or Q8_0
	Data  []float32
	// Load gives the values, when Data is nil, at the time they are written: a model need not be in memory whole.
	Load func() ([]float32, error)
}

const writeAlign = 32

// Write writes a GGUF file with the entries in the order given. Q8_0 needs rows that are multiples of 32. What Parse would
// refuse, such as a name or key given twice, is refused here too, and so are values that F16 or Q8_0 cannot hold. After an
// error what was written is of no use.
func Write(w io.Writer, meta []KV, tensors []Tensor) error {
	o := &writer{w: bufio.NewWriterSize(w, 1<<20)}
	o.u32(magic)
	o.u32(version)
	o.u64(uint64(len(tensors)))
	o.u64(uint64(len(meta)))
	seen := map[string]bool{}
	for _, kv := range meta {
		if align, ok := kv.Value.(uint32); kv.Key == keyAlignment && (!ok || align != writeAlign) {
			return fmt.Errorf("gguf: write: "+keyAlignment+" is %v, this package aligns to %d: %w", kv.Value, writeAlign, ErrUnsupported)
		}
		if seen[kv.Key] {
			return fmt.Errorf("gguf: write: key %q is given twice", kv.Key)
		}
		seen[kv.Key] = true
		o.str(kv.Key)
		if err := o.value(kv.Value); err != nil {
			return fmt.Errorf("gguf: write key %q: %w", kv.Key, err)
		}
	}
	var off uint64
	clear(seen)
	for _, t := range tensors {
		if seen[t.Name] {
			return fmt.Errorf("gguf: write: tensor %q is given twice", t.Name)
		}
		seen[t.Name] = true
		size, err := t.check()
		if err != nil {
			return fmt.Errorf("gguf: write tensor %q: %w", t.Name, err)
		}
		o.str(t.Name)
		o.u32(uint32(len(t.Shape)))
		for i := len(t.Shape) - 1; i >= 0; i-- {
			o.u64(uint64(t.Shape[i]))
		}
		o.u32(uint32(t.Type))
		o.u64(off)
		off += (size + writeAlign - 1) / writeAlign * writeAlign
	}
	for _, t := range tensors {
		o.align()
		if err := o.tensor(&t); err != nil {
			return fmt.Errorf("gguf: write tensor %q: %w", t.Name, err)
		}
	}
	o.align()
	if o.err == nil {
		o.err = o.w.Flush()
	}
	if o.err != nil {
		return fmt.Errorf("gguf: write: %w", o.err)
	}
	return nil
}

func (t *Tensor) check() (uint64, error) {
	if slices.ContainsFunc(t.Shape, func(d int) bool { return d < 1 }) {
		return 0, fmt.Errorf("shape %v, want dimensions above 0", t.Shape)
	}
	n := t.elements()
	if len(t.Shape) == 0 || len(t.Shape) > maxDims || t.Load == nil && n != len(t.Data) {
		return 0, fmt.Errorf("shape %v with %d values, want 1 to %d dimensions and their product", t.Shape, len(t.Data), maxDims)
	}
	switch t.Type {
	case F32, F16, BF16, Q8_0:
	default:
		return 0, fmt.Errorf("type %v cannot be written: %w", t.Type, ErrUnsupported)
	}
	l := layouts[t.Type]
	if t.Shape[len(t.Shape)-1]%l.block != 0 {
		return 0, fmt.Errorf("rows of %d, %v has blocks of %d: %w", t.Shape[len(t.Shape)-1], t.Type, l.block, ErrUnsupported)
	}
	return uint64(n / l.block * l.bytes), nil
}

func (t *Tensor) elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

type writer struct {
	w   *bufio.Writer
	n   uint64
	err error
}

func (o *writer) write(b []byte) {
	if o.err == nil {
		_, o.err = o.w.Write(b)
	}
	o.n += uint64(len(b))
}

func (o *writer) u32(v uint32) { o.write(le.AppendUint32(nil, v)) }
func (o *writer) u64(v uint64) { o.write(le.AppendUint64(nil, v)) }

func (o *writer) str(s string) {
	o.u64(uint64(len(s)))
	o.write([]byte(s))
}

func (o *writer) align() {
	if r := o.n % writeAlign; r != 0 {
		o.write(make([]byte, writeAlign-r))
	}
}

func (o *writer) value(v any) error {
	switch v := v.(type) {
	case string:
		o.u32(tString)
		o.str(v)
		return nil
	case []string:
		o.u32(tArray)
		o.u32(tString)
		o.u64(uint64(len(v)))
		for _, s := range v {
			o.str(s)
		}
		return nil
	}
	t, n, ok := numbers(v)
	if !ok {
		return fmt.Errorf("values of type %T: %w", v, ErrUnsupported)
	}
	if n >= 0 {
		o.u32(tArray)
	}
	o.u32(t)
	if n >= 0 {
		o.u64(uint64(n))
	}
	b, err := binary.Append(nil, le, v)
	o.write(b)
	return err
}

// numbers returns the file's number of a value's type, and how many a slice has, -1 for a single value.
func numbers(v any) (t uint32, n int, ok bool) {
	switch v := v.(type) {
	case uint8:
		return tU8, -1, true
	case int8:
		return tI8, -1, true
	case uint16:
		return tU16, -1, true
	case int16:
		return tI16, -1, true
	case uint32:
		return tU32, -1, true
	case int32:
		return tI32, -1, true
	case float32:
		return tF32, -1, true
	case bool:
		return tBool, -1, true
	case uint64:
		return tU64, -1, true
	case int64:
		return tI64, -1, true
	case float64:
		return tF64, -1, true
	case []uint8:
		return tU8, len(v), true
	case []int8:
		return tI8, len(v), true
	case []uint16:
		return tU16, len(v), true
	case []int16:
		return tI16, len(v), true
	case []uint32:
		return tU32, len(v), true
	case []int32:
		return tI32, len(v), true
	case []float32:
		return tF32, len(v), true
	case []bool:
		return tBool, len(v), true
	case []uint64:
		return tU64, len(v), true
	case []int64:
		return tI64, len(v), true
	case []float64:
		return tF64, len(v), true
	}
	return 0, 0, false
}

func (o *writer) tensor(t *Tensor) error {
	x := t.Data
	if x == nil {
		var err error
		if x, err = t.Load(); err != nil {
			return err
		}
		if len(x) != t.elements() {
			return fmt.Errorf("shape %v with %d values", t.Shape, len(x))
		}
	}
	if err := representable(x, t.Type); err != nil {
		return err
	}
	const most = 1 << 14 // values at a time, whole blocks of every type
	b := make([]byte, 0, 4*most)
	for part := range slices.Chunk(x, most) {
		o.write(quantise(b, part, t.Type))
	}
	return nil
}
