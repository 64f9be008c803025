package peer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/bottleneck"
	"github.com/gopeft/peft/adapters/ia3"
	"github.com/gopeft/peft/adapters/lora"
	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/retrieval"
)

// kinds are those without options that a stored set can have.
var kinds = []adapters.Kind{neuron.SiLU, neuron.GELU, ia3.Output, ia3.Input}

// KindOf returns the kind of that name, as Kind.Name gives it. The error wraps ErrUnknownKind.
func KindOf(name string) (adapters.Kind, error) {
	var names []string
	for _, k := range kinds {
		if k.Name() == name {
			return k, nil
		}
		names = append(names, k.Name())
	}
	for _, parse := range []func(string) (adapters.Kind, bool){lora.Parse, bottleneck.Parse} {
		if k, ok := parse(name); ok {
			return k, nil
		}
	}
	names = append(names, lora.Kind{Rank: 8, Alpha: 16}.Name(), bottleneck.Kind{Rank: 8, Act: bottleneck.ReLU}.Name())
	return nil, fmt.Errorf("peer: kind %q: %w; there are such as %q", name, ErrUnknownKind, names)
}

// Parts of a stored set; the tables' parts have the block's number in front, and where they are not beside a feed-forward
// layer the site.
const (
	headerPart    = "set.json"
	occupancyPart = "occupancy"
	countsPart    = "counts"
	hitsPart      = "hits"
	rowsPart      = "rows"
)

// part returns the name of a table's part.
func (l *layerHeader) part(name string) string {
	if l.Site == "" {
		return fmt.Sprintf("%03d/%s", l.Block, name)
	}
	return fmt.Sprintf("%03d.%s/%s", l.Block, l.Site, name)
}

// Formats: the first is of sets that have one kind of expert and all of them in cells beside feed-forward layers.
const (
	setFormat   = 1
	sitesFormat = 2
	chunkSize   = 512 << 10 // most bytes in one Write of rows
	chunkRows   = 128       // most rows in one
)

// header is the set's description. Kind and Width are those of format 1.
type header struct {
	Format int           `json:"format"`
	Kind   string        `json:"kind,omitempty"`
	Hidden int           `json:"hidden"`
	Width  int           `json:"width,omitempty"`
	Scale  float32       `json:"scale"`
	Router string        `json:"router_sha256"`
	Rows   string        `json:"rows"`
	Layers []layerHeader `json:"layers"`
}

// layerHeader is a table's description. The fields from Site on are those of format 2.
type layerHeader struct {
	Block   int     `json:"block"`
	Cells   int     `json:"cells"` // 0 for experts that are always on
	Experts int     `json:"experts"`
	Fresh   int     `json:"fresh,omitempty"`
	Cap     float32 `json:"cap,omitempty"`
	Site    string  `json:"site,omitempty"` // empty beside the feed-forward layer
	Kind    string  `json:"kind,omitempty"`
	In      int     `json:"in,omitempty"`
	Out     int     `json:"out,omitempty"`
	Scale   float32 `json:"scale,omitempty"`
}

// header returns the set's description; rows is their format.
func (s *Set) header(rows Format) header {
	h := header{Format: setFormat, Hidden: s.Hidden, Scale: s.Scale, Router: s.Router, Rows: rows.String()}
	for _, t := range s.Tables {
		l := layerHeader{Block: t.Block, Experts: t.Experts(), Fresh: t.Fresh, Cap: t.Cap, Kind: t.Kind.Name(), In: t.Dims.In, Out: t.Dims.Out, Scale: t.Scale}
		if t.Site != llama.Beside {
			l.Site = t.Site.String()
		}
		if !t.AlwaysOn() {
			l.Cells = t.Occupancy.Cells()
		}
		if l.Site != "" || l.Cells == 0 || l.Scale != 0 || l.Kind != s.Tables[0].Kind.Name() {
			h.Format = sitesFormat
		}
		h.Layers = append(h.Layers, l)
	}
	if h.Format == setFormat && len(h.Layers) > 0 {
		h.Kind, h.Width = h.Layers[0].Kind, s.Tables[0].Rows.Width
		for i := range h.Layers {
			h.Layers[i].Kind, h.Layers[i].In, h.Layers[i].Out = "", 0, 0
		}
	}
	return h
}

