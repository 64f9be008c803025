package peer

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

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

	once    sync.Once
	typical typical // of Samples, made when it is asked for
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

// Score returns what the gate makes of a sample, as a Sampler on the same router takes it: nats, against the other text that
// explains the sample best. It is 0 of nothing.
func (g *Gate) Score(s Sample) float64 {
	least := math.Inf(1)
	for k := range g.Odds {
		least = min(least, g.against(k, s))
	}
	return least
}

// Above reports whether the sample scores more than a threshold. Of a sample that does not, it mostly looks at one other text.
func (g *Gate) Above(s Sample, threshold float64) bool {
	for k := range g.Odds {
		if !(g.against(k, s) > threshold) {
			return false
		}
	}
	return true
}

// against returns what speaks for the set against one other text: the mean over the selections, then over the layers.
func (g *Gate) against(k int, s Sample) (nats float64) {
	for i, hits := range s {
		var sum, n float64
		odds := g.Odds[k][i]
		for _, h := range hits {
			sum += float64(h.Count) * float64(odds[h.Cell])
			n += float64(h.Count)
		}
		nats += sum / max(1, n)
	}
	return nats / float64(len(s))
}

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
	for _, l := range r.Layers {
		block, size := number(), number()
		if block != l.Block {
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
