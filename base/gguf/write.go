package gguf

import (
	"bufio"
	"fmt"
	"io"
	"math"

	"github.com/gopeft/peft/kernels"
)

// KV is one metadata entry.
type KV struct {
	Key   string
	Value any // uint32, int32, float32, bool, string, uint64, []string, []int32, []float32
}

// Tensor is one tensor to write.
type Tensor struct {
	Name  string
	Shape []int // the slowest dimension first
	Type  Type  // F32, F16, BF16 or Q8_0
	Data  []float32
}

const writeAlign = 32

// largest is the greatest magnitude of the types that hold less than f32: a half, and a half times 127.
var largest = map[Type]float64{F16: 65504, Q8_0: 65504 * 127}

// Write writes a GGUF file with the entries in the order given. Q8_0 needs rows that are multiples of 32. What Parse would
// refuse, such as a name or key given twice, is refused here too, and so are values that F16 or Q8_0 cannot hold.
func Write(w io.Writer, meta []KV, tensors []Tensor) error {
	o := &writer{w: bufio.NewWriterSize(w, 1<<20)}
	o.u32(magic)
	o.u32(version)
	o.u64(uint64(len(tensors)))
	o.u64(uint64(len(meta)))
	seen := map[string]bool{}
	for _, kv := range meta {
		if align, ok := kv.Value.(uint32); kv.Key == "general.alignment" && (!ok || align != writeAlign) {
			return fmt.Errorf("gguf: write: general.alignment is %v, this package aligns to %d: %w", kv.Value, writeAlign, ErrUnsupported)
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
		o.tensor(&t)
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
	n := 1
	for _, d := range t.Shape {
		if d < 1 {
			return 0, fmt.Errorf("shape %v, want dimensions above 0", t.Shape)
		}
		n *= d
	}
	if len(t.Shape) == 0 || len(t.Shape) > maxDims || n != len(t.Data) {
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
	if most, ok := largest[t.Type]; ok {
		for i, v := range t.Data {
			if !(math.Abs(float64(v)) <= most) {
				return 0, fmt.Errorf("value %d is %g, %v holds up to ±%g: %w", i, v, t.Type, most, ErrUnsupported)
			}
		}
	}
	return uint64(n / l.block * l.bytes), nil
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

func (o *writer) u16(v uint16) { o.write(le.AppendUint16(nil, v)) }
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
	case uint32:
		o.u32(tU32)
		o.u32(v)
	case int32:
		o.u32(tI32)
		o.u32(uint32(v))
	case uint64:
		o.u32(tU64)
		o.u64(v)
	case float32:
		o.u32(tF32)
		o.u32(math.Float32bits(v))
	case bool:
		o.u32(tBool)
		b := byte(0)
		if v {
			b = 1
		}
		o.write([]byte{b})
	case string:
		o.u32(tString)
		o.str(v)
	case []string:
		o.head(tString, len(v))
		for _, s := range v {
			o.str(s)
		}
	case []int32:
		o.head(tI32, len(v))
		for _, x := range v {
			o.u32(uint32(x))
		}
	case []float32:
		o.head(tF32, len(v))
		for _, x := range v {
			o.u32(math.Float32bits(x))
		}
	default:
		return fmt.Errorf("values of type %T: %w", v, ErrUnsupported)
	}
	return nil
}

func (o *writer) head(t uint32, n int) {
	o.u32(tArray)
	o.u32(t)
	o.u64(uint64(n))
}

func (o *writer) tensor(t *Tensor) {
	switch t.Type {
	case F32:
		for _, x := range t.Data {
			o.u32(math.Float32bits(x))
		}
	case F16, BF16:
		h := make([]uint16, len(t.Data))
		if t.Type == F16 {
			kernels.ToF16(h, t.Data)
		} else {
			kernels.ToBF16(h, t.Data)
		}
		for _, x := range h {
			o.u16(x)
		}
	case Q8_0:
		for i := 0; i < len(t.Data); i += 32 {
			o.q8(t.Data[i : i+32])
		}
	}
}

// q8 writes one block of Q8_0: the scale as a half, then 32 signed bytes.
func (o *writer) q8(x []float32) {
	var m float32
	for _, v := range x {
		m = max(m, float32(math.Abs(float64(v))))
	}
	d := m / 127
	var h [1]uint16
	kernels.ToF16(h[:], []float32{d})
	o.u16(h[0])
	var q [32]byte
	if d != 0 {
		for i, v := range x {
			q[i] = byte(int8(math.RoundToEven(float64(v / d))))
		}
	}
	o.write(q[:])
}