// Encode writes the set as named parts, rows in the format f: part begins a part, and each Write to what it returns is
// one chunk of at most 512 KiB. Rows go in chunks of at most 128, so that training a few leaves the other chunks shared
// with the revision before.
func (s *Set) Encode(part func(name string) (io.Writer, error), f Format) error {
	h := s.header(f)
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
	for i, t := range s.Tables {
		l := &h.Layers[i]
		var err error
		if !t.AlwaysOn() {
			err = put(l.part(occupancyPart), t.Occupancy.Marshal())
		}
		if err == nil && t.Counts != nil {
			err = put(l.part(countsPart), retrieval.MarshalCounts(t.Counts))
		}
		if err == nil && t.Hits != nil {
			err = put(l.part(hitsPart), retrieval.MarshalCounts(t.Hits))
		}
		var w io.Writer
		if err == nil {
			w, err = part(l.part(rowsPart))
		}
		if err == nil {
			err = writeRows(w, t.Rows, f)
		}
		if err != nil {
			return fmt.Errorf("peer: encode %s: block %d, %s: %w", s.Name, t.Block, t.Site, err)
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
	f, err := h.check()
	if err != nil {
		return nil, err
	}
	s := &Set{Hidden: h.Hidden, Scale: h.Scale, Router: h.Router}
	for _, l := range h.Layers {
		t, err := l.table(&h)
		if err == nil {
			err = l.read(t, threads, open, f)
		}
		if err != nil {
			return nil, fmt.Errorf("peer: decode: block %d: %w", l.Block, err)
		}
		if n := len(s.Tables); n > 0 && t.order(s.Tables[n-1]) <= 0 {
			return nil, fmt.Errorf("peer: decode %s: block %d, %s, after block %d: %w", headerPart, t.Block, t.Site, s.Tables[n-1].Block, ErrCorrupt)
		}
		s.Tables = append(s.Tables, t)
	}
	return s, nil
}

// check reports what of the header makes no sense, and returns the rows' format.
func (h *header) check() (Format, error) {
	bad := func(format string, a ...any) (Format, error) {
		return 0, fmt.Errorf("peer: decode %s: %s: %w", headerPart, fmt.Sprintf(format, a...), ErrCorrupt)
	}
	if h.Format != setFormat && h.Format != sitesFormat {
		return bad("format %d, this program reads %d and %d; it was probably written by a newer peft", h.Format, setFormat, sitesFormat)
	}
	f := BF16
	switch h.Rows {
	case F32.String():
		f = F32
	case BF16.String():
	default:
		return bad("rows in %q, want %q or %q", h.Rows, BF16, F32)
	}
	if h.Hidden < 1 || h.Hidden > maxWidth {
		return bad("width %d", h.Hidden)
	}
	if notFinite([]float32{h.Scale}) >= 0 {
		return bad("scale %g", h.Scale)
	}
	return f, nil
}

// maxWidth bounds the widths of layers and blocks' numbers, and maxRow the values of an expert.
const maxWidth, maxRow = 1 << 20, 1 << 25

// table returns the table without its parts.
func (l *layerHeader) table(h *header) (*Table, error) {
	bad := func(format string, a ...any) (*Table, error) {
		return nil, fmt.Errorf("%s: %s: %w", headerPart, fmt.Sprintf(format, a...), ErrCorrupt)
	}
	t := &Table{Block: l.Block, Fresh: l.Fresh, Cap: l.Cap, Scale: l.Scale, Dims: adapters.Dims{In: l.In, Out: l.Out}}
	kind := l.Kind
	if h.Format == setFormat {
		if l.Site != "" || l.Kind != "" || l.In != 0 || l.Out != 0 || l.Scale != 0 || l.Cells < 1 {
			return bad("format %d has no such tables", h.Format)
		}
		kind, t.Dims = h.Kind, adapters.Dims{In: h.Hidden, Out: h.Hidden}
	}
	var err error
	if t.Kind, err = KindOf(kind); err != nil {
		return nil, err
	}
	if l.Site != "" {
		if t.Site, err = llama.ParseSite(l.Site); err != nil || t.Site == llama.Beside {
			return bad("site %q", l.Site)
		}
	}
	if l.Block < 0 || l.Block > maxWidth || l.Cells < 0 || l.Cells > retrieval.MaxSubKeys*retrieval.MaxSubKeys || l.Experts < 1 || l.Experts > retrieval.MaxExperts {
		return bad("%d experts in %d cells", l.Experts, l.Cells)
	}
	if t.Dims.In < 1 || t.Dims.In > 2*maxWidth || t.Dims.Out < 1 || t.Dims.Out > maxWidth || notFinite([]float32{l.Scale}) >= 0 {
		return bad("experts from width %d to %d, scale %g", l.In, l.Out, l.Scale)
	}
	if port := t.Kind.Port(); port == adapters.BothOut && t.Dims.In <= t.Dims.Out || (port == adapters.OutOut || port == adapters.InIn) && t.Dims.In != t.Dims.Out {
		return bad("experts of kind %s from width %d to %d", kind, t.Dims.In, t.Dims.Out)
	}
	w := t.Kind.Width(t.Dims)
	if w < 1 || w > maxRow || h.Format == setFormat && w != h.Width {
		return bad("rows of %d values for experts of kind %s and width %d", h.Width, kind, h.Hidden)
	}
	t.Rows.Width = w
	return t, nil
}

// read reads the table's parts.
func (l *layerHeader) read(t *Table, threads int, open func(name string) (io.Reader, error), f Format) error {
	if l.Cells > 0 {
		b, err := readPart(open, l.part(occupancyPart))
		if err != nil {
			return err
		}
		if t.Occupancy, err = retrieval.UnmarshalOccupancy(b, l.Cells, l.Experts); err != nil {
			return errors.Join(err, ErrCorrupt)
		}
		if t.Counts, err = readCounts(open, l.part(countsPart), l.Cells); err != nil {
			return err
		}
	}
	var err error
	if t.Hits, err = readCounts(open, l.part(hitsPart), l.Experts); err != nil {
		return err
	}
	name := l.part(rowsPart)
	r, err := open(name)
	if err != nil {
		return fmt.Errorf("part %s: %w", name, err)
	}
	if r == nil {
		return fmt.Errorf("part %s is missing: %w", name, ErrCorrupt)
	}
	if t.Rows, err = readRows(threads, r, l.Experts, t.Rows.Width, f); err != nil {
		return fmt.Errorf("part %s: %w", name, err)
	}
	return nil
}

// readCounts reads n counts; nil when there is no such part.
func readCounts(open func(name string) (io.Reader, error), name string, n int) ([]uint32, error) {
	r, err := open(name)
	if err != nil {
		return nil, fmt.Errorf("part %s: %w", name, err)
	}
	if r == nil {
		return nil, nil
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("part %s: %w", name, err)
	}
	counts, err := retrieval.UnmarshalCounts(b, n)
	if err != nil {
		return nil, errors.Join(err, ErrCorrupt)
	}
	return counts, nil
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
