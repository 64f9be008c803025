package tune

import (
	"context"
	"fmt"

	"github.com/gopeft/peft/base/llama"
)

// Evaluate returns the mean negative log-likelihood, in nats, of the learned tokens of seqs, and their number. size is how
// many rows run at a time. progress may be nil.
func Evaluate(ctx context.Context, m *llama.Model, seqs []Sequence, seam llama.Seam, size int, progress func(done, total int)) (nll float64, tokens int, err error) {
	groups := pack(seqs, size)
	var sum float64
	for i, g := range groups {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		b := newBatch(g)
		batch := llama.Batch{Tokens: b.Tokens}
		for _, n := range b.Lens {
			batch.Seqs = append(batch.Seqs, llama.Seq{Len: n})
		}
		x, err := m.Forward(batch, seam)
		if err != nil {
			return 0, 0, fmt.Errorf("tune: evaluate: %w", err)
		}
		loss := make([]float32, len(b.Tokens))
		for j, w := range b.Weights {
			if w != 0 {
				b.Weights[j] = 1
			}
		}
		m.HeadLoss(loss, nil, x, b.Targets, b.Weights)
		for _, l := range loss {
			sum += float64(l)
		}
		tokens += b.Learned
		if progress != nil {
			progress(i+1, len(groups))
		}
	}
	if tokens == 0 {
		return 0, 0, fmt.Errorf("nothing to measure: %w", ErrData)
	}
	return sum / float64(tokens), tokens, nil
}
