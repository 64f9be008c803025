package safetensors

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/gopeft/peft/kernels"
)

// Tensor is one tensor to write.
type Tensor struct {
	Name  string
	DType string // F32, F16 or BF16; F32 when empty
	Shape []int
	Data  []float32
	// Load gives the values, when Data is nil, at the time they are written: a model need not be in memory whole.
	Load func() ([]float32, error)
}

// Write writes a file as Hugging Face's own library does: the wider element types first, then by name. No two tensors may
// have one name. Values that F16 cannot hold give ErrUnsupported. After an error what was written is of no use.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	tensors = slices.Clone(tensors)
	for i := range tensors {
		tensors[i].DType = cmp.Or(tensors[i].DType, "F32")
	}
	slices.SortStableFunc(tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(sizes[b.DType], sizes[a.DType]), cmp.Compare(a.DType, b.DType), cmp.Compare(a.Name, b.Name))
	})
	header, err := header(tensors, metadata)
	if err != nil {
		return fmt.Errorf("safetensors: write: %w", err)
	}
	o := bufio.NewWriterSize(w, 1<<20)
	if _, err := o.Write(header); err != nil {
		return fmt.Errorf("safetensors: write: %w", err)
	}
	for _, t := range tensors {
		if err := t.write(o); err != nil {
			return fmt.Errorf("safetensors: write %q: %w", t.Name, err)
		}
	}
	if err := o.Flush(); err != nil {
		return fmt.Errorf("safetensors: write: %w", err)
	}
	return nil
}

// header returns a file's beginning, up to the tensors' bytes.
func header(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	b := make([]byte, 8, 1<<12) // its length comes first
	entry := func(name string, value any) error {
		k, err := json.Marshal(name)
		if err != nil {
			return err
		}
		v, err := json.Marshal(value)
		sep := byte(',')
		if len(b) == 8 {
			sep = '{'
		}
		b = append(append(append(append(b, sep), k...), ':'), v...)
		return err
	}
	if len(metadata) > 0 {
		if err := entry("__metadata__", metadata); err != nil {
			return nil, err
		}
	}
	off, taken := 0, map[string]bool{"__metadata__": true}
	for _, t := range tensors {
		if taken[t.Name] {
			return nil, fmt.Errorf("the name %q is taken", t.Name)
		}
		taken[t.Name] = true
		size, ok := sizes[t.DType]
		if !ok {
			return nil, fmt.Errorf("%q: element type %q is not among F32, F16, BF16: %w", t.Name, t.DType, ErrUnsupported)
		}
		if slices.ContainsFunc(t.Shape, func(d int) bool { return d < 0 }) || t.Data != nil && len(t.Data) != t.elements() {
			return nil, fmt.Errorf("%q: shape %v with %d values", t.Name, t.Shape, len(t.Data))
		}
		end := off + size*t.elements()
		if err := entry(t.Name, struct {
			DType   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}{t.DType, append([]int{}, t.Shape...), [2]int{off, end}}); err != nil {
			return nil, err
		}
		off = end
	}
	if len(b) == 8 {
		b = append(b, '{')
	}
	b = append(b, '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
	return b, nil
}

func (t *Tensor) elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

func (t *Tensor) write(w io.Writer) error {
	x := t.Data
	if x == nil && t.Load != nil {
		var err error
		if x, err = t.Load(); err != nil {
			return err
		}
	}
	if len(x) != t.elements() {
		return fmt.Errorf("shape %v with %d values", t.Shape, len(x))
	}
	if t.DType == "F16" {
		for i, v := range x {
			if !(math.Abs(float64(v)) <= kernels.MaxF16) {
				return fmt.Errorf("value %d is %g, F16 holds up to ±%d: %w", i, v, kernels.MaxF16, ErrUnsupported)
			}
		}
	}
	const most = 1 << 14 // values at a time
	b, half := make([]byte, 0, 4*most), make([]uint16, most)
	for part := range slices.Chunk(x, most) {
		b, half = b[:0], half[:len(part)]
		switch t.DType {
		case "F32":
			for _, v := range part {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
			}
			half = half[:0]
		case "F16":
			kernels.ToF16(half, part)
		case "BF16":
			kernels.ToBF16(half, part)
		}
		for _, v := range half {
			b = binary.LittleEndian.AppendUint16(b, v)
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}
