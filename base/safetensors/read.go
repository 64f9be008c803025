package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/gopeft/peft/base/mapped"
	"github.com/gopeft/peft/kernels"
)

var (
	// ErrCorrupt reports a file that is truncated, damaged or not safetensors.
	ErrCorrupt = errors.New("safetensors file is corrupt")
	// ErrUnsupported reports an element type that this package does not read.
	ErrUnsupported = errors.New("not supported")
	// ErrNotFound reports a tensor that no file has.
	ErrNotFound = errors.New("not found in the safetensors files")
)

const (
	maxHeader = 100 << 20 // bytes, the format's own limit
	indexFile = "model.safetensors.index.json"
	oneFile   = "model.safetensors"
)

var sizes = map[string]int{"F32": 4, "F16": 2, "BF16": 2}

// Info describes one tensor.
type Info struct {
	Name  string
	DType string // F32, F16 or BF16
	Shape []int
	data  []byte
}

// File is one or several mapped files seen as one set of tensors.
type File struct {
	Metadata map[string]string
	tensors  map[string]Info
	maps     []*mapped.File
}

// Open maps one file.
func Open(path string) (*File, error) {
	f := &File{tensors: map[string]Info{}}
	if err := f.add(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// OpenDir maps a model directory: model.safetensors, or the shards that model.safetensors.index.json names.
func OpenDir(dir string) (*File, error) {
	b, err := os.ReadFile(filepath.Join(dir, indexFile))
	if errors.Is(err, os.ErrNotExist) {
		return Open(filepath.Join(dir, oneFile))
	}
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(b, &index); err != nil || len(index.WeightMap) == 0 {
		return nil, errors.Join(fmt.Errorf("safetensors: %s names no weights: %w", indexFile, ErrCorrupt), err)
	}
	var shards []string
	for _, s := range index.WeightMap {
		if s != filepath.Base(s) || s == "." || s == ".." {
			return nil, fmt.Errorf("safetensors: %s names shard %q outside the directory: %w", indexFile, s, ErrCorrupt)
		}
		if !slices.Contains(shards, s) {
			shards = append(shards, s)
		}
	}
	sort.Strings(shards)
	f := &File{tensors: map[string]Info{}}
	for _, s := range shards {
		if err := f.add(filepath.Join(dir, s)); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	for name := range index.WeightMap {
		if _, ok := f.tensors[name]; !ok {
			return nil, errors.Join(fmt.Errorf("safetensors: %s names tensor %q, which no shard has: %w", indexFile, name, ErrCorrupt), f.Close())
		}
	}
	return f, nil
}

func (f *File) add(path string) error {
	const header = 8 // bytes
	m, err := mapped.Open(path, header)
	if errors.Is(err, mapped.ErrShort) {
		return fmt.Errorf("safetensors: too few bytes for a header: %w: %w", err, ErrCorrupt)
	}
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	f.maps = append(f.maps, m)
	meta, list, err := parse(m.Bytes())
	if err != nil {
		return fmt.Errorf("safetensors: %s: %w", path, err)
	}
	f.Metadata = meta
	for _, t := range list {
		if _, twice := f.tensors[t.Name]; twice {
			return fmt.Errorf("safetensors: %s: tensor %q stands in two shards: %w", path, t.Name, ErrCorrupt)
		}
		f.tensors[t.Name] = t
	}
	return nil
}

// Close unmaps the files.
func (f *File) Close() error {
	var errs []error
	for _, m := range f.maps {
		errs = append(errs, m.Close())
	}
	f.maps, f.tensors = nil, nil
	return errors.Join(errs...)
}

// Forget lets go of the memory of what was read so far; reading it again works.
func (f *File) Forget() {
	for _, m := range f.maps {
		m.Forget()
	}
}

// parse reads a file's header. Duplicate names, gaps, overlaps and lengths that do not fit the shape are refused.
func parse(b []byte) (map[string]string, []Info, error) {
	if len(b) < 8 {
		return nil, nil, fmt.Errorf("%d bytes: %w", len(b), ErrCorrupt)
	}
	n := binary.LittleEndian.Uint64(b)
	if n > maxHeader || n > uint64(len(b)-8) {
		return nil, nil, fmt.Errorf("a header of %d bytes in a file of %d (truncated?): %w", n, len(b), ErrCorrupt)
	}
	data := b[8+n:]
	dec := json.NewDecoder(bytes.NewReader(b[8 : 8+n]))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, errors.Join(fmt.Errorf("the header is no JSON object: %w", ErrCorrupt), err)
	}
	meta, seen := map[string]string{}, map[string]bool{}
	var list []Info
	var spans [][2]uint64
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, nil, errors.Join(fmt.Errorf("header: %w", ErrCorrupt), err)
		}
		if seen[name] {
			return nil, nil, fmt.Errorf("tensor %q stands twice: %w", clip(name), ErrCorrupt)
		}
		seen[name] = true
		if name == "__metadata__" {
			if err := dec.Decode(&meta); err != nil {
				return nil, nil, fmt.Errorf("metadata: %w: %w", ErrCorrupt, err)
			}
			continue
		}
		info, span, err := entry(dec, name, data)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", clip(name), err)
		}
		list, spans = append(list, info), append(spans, span)
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, fmt.Errorf("header: %w: %w", ErrCorrupt, err)
	}
	if len(bytes.TrimSpace(b[8+int(dec.InputOffset()):8+n])) != 0 {
		return nil, nil, fmt.Errorf("the header goes on after its JSON object: %w", ErrCorrupt)
	}
	// By the end too: a tensor without elements begins where the next one does.
	slices.SortFunc(spans, func(a, b [2]uint64) int { return slices.Compare(a[:], b[:]) })
	var at uint64
	for _, s := range spans {
		if s[0] != at {
			return nil, nil, fmt.Errorf("tensors overlap or leave a gap at byte %d: %w", at, ErrCorrupt)
		}
		at = s[1]
	}
	if at != uint64(len(data)) {
		return nil, nil, fmt.Errorf("the tensors end at byte %d of %d (two files in one?): %w", at, len(data), ErrCorrupt)
	}
	return meta, list, nil
}

