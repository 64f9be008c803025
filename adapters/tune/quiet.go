package tune

import (
	"context"
	"fmt"
	"slices"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// Tokens of a text on which a set is to be quiet: how many are kept of each layer's inputs, and how many of them a step looks at; and
// how many texts beside the background may weigh and take as much as that: more of them share it.
const quietKept, quietBatch, quietTexts = 4096, 256, 4

// quiet keeps the trained set from speaking where nothing was to be learned. To the loss it adds
//
//	Σ texts  weight · Σ layers  mean over the text's tokens and dimensions of (y/s)²
//
// where y is the set's contribution to what a token of the background, or of another text, had as x: [hidden], and s the layer's
// output scale. The inputs x are recorded once, so that a step costs a few PEER layers and no pass of the base: those of the
// base alone, and of other texts also those with a set on that is beside the trained one, because such a text is likely to
// be one of these sets'.
type quiet struct {
	seed   uint64
	t      *peer.Training // on the same rows as the run's, with routing of its own
	hidden int
	blocks []int
	tables []int // of each block, the place among the set's tables of that beside it
	texts  []quietText
	order  permutation
	x, y   []float32 // [tokens of a step, hidden]
}

// quietText is a text on which the set is to be quiet.
type quietText struct {
	weight float32
	tokens int
	batch  int              // how many of them a step looks at
	pick   []int            // which
	inputs map[int][]uint16 // of each block, [tokens, hidden] in bf16
}

// quietShare is the share of quietKept, quietBatch and the weight that each of so many texts has.
func quietShare(texts int) float64 { return min(1, quietTexts/float64(max(1, texts))) }

// QuietSample returns what a run keeps of one of so many Options.Others, or of one text of the background: sequences from all over it.
func QuietSample(seqs []Sequence, others int) []Sequence {
	return Spread(seqs, int(quietShare(others)*quietKept))
}

// newQuiet reads the background text and others with the base. It returns nil when there is none, or no weight, or when no experts
// stand beside feed-forward layers.
func newQuiet(ctx context.Context, m *llama.Model, t *peer.Training, background, others [][]Sequence, weight float64, seed uint64) (*quiet, error) {
	blocks, hidden := t.Blocks(), m.Config.Hidden
	if weight == 0 || len(blocks) == 0 {
		return nil, nil
	}
	q := &quiet{seed: seed, t: t.Alone(), hidden: hidden, blocks: blocks}
	for i, table := range t.Set.Tables {
		if table.Site == llama.Beside {
			q.tables = append(q.tables, i)
		}
	}
	for i, seqs := range slices.Concat(background, others) {
		share, on := 1.0, []*peer.Set{nil}
		if i >= len(background) {
			share = quietShare(len(others))
			on = append(on, t.With...)
		}
		if len(seqs) == 0 {
			continue
		}
		text, err := readQuiet(ctx, m, t, seqs, share, on)
		if err != nil {
			return nil, err
		}
		text.weight = float32(weight * share)
		q.texts = append(q.texts, *text)
	}
	if len(q.texts) == 0 {
		return nil, nil
	}
	rows := 0
	for _, text := range q.texts {
		rows += text.batch
	}
	q.x, q.y = make([]float32, rows*hidden), make([]float32, rows*hidden)
	return q, nil
}

// recorded is a Training whose layers' inputs are recorded.
type recorded struct {
	*peer.Training
	rec *peer.Recorder
}

func (r recorded) Forward(block int, y, x []float32, tokens int) error {
	if err := r.rec.Forward(block, y, x, tokens); err != nil {
		return err
	}
	return r.Training.Forward(block, y, x, tokens)
}

// readQuiet keeps a share of quietKept tokens of a text. Its sequences are read in turn with each of on, sets beside the
// trained one; where that is nil the base reads alone.
func readQuiet(ctx context.Context, m *llama.Model, t *peer.Training, seqs []Sequence, share float64, on []*peer.Set) (*quietText, error) {
	blocks := t.Blocks()
	rec := peer.NewRecorder(blocks, m.Config.Hidden, max(1, int(share*quietKept)))
	for i, s := range seqs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var seam llama.Seam = rec
		if set := on[i%len(on)]; set != nil {
			t.Beside([]*peer.Set{set})
			seam = recorded{t, rec}
		}
		if _, err := m.ForwardTo(llama.One(s.Tokens, nil), seam, blocks[len(blocks)-1]+1); err != nil {
			return nil, fmt.Errorf("read text that the set is to leave alone: %w", err)
		}
		if rec.Full() {
			break
		}
	}
	text := &quietText{inputs: map[int][]uint16{}}
	for _, b := range blocks {
		s, err := rec.Sample(b)
		if err != nil {
			return nil, err
		}
		text.inputs[b], text.tokens = make([]uint16, s.Tokens*m.Config.Hidden), s.Tokens
		kernels.ToBF16(text.inputs[b], s.X)
	}
	text.batch = min(max(1, int(share*quietBatch)), text.tokens)
	return text, nil
}

// add adds the penalty's gradient at that step to grads, which are in the order of the tables, and returns the penalty.
func (q *quiet) add(step int, grads []*peer.RowGrad) (float64, error) {
	for i := range q.texts {
		t := &q.texts[i]
		t.pick = append(t.pick[:0], q.order.of(t.tokens, q.seed+uint64(i), uint64(step))[:t.batch]...)
	}
	var loss float64
	for i, block := range q.blocks {
		l := q.t.Layer(block)
		x := q.x
		for _, text := range q.texts {
			for _, p := range text.pick {
				kernels.FromBF16(x[:q.hidden], text.inputs[block][p*q.hidden:(p+1)*q.hidden])
				x = x[q.hidden:]
			}
		}
		clear(q.y)
		if err := l.Forward(q.y, q.x, len(q.x)/q.hidden); err != nil {
			return 0, err
		}
		s := l.Router.OutScale
		y := q.y
		for _, text := range q.texts {
			of := y[:text.batch*q.hidden]
			y = y[len(of):]
			c := text.weight / (s * s * float32(len(of)))
			for j, v := range of {
				loss += float64(c * v * v)
				of[j] = 2 * c * v
			}
		}
		g, err := l.Backward(nil, q.y)
		if err != nil {
			return 0, err
		}
		grads[q.tables[i]].Add(g)
	}
	return loss, nil
}
