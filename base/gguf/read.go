package gguf

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/gopeft/peft/base/mapped"
)

const (
	magic    = 0x46554747 // "GGUF" read as a little-endian number
	version  = 3
	maxDims  = 4
	maxDepth = 4 // of arrays in arrays

	keyAlignment = "general.alignment"
)

// File is an open GGUF file, or the several files of a model that is split.
type File struct {
	// Meta is the metadata: bool, int and float types, string, and []any-free typed slices for arrays.
	Meta    map[string]any
	tensors []TensorInfo
	byName  map[string]int
	parts   []part // one, or those of a split model
}

// part is the content of a file.
type part struct {
	data   []byte
	mapped *mapped.File // nil for a file that was in memory
}

// Open maps the file at path and reads its directory. Of a model that is split over several files, any of them opens all, as
// one File that says nothing of the split: they are beside it, NAME-00001-of-00003.gguf and so on. Errors wrap ErrCorrupt,
// ErrUnsupported or, where a file is missing, os.ErrNotExist.
func Open(path string) (*File, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	if n, err := f.Int(keySplitCount); err == nil && n < 2 || errors.Is(err, ErrNotFound) {
		for _, key := range []string{keySplitNo, keySplitCount, keySplitTensors} {
			delete(f.Meta, key)
		}
		return f, nil
	}
	return openParts(f, path)
}

// openFile opens one file, whether or not it is a part.
func openFile(path string) (*File, error) {
	const header = 24 // bytes
	m, err := mapped.Open(path, header)
	if errors.Is(err, mapped.ErrShort) {
		return nil, fmt.Errorf("gguf: too few bytes for a header: %w: %w", err, ErrCorrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	g, err := Parse(m.Bytes())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("gguf: %s: %w", path, err), m.Close())
	}
	g.parts[0].mapped = m
	return g, nil
}

// Close unmaps the file. Slices of Raw must not be used afterwards.
func (f *File) Close() error {
	var err error
	for i := range f.parts {
		if p := &f.parts[i]; p.mapped != nil {
			err = errors.Join(err, p.mapped.Close())
			*p = part{}
		}
	}
	return err
}

// Forget lets go of the memory of what was read so far; reading it again works.
func (f *File) Forget() {
	for _, p := range f.parts {
		if p.mapped != nil {
			p.mapped.Forget()
		}
	}
}

// Parse reads one file that is in memory; the result keeps b.
func Parse(b []byte) (*File, error) {
	r := &reader{b: b}
	if r.u32() != magic {
		return nil, fmt.Errorf("does not begin with GGUF: %w", ErrCorrupt)
	}
	if v := r.u32(); r.err == nil && v != version {
		return nil, fmt.Errorf("GGUF version %d, this program reads %d: %w", v, version, ErrUnsupported)
	}
	nt, nk := r.u64(), r.u64()
	if r.err != nil {
		return nil, r.err
	}
	// The smallest key takes 8+4+1 bytes, the smallest tensor 8+4+4+8.
	if left := uint64(len(b)); nk > left/13 || nt > left/24 {
		return nil, fmt.Errorf("%d tensors and %d keys cannot stand in %d bytes: %w", nt, nk, left, ErrCorrupt)
	}
	f := &File{Meta: make(map[string]any, nk), byName: make(map[string]int, nt), parts: []part{{data: b}}}
	for i := range nk {
		key := r.str()
		v := r.value(r.u32(), 0)
		if r.err != nil {
			return nil, fmt.Errorf("key %d (%q): %w", i, clip(key), r.err)
		}
		if _, twice := f.Meta[key]; twice {
			return nil, fmt.Errorf("key %q stands twice: %w", clip(key), ErrCorrupt)
		}
		f.Meta[key] = v
	}
	if err := f.readTensors(r, nt); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) readTensors(r *reader, n uint64) error {
	align := uint64(32)
	if v, ok := f.Meta[keyAlignment]; ok {
		a, ok := v.(uint32)
		if !ok || a == 0 || a%8 != 0 || a > 1<<20 {
			return fmt.Errorf(keyAlignment+" is %v, want a multiple of 8: %w", v, ErrCorrupt)
		}
		align = uint64(a)
	}
	for i := range n {
		t, err := r.tensor()
		if err != nil {
			return fmt.Errorf("tensor %d (%q): %w", i, clip(t.Name), err)
		}
		if _, twice := f.byName[t.Name]; twice {
			return fmt.Errorf("tensor %q stands twice: %w", clip(t.Name), ErrCorrupt)
		}
		if uint64(t.Offset)%align != 0 {
			return fmt.Errorf("tensor %q begins at %d, not a multiple of %d: %w", t.Name, t.Offset, align, ErrCorrupt)
		}
		f.byName[t.Name] = len(f.tensors)
		f.tensors = append(f.tensors, t)
	}
	start := (uint64(r.at) + align - 1) / align * align
	size := uint64(len(f.parts[0].data))
	for i := range f.tensors {
		t := &f.tensors[i]
		if o := start + uint64(t.Offset); o < start || o > size || uint64(t.Bytes) > size-o {
			return fmt.Errorf("tensor %q takes %d bytes at %d, the file has %d (truncated download?): %w", t.Name, t.Bytes, start+uint64(t.Offset), size, ErrCorrupt)
		}
		t.Offset += int64(start)
	}
	return nil
}

