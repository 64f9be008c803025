package peer

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// Gate scores how much a text looks like one set's own data, by the cells that its tokens select while the base alone reads
// it: a linear discriminant against background text and against each other text that was known when it was made. Neither
// experts nor training have a part in it, and no gradient.
type Gate struct {
	Blocks  []int         // whose cells it looks at, ascending: the router's
	Counts  [][]uint32    // of each of Blocks, [cells]: the own data's selections
	Samples []Sample      // what some texts of the own data select, each by itself
	Odds    [][][]float32 // against each other text, for each of Blocks, [cells]: what a selection says, see discriminants
}

// NewGate makes a set's gate from its own data's selections, as Counter.Counts gives them, and from samples of it and of
// each other text that it is to be told apart from. Its error wraps ErrFewSamples when there are none of one of them.
func NewGate(r *retrieval.Router, counts [][]uint32, own []Sample, others ...[]Sample) (*Gate, error) {
	g := &Gate{Blocks: r.Blocks(), Counts: counts, Samples: own}
	if len(counts) != len(r.Layers) {
		return nil, fmt.Errorf("peer: gate: counts of %d layers, the router has %d", len(counts), len(r.Layers))
	}
	var err error
	g.Odds, err = discriminants(cellsOf(r), append([][]Sample{own}, others...))
	return g, err
}

func cellsOf(r *retrieval.Router) []int {
	cells := make([]int, len(r.Layers))
	for i, l := range r.Layers {
		cells[i] = l.Cells()
	}
	return cells
}

// Score returns what a gate makes of rows, as Judge.Rows gives them: nats, against the other text that explains
// the rows best. It is 0 of no rows.
func Score(rows [][]float64) float64 {
	if len(rows) == 0 {
		return 0
	}
	least := math.Inf(1)
	for k := range rows[0] {
		var sum float64
		for _, r := range rows {
			sum += r[k]
		}
		least = min(least, sum/float64(len(rows)))
	}
	return least
}

// Judge stands in a base's seam while it reads, adds nothing, and keeps what gates say of every token. One goroutine at a
// time may use it.
type Judge struct {
	// From and To bound the rows that are judged, counted over all that come by: [From, To), to the end when To is 0.
	From, To int

	router  *retrieval.Router
	pool    *kernels.Pool
	gates   []*Gate
	seen    map[int]int   // rows that came by, of each block
	rows    [][][]float64 // of each gate and judged row, what speaks against each other text, in nats
	routing retrieval.Routing
}

var _ llama.Seam = (*Judge)(nil)

// NewJudge returns a judge by those gates.
func NewJudge(r *retrieval.Router, p *kernels.Pool, gates ...*Gate) *Judge {
	return &Judge{router: r, pool: p, gates: gates, seen: map[int]int{}, rows: make([][][]float64, len(gates))}
}

// Forward weighs the cells selected for x: [tokens, hidden].
func (j *Judge) Forward(block int, _, x []float32, tokens int) error {
	l := j.router.Layer(block)
	if l == nil || !j.wants(block) {
		return nil
	}
	if len(x) < tokens*l.Hidden {
		return fmt.Errorf("peer: judge block %d: %d values for %d tokens of width %d", block, len(x), tokens, l.Hidden)
	}
	first := j.seen[block]
	j.seen[block] += tokens
	lo, hi := max(0, j.From-first), tokens
	if j.To > 0 {
		hi = min(hi, j.To-first)
	}
	if lo >= hi {
		return nil
	}
	l.Route(j.pool, &j.routing, x[lo*l.Hidden:hi*l.Hidden], hi-lo)
	picks := l.Heads * l.TopK
	for i, g := range j.gates {
		b := slices.Index(g.Blocks, block)
		if b < 0 {
			continue
		}
		for at := first + lo - j.From; len(j.rows[i]) < at+hi-lo; {
			j.rows[i] = append(j.rows[i], make([]float64, len(g.Odds)))
		}
		for k := range g.Odds {
			odds := g.Odds[k][b]
			if len(odds) != l.Cells() {
				return fmt.Errorf("peer: judge block %d: a gate with %d cells, the router has %d", block, len(odds), l.Cells())
			}
			for t := range hi - lo {
				var sum float64
				for _, c := range j.routing.Cells[t*picks : (t+1)*picks] {
					sum += float64(odds[c])
				}
				j.rows[i][first+lo-j.From+t][k] += sum / float64(picks*len(g.Blocks))
			}
		}
	}
	return nil
}

