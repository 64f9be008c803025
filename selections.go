package peft

import (
	"context"
	"fmt"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
)

// samples returns at most so many of what the set's own texts select, from all over them, or all that it selected together
// where so few would stand for little.
func (g *storedGate) samples(most int) []peer.Sample {
	const few = 8
	if most < few {
		return []peer.Sample{peer.NewSample(g.Counts)}
	}
	return evenly(g.Samples, most)
}

// sample lets the base read prompts and returns what each of them selects in the rows that are judged.
func (e *Engine) sample(ctx context.Context, b *base.Base, r *storedRouter, texts [][]int32) ([]peer.Sample, error) {
	var all []peer.Sample
	err := e.sampling(ctx, b, r, texts, func(s *peer.Sampler, from, to int) { all = append(all, s.Sample(from, to)) })
	return all, err
}

// sampling lets the base read prompts and calls each for every one of them, with the rows of what was sampled in which it is
// judged.
func (e *Engine) sampling(ctx context.Context, b *base.Base, r *storedRouter, texts [][]int32, each func(s *peer.Sampler, from, to int)) error {
	return inBatches(ctx, texts, func(batch llama.Batch, some [][]int32) error {
		s := peer.NewSampler(r.Router, e.pool)
		if _, err := b.Model.ForwardTo(batch, s, r.Layers[len(r.Layers)-1].Block+1); err != nil {
			return fmt.Errorf("peft: gate: %w", err)
		}
		row := 0
		for _, t := range some {
			from, to := r.prompter.judged(t)
			each(s, row+from, row+to)
			row += len(t)
		}
		return nil
	})
}

// inBatches calls read with texts joined to batches of at most 512 tokens, or one text where that is longer.
func inBatches(ctx context.Context, texts [][]int32, read func(b llama.Batch, some [][]int32) error) error {
	for at := 0; at < len(texts); {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, first := llama.Batch{}, at
		for ; at < len(texts) && (len(b.Tokens) == 0 || len(b.Tokens)+len(texts[at]) <= 512); at++ {
			b.Tokens = append(b.Tokens, texts[at]...)
			b.Seqs = append(b.Seqs, llama.Seq{Len: len(texts[at])})
		}
		if err := read(b, texts[first:at]); err != nil {
			return err
		}
	}
	return nil
}

// selections is what a set's own data selects: counts all of it, samples some of its prompts each by itself.
type selections struct {
	counts  [][]uint32 // of each layer, [cells]
	samples []peer.Sample
}

// sampled adds samples of a set's data to its counts.
func (e *Engine) sampled(ctx context.Context, b *base.Base, r *storedRouter, counts [][]uint32, made []tune.Sequence) (selections, error) {
	samples, err := e.sample(ctx, b, r, prompts(made, gateSamples))
	return selections{counts, samples}, err
}

// add adds selections to counts.
func add(counts, more [][]uint32) {
	for i, c := range more {
		for j, n := range c {
			counts[i][j] += n
		}
	}
}