func entry(dec *json.Decoder, name string, data []byte) (Info, [2]uint64, error) {
	var e struct {
		DType   string   `json:"dtype"`
		Shape   []uint64 `json:"shape"`
		Offsets []uint64 `json:"data_offsets"`
	}
	var span [2]uint64
	if err := dec.Decode(&e); err != nil {
		return Info{}, span, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if e.DType == "" || e.Shape == nil || len(e.Offsets) != 2 {
		return Info{}, span, fmt.Errorf("dtype %q, shape %v, data_offsets %v, want all three and two offsets: %w", e.DType, e.Shape, e.Offsets, ErrCorrupt)
	}
	span = [2]uint64(e.Offsets)
	size, ok := sizes[e.DType]
	if !ok {
		return Info{}, span, fmt.Errorf("element type %q is not among F32, F16, BF16: %w", e.DType, ErrUnsupported)
	}
	info := Info{Name: name, DType: e.DType}
	want := uint64(size)
	for _, d := range e.Shape {
		hi, lo := bits.Mul64(want, d)
		if hi != 0 || lo > math.MaxInt64 || d > math.MaxInt64 {
			return info, span, fmt.Errorf("shape %v: %w", e.Shape, ErrCorrupt)
		}
		want = lo
		info.Shape = append(info.Shape, int(d))
	}
	lo, hi := span[0], span[1]
	if lo > hi || hi > uint64(len(data)) {
		return info, span, fmt.Errorf("bytes %d to %d of %d (truncated?): %w", lo, hi, len(data), ErrCorrupt)
	}
	if hi-lo != want {
		return info, span, fmt.Errorf("shape %v of %s takes %d bytes, the header gives %d: %w", e.Shape, e.DType, want, hi-lo, ErrCorrupt)
	}
	info.data = data[lo:hi]
	return info, span, nil
}

// clip shortens a name from a file for a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

// Names returns the tensors' names in order.
func (f *File) Names() []string {
	names := make([]string, 0, len(f.tensors))
	for n := range f.tensors {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Info returns the tensor of that name.
func (f *File) Info(name string) (Info, bool) {
	t, ok := f.tensors[name]
	return t, ok
}

// Raw returns a tensor's bytes as stored, little-endian.
func (f *File) Raw(name string) ([]byte, error) {
	t, ok := f.tensors[name]
	if !ok {
		return nil, fmt.Errorf("tensor %q: %w", name, ErrNotFound)
	}
	return t.data, nil
}

// Tensor returns a tensor widened to f32, and its shape.
func (f *File) Tensor(name string) ([]float32, []int, error) {
	t, ok := f.tensors[name]
	if !ok {
		return nil, nil, fmt.Errorf("tensor %q: %w", name, ErrNotFound)
	}
	x := make([]float32, len(t.data)/sizes[t.DType])
	t.widen(x, 0)
	return x, t.Shape, nil
}

// widen writes values of the tensor from the given one on.
func (t *Info) widen(x []float32, from int) {
	size := sizes[t.DType]
	for i := range x {
		switch b := t.data[(from+i)*size:]; t.DType {
		case "F32":
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(b))
		case "F16":
			x[i] = kernels.F16(binary.LittleEndian.Uint16(b))
		case "BF16":
			x[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16)
		}
	}
}

// Rows returns a function that widens one row of a matrix, and the matrix's shape. The function may be used from several
// goroutines until the file is closed.
func (f *File) Rows(name string) (row func(dst []float32, i int), shape []int, err error) {
	t, ok := f.tensors[name]
	if !ok {
		return nil, nil, fmt.Errorf("tensor %q: %w", name, ErrNotFound)
	}
	if len(t.Shape) != 2 {
		return nil, nil, fmt.Errorf("tensor %q of shape %v has no rows: %w", name, t.Shape, ErrUnsupported)
	}
	return func(dst []float32, i int) { t.widen(dst[:t.Shape[1]], i*t.Shape[1]) }, t.Shape, nil
}