func (r *reader) tensor() (TensorInfo, error) {
	t := TensorInfo{Name: r.str()}
	nd := r.u32()
	if r.err == nil && (nd == 0 || nd > maxDims) {
		return t, fmt.Errorf("%d dimensions, want 1 to %d: %w", nd, maxDims, ErrCorrupt)
	}
	elements := uint64(1)
	for range nd {
		d := r.u64()
		if r.err != nil {
			return t, r.err
		}
		hi, lo := bits.Mul64(elements, d)
		if d == 0 || hi != 0 || lo > math.MaxInt64/8 {
			return t, fmt.Errorf("a dimension of %d: %w", d, ErrCorrupt)
		}
		elements = lo
		t.Shape = append([]int{int(d)}, t.Shape...)
	}
	t.Type = Type(r.u32())
	off := r.u64()
	if r.err != nil {
		return t, r.err
	}
	l, ok := layouts[t.Type]
	if !ok {
		return t, fmt.Errorf("quantisation %v is not among %s: %w", t.Type, knownTypes(), ErrUnsupported)
	}
	if row := t.Shape[len(t.Shape)-1]; row%l.block != 0 {
		return t, fmt.Errorf("rows of %d elements, %v has blocks of %d: %w", row, t.Type, l.block, ErrCorrupt)
	}
	blocks := elements / uint64(l.block)
	if hi, n := bits.Mul64(blocks, uint64(l.bytes)); hi != 0 || n > math.MaxInt64 || off > math.MaxInt64/2 {
		return t, fmt.Errorf("%d elements at %d: %w", elements, off, ErrCorrupt)
	}
	t.Bytes, t.Offset = int64(blocks)*int64(l.bytes), int64(off)
	return t, nil
}

// Tensors returns the tensors in the file's order.
func (f *File) Tensors() []TensorInfo { return f.tensors }

// Info returns the tensor of that name.
func (f *File) Info(name string) (TensorInfo, bool) {
	i, ok := f.byName[name]
	if !ok {
		return TensorInfo{}, false
	}
	return f.tensors[i], true
}

// Raw returns a tensor's bytes as stored.
func (f *File) Raw(name string) ([]byte, error) {
	t, ok := f.Info(name)
	if !ok {
		return nil, fmt.Errorf("tensor %q: %w", name, ErrNotFound)
	}
	return f.parts[t.part].data[t.Offset : t.Offset+t.Bytes : t.Offset+t.Bytes], nil
}

// Tensor returns a tensor widened to f32, and its shape, the slowest dimension first.
func (f *File) Tensor(name string) ([]float32, []int, error) {
	raw, err := f.Raw(name)
	if err != nil {
		return nil, nil, err
	}
	t, _ := f.Info(name)
	dst := make([]float32, t.Elements())
	layouts[t.Type].widen(dst, raw)
	return dst, t.Shape, nil
}

// Rows returns a function that widens one row of a matrix, and the matrix's shape. The function may be used from several
// goroutines until the file is closed.
func (f *File) Rows(name string) (row func(dst []float32, i int), shape []int, err error) {
	raw, err := f.Raw(name)
	if err != nil {
		return nil, nil, err
	}
	t, _ := f.Info(name)
	l := layouts[t.Type]
	if len(t.Shape) != 2 || t.Shape[1]%l.block != 0 {
		return nil, nil, fmt.Errorf("tensor %q of shape %v and type %v has no rows to read one by one: %w", name, t.Shape, t.Type, ErrUnsupported)
	}
	size := t.Shape[1] / l.block * l.bytes
	return func(dst []float32, i int) { l.widen(dst[:t.Shape[1]], raw[i*size:(i+1)*size]) }, t.Shape, nil
}
