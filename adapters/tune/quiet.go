package tune

import (
	"context"
	"fmt"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// Tokens of background text: how many are kept of each layer's inputs, and how many of them a step looks at.
const quietKept, quietBatch = 4096, 256

// quiet keeps the trained set from speaking where nothing was to be learned. To the loss it adds
//
//	weight · Σ layers  mean over background tokens and dimensions of (y/s)²
//
// where y is the set's contribution to what a background token had as x: [hidden], and s the layer's output scale. The
// inputs x are those of the base alone, recorded once, so that a step costs a few PEER layers and no pass of the base.
type quiet struct {
	weight float32
	seed   uint64
	t      *peer.Training // on the same rows as the run's, with routing of its own
	hidden int
	blocks []int
	tables []int            // of each block, the place among the set's tables of that beside it
	inputs map[int][]uint16 // of each block, [tokens, hidden] in bf16
	tokens int
	order  permutation
	x, y   []float32 // [quietBatch, hidden]
}

// newQuiet reads the background text with the base. It returns nil when there is none, or no weight, or when no experts
// stand beside feed-forward layers.
func newQuiet(ctx context.Context, m *llama.Model, t *peer.Training, seqs []Sequence, weight float64, seed uint64) (*quiet, error) {
	blocks, hidden := t.Blocks(), m.Config.Hidden
	if weight == 0 || len(seqs) == 0 || len(blocks) == 0 {
		return nil, nil
	}
	rec := peer.NewRecorder(blocks, hidden, quietKept)
	for _, s := range seqs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, err := m.ForwardTo(llama.One(s.Tokens, nil), rec, blocks[len(blocks)-1]+1); err != nil {
			return nil, fmt.Errorf("read background text: %w", err)
		}
		if rec.Full() {
			break
		}
	}
	q := &quiet{weight: float32(weight), seed: seed, t: t.Alone(), hidden: hidden, blocks: blocks, inputs: map[int][]uint16{}}
	for i, table := range t.Set.Tables {
		if table.Site == llama.Beside {
			q.tables = append(q.tables, i)
		}
	}
	for _, b := range blocks {
		s, err := rec.Sample(b)
		if err != nil {
			return nil, err
		}
		q.inputs[b], q.tokens = make([]uint16, s.Tokens*hidden), s.Tokens
		kernels.ToBF16(q.inputs[b], s.X)
	}
	n := min(quietBatch, q.tokens)
	q.x, q.y = make([]float32, n*hidden), make([]float32, n*hidden)
	return q, nil
}

// add adds the penalty's gradient at that step to grads, which are in the order of the tables, and returns the penalty.
func (q *quiet) add(step int, grads []*peer.RowGrad) (float64, error) {
	n := len(q.x) / q.hidden
	pick := q.order.of(q.tokens, q.seed, uint64(step))[:n]
	var loss float64
	for i, block := range q.blocks {
		l := q.t.Layer(block)
		for j, p := range pick {
			kernels.FromBF16(q.x[j*q.hidden:(j+1)*q.hidden], q.inputs[block][p*q.hidden:(p+1)*q.hidden])
		}
		clear(q.y)
		if err := l.Forward(q.y, q.x, n); err != nil {
			return 0, err
		}
		s := l.Router.OutScale
		c := q.weight / (s * s * float32(len(q.y)))
		for j, y := range q.y {
			loss += float64(c * y * y)
			q.y[j] = 2 * c * y
		}
		g, err := l.Backward(nil, q.y)
		if err != nil {
			return 0, err
		}
		grads[q.tables[i]].Add(g)
	}
	return loss, nil
}
