package peer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/retrieval"
)

// kinds are those a stored set can have.
var kinds = []adapters.Kind{neuron.SiLU, neuron.GELU}

// KindOf returns the kind of that name. The error wraps ErrUnknownKind.
func KindOf(name string) (adapters.Kind, error) {
	var names []string
	for _, k := range kinds {
		if k.Name() == name {
			return k, nil
		}
		names = append(names, k.Name())
	}
	return nil, fmt.Errorf("peer: kind %q: %w; there are %q", name, ErrUnknownKind, names)
}

// Parts of a stored set; the layers' parts have the block's number in front.
const (
	headerPart    = "set.json"
	occupancyPart = "%03d/occupancy"
	countsPart    = "%03d/counts"
	rowsPart      = "%03d/rows"
)

const (
	setFormat = 1
	chunkSize = 512 << 10 // most bytes in one Write of rows
	chunkRows = 128       // most rows in one
)

// header is the set's description.
type header struct {
	Format int           `json:"format"`
	Kind   string        `json:"kind"`
	Hidden int           `json:"hidden"`
	Width  int           `json:"width"`
	Scale  float32       `json:"scale"`
	Router string        `json:"router_sha256"`
	Rows   string        `json:"rows"`
	Layers []layerHeader `json:"layers"`
}

type layerHeader struct {
	Block   int `json:"block"`
	Cells   int `json:"cells"`
	Experts int `json:"experts"`
}

// Encode writes the set as named parts, rows in the format f: part begins a part, and each Write to what it returns is
// one chunk of at most 512 KiB. Rows go in chunks of at most 128, so that training a few leaves the other chunks shared
// with the revision before.
func (s *Set) Encode(part func(name string) (io.Writer, error), f Format) error {
	h := header{Format: setFormat, Kind: s.Kind.Name(), Hidden: s.Hidden, Width: s.Kind.Width(s.Hidden), Scale: s.Scale, Router: s.Router, Rows: f.String()}
	for _, t := range s.Tables {
		h.Layers = append(h.Layers, layerHeader{t.Block, t.Occupancy.Cells(), t.Occupancy.Experts()})
	}
	j, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("peer: encode %s: %w", s.Name, err)
	}
	put := func(name string, b []byte) error {
		w, err := part(name)
		if err != nil {
			return err
		}
		for len(b) > 0 {
			n := min(len(b), chunkSize)
			if _, err := w.Write(b[:n]); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	}
	if err := put(headerPart, j); err != nil {
		return fmt.Errorf("peer: encode %s: %w", s.Name, err)
	}
	for _, t := range s.Tables {
		err := put(fmt.Sprintf(occupancyPart, t.Block), t.Occupancy.Marshal())
		if err == nil && t.Counts != nil {
			err = put(fmt.Sprintf(countsPart, t.Block), retrieval.MarshalCounts(t.Counts))
		}
		var w io.Writer
		if err == nil {
			w, err = part(fmt.Sprintf(rowsPart, t.Block))
		}
		if err == nil {
			err = writeRows(w, t.Rows, f)
		}
		if err != nil {
			return fmt.Errorf("peer: encode %s: block %d: %w", s.Name, t.Block, err)
		}
	}
	return nil
}

// rowsInChunk is how many rows of so many bytes Encode writes at a time.
func rowsInChunk(rowBytes int) int { return max(1, min(chunkRows, chunkSize/rowBytes)) }

