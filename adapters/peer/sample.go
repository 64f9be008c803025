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
		for cell, n := range c {
			if n > 0 {
				s[i] = append(s[i], Hit{uint32(cell), n})
			}
		}
	}
	return s
}

// hits returns the sum of a layer's counts.
func (s Sample) hits(layer int) (n float64) {
	for _, h := range s[layer] {
		n += float64(h.Count)
	}
	return n
}

// Sampler stands in a base's seam while it reads sequences, adds nothing, and keeps what each of them selects, but for its
// first token, whose cells say nothing (a transformer uses it as a sink of attention). One goroutine at a time may use it.
type Sampler struct {
	router  *retrieval.Router
	pool    *kernels.Pool
	lens    []int
	samples []Sample
	routing retrieval.Routing
	cells   []uint32
}

var _ llama.Seam = (*Sampler)(nil)

// NewSampler returns a sampler of one batch of sequences with those lengths.
func NewSampler(r *retrieval.Router, p *kernels.Pool, lens ...int) *Sampler {
	s := &Sampler{router: r, pool: p, lens: lens}
	for range lens {
		s.samples = append(s.samples, make(Sample, len(r.Layers)))
	}
	return s
}

// Samples returns those of the sequences, in their order.
func (s *Sampler) Samples() []Sample { return s.samples }

// Forward keeps the selections for x: [tokens, hidden].
func (s *Sampler) Forward(block int, _, x []float32, tokens int) error {
	at := slices.IndexFunc(s.router.Layers, func(l *retrieval.Layer) bool { return l.Block == block })
	if at < 0 {
		return nil
	}
	l, sum := s.router.Layers[at], 0
	for _, n := range s.lens {
		sum += n
	}
	if sum != tokens || len(x) < tokens*l.Hidden {
		return fmt.Errorf("peer: sample block %d: %d tokens in %d values of width %d, want %d tokens", block, tokens, len(x), l.Hidden, sum)
	}
	l.Route(s.pool, &s.routing, x, tokens)
	picks, row := l.Heads*l.TopK, 0
	for i, n := range s.lens {
		s.cells = append(s.cells[:0], s.routing.Cells[(row+min(1, n))*picks:(row+n)*picks]...)
		slices.Sort(s.cells)
		var hits []Hit
		for _, c := range s.cells {
			if len(hits) == 0 || hits[len(hits)-1].Cell != c {
				hits = append(hits, Hit{Cell: c})
			}
			hits[len(hits)-1].Count++
		}
		s.samples[i][at] = hits
		row += n
	}
	return nil
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
