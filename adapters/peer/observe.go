package peer

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// Recorder stands in a base's seam while it reads background text, adds nothing, and keeps what retrieval.Calibrate needs
// of each block: the inputs of its feed-forward layer, and how large its outputs are. It implements retrieval.Source. One
// goroutine at a time may use it.
type Recorder struct {
	Hidden int
	Limit  int // tokens kept of each block
	blocks map[int]*recording
}

var (
	_ llama.Observer   = (*Recorder)(nil)
	_ retrieval.Source = (*Recorder)(nil)
	_ llama.Passing    = (*Counter)(nil)
	_ llama.Sited      = (*Training)(nil)
)

type recording struct {
	x       []float32
	tokens  int
	squares []float64 // [hidden] sums of the squares of the outputs
	outputs int       // tokens in squares
}

// NewRecorder returns a recorder for those blocks of a base of that width, which keeps the first limit tokens it sees.
func NewRecorder(blocks []int, hidden, limit int) *Recorder {
	r := &Recorder{Hidden: hidden, Limit: limit, blocks: map[int]*recording{}}
	for _, b := range blocks {
		r.blocks[b] = &recording{squares: make([]float64, hidden)}
	}
	return r
}

// Forward keeps x: [tokens, hidden].
func (r *Recorder) Forward(block int, _, x []float32, tokens int) error {
	b := r.blocks[block]
	if b == nil {
		return nil
	}
	if len(x) < tokens*r.Hidden {
		return fmt.Errorf("peer: record block %d: %d values for %d tokens of width %d", block, len(x), tokens, r.Hidden)
	}
	n := min(tokens, r.Limit-b.tokens)
	if b.x == nil {
		b.x = make([]float32, 0, r.Limit*r.Hidden)
	}
	b.x = append(b.x, x[:n*r.Hidden]...)
	b.tokens += n
	return nil
}

// ObserveFFN adds up the squares of a block's feed-forward output: [tokens, hidden], before any set's contribution. The
// base calls it when its seam has it.
func (r *Recorder) ObserveFFN(block int, out []float32, tokens int) {
	b := r.blocks[block]
	if b == nil {
		return
	}
	for t := range tokens {
		for j, v := range out[t*r.Hidden : (t+1)*r.Hidden] {
			b.squares[j] += float64(v) * float64(v)
		}
	}
	b.outputs += tokens
}

// Blocks returns the blocks that are recorded, ascending.
func (r *Recorder) Blocks() []int { return slices.Sorted(maps.Keys(r.blocks)) }

// Full reports whether every block has as many tokens as are kept.
func (r *Recorder) Full() bool {
	for _, b := range r.blocks {
		if b.tokens < r.Limit {
			return false
		}
	}
	return true
}

// Sample implements retrieval.Source.
func (r *Recorder) Sample(block int) (retrieval.Sample, error) {
	b := r.blocks[block]
	if b == nil {
		return retrieval.Sample{}, fmt.Errorf("peer: block %d was not recorded", block)
	}
	s := retrieval.Sample{X: b.x, Tokens: b.tokens}
	if b.outputs > 0 {
		s.OutRMS = make([]float32, r.Hidden)
		for j, q := range b.squares {
			s.OutRMS[j] = float32(math.Sqrt(q / float64(b.outputs)))
		}
	}
	return s, nil
}

// Counter stands in a base's seam while it reads a set's data, adds nothing beyond what the sets of With add, and counts
// which cells are selected. One goroutine at a time may use it.
type Counter struct {
	// With, when not nil, are sets that are on meanwhile.
	With    *Stack
	router  *retrieval.Router
	pool    *kernels.Pool
	layers  map[int]*retrieval.Counter
	routing retrieval.Routing
}

// NewCounter returns a counter of zeros.
func NewCounter(r *retrieval.Router, p *kernels.Pool) *Counter {
	c := &Counter{router: r, pool: p, layers: map[int]*retrieval.Counter{}}
	for _, l := range r.Layers {
		c.layers[l.Block] = l.NewCounter()
	}
	return c
}

// Forward counts the selections for x: [tokens, hidden]. What With does at linear layers is for Begin.
func (c *Counter) Forward(block int, y, x []float32, tokens int) error {
	if c.With == nil {
		return c.count(block, x, tokens)
	}
	p := c.begin()
	defer p.End()
	return p.Forward(block, y, x, tokens)
}

// Begin implements llama.Passing.
func (c *Counter) Begin() llama.Pass {
	if c.With == nil {
		return counting{c}
	}
	return c.begin()
}

func (c *Counter) begin() *countingWith { return &countingWith{c.With.begin(), c} }

// counting is a pass of a Counter alone.
type counting struct{ *Counter }

// End implements llama.Pass.
func (counting) End() {}

// countingWith is a pass of a Counter and the sets that are on meanwhile.
type countingWith struct {
	*pass
	counter *Counter
}

// Forward implements llama.Seam.
func (c *countingWith) Forward(block int, y, x []float32, tokens int) error {
	if err := c.counter.count(block, x, tokens); err != nil {
		return err
	}
	return c.pass.Forward(block, y, x, tokens)
}

// count counts the selections for x.
func (c *Counter) count(block int, x []float32, tokens int) error {
	n := c.layers[block]
	if n == nil {
		return nil
	}
	l := c.router.Layer(block)
	if len(x) < tokens*l.Hidden {
		return fmt.Errorf("peer: count block %d: %d values for %d tokens of width %d", block, len(x), tokens, l.Hidden)
	}
	l.Route(c.pool, &c.routing, x, tokens)
	n.Add(&c.routing)
	return nil
}

// Counts returns, for each of the router's layers, the selections of each cell: [cells].
func (c *Counter) Counts() [][]uint32 {
	all := make([][]uint32, len(c.router.Layers))
	for i, l := range c.router.Layers {
		all[i] = c.layers[l.Block].Hits
	}
	return all
}

// Usage returns, for each of the router's layers, how evenly the cells were selected.
func (c *Counter) Usage() []retrieval.Usage {
	all := make([]retrieval.Usage, len(c.router.Layers))
	for i, l := range c.router.Layers {
		all[i] = c.layers[l.Block].Usage()
	}
	return all
}
