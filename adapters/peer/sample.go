package peer

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// Hit is a cell with how often it was selected.
type Hit struct{ Cell, Count uint32 }

// Sample is what one text selects: for each of the router's layers the cells, ascending.
type Sample [][]Hit

// NewSample returns the sample of selections as Counter.Counts gives them.
func NewSample(counts [][]uint32) Sample {
	s := make(Sample, len(counts))
	for i, c := range counts {
		s[i] = hitsOf(c)
	}
	return s
}

// hitsOf lists the cells that were selected: counts: [cells].
func hitsOf(counts []uint32) (all []Hit) {
	for c, n := range counts {
		if n > 0 {
			all = append(all, Hit{uint32(c), n})
		}
	}
	return all
}

// hits returns the sum of a layer's counts.
func (s Sample) hits(layer int) (n float64) {
	for _, h := range s[layer] {
		n += float64(h.Count)
	}
	return n
}

// Sampler stands in a base's seam while it reads, adds nothing, and keeps what tokens select. One goroutine at a time may
// use it.
type Sampler struct {
	// From and To bound the rows that are kept, counted over all that come by: [From, To), to the end when To is 0.
	From, To int

	router  *retrieval.Router
	pool    *kernels.Pool
	seen    []int      // rows that came by, of each layer
	cells   [][]uint32 // of each layer, those that the kept rows select: [rows, heads·k]
	routing retrieval.Routing
	counts  []uint32
}

var _ llama.Seam = (*Sampler)(nil)

// NewSampler returns a sampler of all rows.
func NewSampler(r *retrieval.Router, p *kernels.Pool) *Sampler {
	return &Sampler{router: r, pool: p, seen: make([]int, len(r.Layers)), cells: make([][]uint32, len(r.Layers))}
}

// Forward keeps the selections for x: [tokens, hidden].
func (s *Sampler) Forward(block int, _, x []float32, tokens int) error {
	at := slices.IndexFunc(s.router.Layers, func(l *retrieval.Layer) bool { return l.Block == block })
	if at < 0 {
		return nil
	}
	l := s.router.Layers[at]
	if len(x) < tokens*l.Hidden {
		return fmt.Errorf("peer: sample block %d: %d values for %d tokens of width %d", block, len(x), tokens, l.Hidden)
	}
	first := s.seen[at]
	s.seen[at] += tokens
	lo, hi := max(0, s.From-first), tokens
	if s.To > 0 {
		hi = min(hi, s.To-first)
	}
	if lo < hi {
		l.Route(s.pool, &s.routing, x[lo*l.Hidden:hi*l.Hidden], hi-lo)
		s.cells[at] = append(s.cells[at], s.routing.Cells[:(hi-lo)*l.Heads*l.TopK]...)
	}
	return nil
}

// Rows returns how many rows it kept of each layer.
func (s *Sampler) Rows() int {
	l := s.router.Layers[0]
	return len(s.cells[0]) / (l.Heads * l.TopK)
}

// Sample returns what the kept rows [lo, hi) select together.
func (s *Sampler) Sample(lo, hi int) Sample {
	sample := make(Sample, len(s.cells))
	for i, l := range s.router.Layers {
		picks := l.Heads * l.TopK
		sample[i] = s.hits(s.cells[i][lo*picks:hi*picks], l.Cells())
	}
	return sample
}

// hits counts cells, in their order: in a table, or by sorting where a table would have many more places than there are cells.
func (s *Sampler) hits(selected []uint32, cells int) (all []Hit) {
	if cells > 16*len(selected) {
		for _, c := range slices.Sorted(slices.Values(selected)) {
			if n := len(all); n == 0 || all[n-1].Cell != c {
				all = append(all, Hit{Cell: c})
			}
			all[len(all)-1].Count++
		}
		return all
	}
	s.counts = slices.Grow(s.counts[:0], cells)[:cells]
	clear(s.counts)
	for _, c := range selected {
		s.counts[c]++
	}
	return hitsOf(s.counts)
}

// appendSample appends a sample's stored form: for each layer how many cells, then each as the gap to the one before and its
// count.
func appendSample(b []byte, s Sample) []byte {
	for _, hits := range s {
		b = binary.AppendUvarint(b, uint64(len(hits)))
		last := uint32(0)
		for _, h := range hits {
			b = binary.AppendUvarint(b, uint64(h.Cell-last))
			b = binary.AppendUvarint(b, uint64(h.Count))
			last = h.Cell
		}
	}
	return b
}

// readSample reads what appendSample wrote, by number, which returns the next number or less than 0; cells are those of each
// layer.
func readSample(number func() int, cells []int) (Sample, error) {
	s := make(Sample, len(cells))
	for i, most := range cells {
		n := number()
		if n < 0 || n > most {
			return nil, fmt.Errorf("a sample of %d of %d cells", n, most)
		}
		last := 0
		for j := range n {
			gap, count := number(), number()
			last += gap
			if gap < min(1, j) || last >= most || count < 1 {
				return nil, fmt.Errorf("a sample with cell %d of %d, selected %d times", last, most, count)
			}
			s[i] = append(s[i], Hit{uint32(last), uint32(count)})
		}
	}
	return s, nil
}