func writeRows(w io.Writer, r Rows, f Format) error {
	rowBytes := r.Width * f.bytes()
	buf := make([]byte, 0, rowsInChunk(rowBytes)*rowBytes)
	one, row := NewRows(1, r.Width, f), make([]float32, r.Width)
	for i := range r.Len() {
		v := r.Row(i, row)
		if j := notFinite(v); j >= 0 {
			return fmt.Errorf("value %d of expert %d is %g", j, i, v[j])
		}
		stored := one
		if r.Format == f {
			stored = r.slice(i)
		} else {
			one.Set(0, v)
		}
		buf = stored.appendTo(buf)
		if len(buf) == cap(buf) || i == r.Len()-1 {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	return nil
}

// slice returns the table of row i alone.
func (r Rows) slice(i int) Rows {
	lo, hi := i*r.Width, (i+1)*r.Width
	if r.Format == F32 {
		return Rows{Format: F32, Width: r.Width, F32: r.F32[lo:hi]}
	}
	return Rows{Format: BF16, Width: r.Width, BF16: r.BF16[lo:hi]}
}

// appendTo appends the values, little-endian.
func (r Rows) appendTo(buf []byte) []byte {
	for _, x := range r.F32 {
		buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
	}
	for _, x := range r.BF16 {
		buf = append(buf, byte(x), byte(x>>8))
	}
	return buf
}

func notFinite(v []float32) int {
	for i, x := range v {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return i
		}
	}
	return -1
}

// Decode reads what Encode wrote, keeping rows in their stored format: open returns a reader of the part of that name, or
// nil and no error when there is no such part. Rows of a reader that is a SizedReaderAt are read by so many threads. Name and
// Revision are left to the caller. Errors wrap ErrCorrupt or ErrUnknownKind, or are open's own. A set that decodes still has
// to pass Check with its router.
func Decode(threads int, open func(name string) (io.Reader, error)) (*Set, error) {
	r, err := open(headerPart)
	if err != nil {
		return nil, fmt.Errorf("peer: decode: %w", err)
	}
	if r == nil {
		return nil, fmt.Errorf("peer: decode: part %s is missing: %w", headerPart, ErrCorrupt)
	}
	var h header
	dec := json.NewDecoder(io.LimitReader(r, 16<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil {
		return nil, fmt.Errorf("peer: decode %s: %w: %w", headerPart, ErrCorrupt, err)
	}
	s, f, err := h.set()
	if err != nil {
		return nil, err
	}
	for _, l := range h.Layers {
		t, err := l.decode(threads, open, h.Width, f)
		if err != nil {
			return nil, fmt.Errorf("peer: decode: block %d: %w", l.Block, err)
		}
		s.Tables = append(s.Tables, t)
	}
	return s, nil
}

// set checks the header's sense.
func (h *header) set() (*Set, Format, error) {
	bad := func(format string, a ...any) (*Set, Format, error) {
		return nil, 0, fmt.Errorf("peer: decode %s: %s: %w", headerPart, fmt.Sprintf(format, a...), ErrCorrupt)
	}
	if h.Format != setFormat {
		return bad("format %d, this program reads %d; it was probably written by a newer peft", h.Format, setFormat)
	}
	kind, err := KindOf(h.Kind)
	if err != nil {
		return nil, 0, err
	}
	f := BF16
	switch h.Rows {
	case F32.String():
		f = F32
	case BF16.String():
	default:
		return bad("rows in %q, want %q or %q", h.Rows, BF16, F32)
	}
	if h.Hidden < 1 || h.Hidden > 1<<20 || h.Width != kind.Width(h.Hidden) {
		return bad("rows of %d values for width %d", h.Width, h.Hidden)
	}
	if notFinite([]float32{h.Scale}) >= 0 {
		return bad("scale %g", h.Scale)
	}
	last := -1
	for _, l := range h.Layers {
		if l.Block <= last || l.Block > 1<<20 || l.Cells < 1 || l.Cells > retrieval.MaxSubKeys*retrieval.MaxSubKeys || l.Experts < 1 || l.Experts > retrieval.MaxExperts {
			return bad("block %d with %d experts in %d cells, after block %d", l.Block, l.Experts, l.Cells, last)
		}
		last = l.Block
	}
	return &Set{Kind: kind, Hidden: h.Hidden, Scale: h.Scale, Router: h.Router}, f, nil
}

func (l layerHeader) decode(threads int, open func(name string) (io.Reader, error), width int, f Format) (*Table, error) {
	t := &Table{Block: l.Block}
	b, err := readPart(open, fmt.Sprintf(occupancyPart, l.Block))
	if err != nil {
		return nil, err
	}
	if t.Occupancy, err = retrieval.UnmarshalOccupancy(b, l.Cells, l.Experts); err != nil {
		return nil, errors.Join(err, ErrCorrupt)
	}
	name := fmt.Sprintf(countsPart, l.Block)
	r, err := open(name)
	if err != nil {
		return nil, fmt.Errorf("part %s: %w", name, err)
	}
	if r != nil {
		if b, err = io.ReadAll(r); err != nil {
			return nil, fmt.Errorf("part %s: %w", name, err)
		}
		if t.Counts, err = retrieval.UnmarshalCounts(b, l.Cells); err != nil {
			return nil, errors.Join(err, ErrCorrupt)
		}
	}
	name = fmt.Sprintf(rowsPart, l.Block)
	if r, err = open(name); err != nil {
		return nil, fmt.Errorf("part %s: %w", name, err)
	}
	if r == nil {
		return nil, fmt.Errorf("part %s is missing: %w", name, ErrCorrupt)
	}
	if t.Rows, err = readRows(threads, r, l.Experts, width, f); err != nil {
		return nil, fmt.Errorf("part %s: %w", name, err)
	}
	return t, nil
}

func readPart(open func(name string) (io.Reader, error), name string) ([]byte, error) {
	r, err := open(name)
	if err != nil {
		return nil, fmt.Errorf("part %s: %w", name, err)
	}
	if r == nil {
		return nil, fmt.Errorf("part %s is missing: %w", name, ErrCorrupt)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("part %s: %w", name, err)
	}
	return b, nil
}

// Parts is a stored set in memory, by the names of its parts.
type Parts map[string]*bytes.Buffer

// Part begins a part; it is for Encode.
func (p Parts) Part(name string) (io.Writer, error) {
	p[name] = new(bytes.Buffer)
	return p[name], nil
}

// Open is for Decode.
func (p Parts) Open(name string) (io.Reader, error) {
	if b := p[name]; b != nil {
		return bytes.NewReader(b.Bytes()), nil
	}
	return nil, nil
}