func (j *Judge) wants(block int) bool {
	return slices.ContainsFunc(j.gates, func(g *Gate) bool { return slices.Contains(g.Blocks, block) })
}

// Rows returns what a gate, by its place in NewJudge, says of each judged row against each other text: nats for an average
// selection.
func (j *Judge) Rows(gate int) [][]float64 { return j.rows[gate] }

const gateMagic = "peft-gate-2\n"

// Marshal returns the stored form.
func (g *Gate) Marshal() []byte {
	b := binary.AppendUvarint([]byte(gateMagic), uint64(len(g.Odds)))
	b = binary.AppendUvarint(b, uint64(len(g.Blocks)))
	for i, block := range g.Blocks {
		c := retrieval.MarshalCounts(g.Counts[i])
		b = binary.AppendUvarint(b, uint64(block))
		b = binary.AppendUvarint(b, uint64(len(c)))
		b = append(b, c...)
		for _, odds := range g.Odds {
			for _, o := range odds[i] {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(o))
			}
		}
	}
	b = binary.AppendUvarint(b, uint64(len(g.Samples)))
	for _, s := range g.Samples {
		b = appendSample(b, s)
	}
	return b
}

// UnmarshalGate reads what Marshal wrote and checks it against the router. Errors wrap ErrCorrupt.
func UnmarshalGate(data []byte, r *retrieval.Router) (*Gate, error) {
	bad := func(format string, a ...any) (*Gate, error) {
		return nil, fmt.Errorf("peer: gate: %s: %w", fmt.Sprintf(format, a...), ErrCorrupt)
	}
	if len(data) < len(gateMagic) || string(data[:len(gateMagic)]) != gateMagic {
		return bad("unknown format")
	}
	data = data[len(gateMagic):]
	number := func() int {
		v, n := binary.Uvarint(data)
		if n <= 0 || v > math.MaxInt32 {
			data = nil
			return -1
		}
		data = data[n:]
		return int(v)
	}
	texts, blocks := number(), number()
	if texts < 1 || blocks != len(r.Layers) || texts > len(data) {
		return bad("%d texts and %d blocks, the router has %d", texts, blocks, len(r.Layers))
	}
	g := &Gate{Odds: make([][][]float32, texts)}
	for range blocks {
		block, size := number(), number()
		l := r.Layer(block)
		if l == nil || slices.Contains(g.Blocks, block) {
			return bad("block %d, the router has %v", block, r.Blocks())
		}
		cells := l.Cells()
		if size < 0 || size > len(data) || (len(data)-size)/4/cells < texts {
			return bad("it is cut off in block %d", block)
		}
		counts, err := retrieval.UnmarshalCounts(data[:size], cells)
		if err != nil || len(counts) != cells {
			return bad("counts of block %d: %v", block, err)
		}
		data = data[size:]
		for k := range texts {
			odds := make([]float32, cells)
			for i := range odds {
				odds[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
			}
			if notFinite(odds) >= 0 {
				return bad("odds of block %d are no numbers", block)
			}
			g.Odds[k] = append(g.Odds[k], odds)
			data = data[4*cells:]
		}
		g.Blocks, g.Counts = append(g.Blocks, block), append(g.Counts, counts)
	}
	samples := number()
	if samples < 1 || samples > len(data) {
		return bad("%d samples", samples)
	}
	cells := cellsOf(r)
	for range samples {
		s, err := readSample(number, cells)
		if err != nil {
			return bad("%v", err)
		}
		g.Samples = append(g.Samples, s)
	}
	if len(data) > 0 {
		return bad("%d bytes too many", len(data))
	}
	return g, nil
}
