package peft

import (
	"context"
	"fmt"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/retrieval"
)

// samples returns at most so many of what the set's own texts select, or all that it selected together where so few would
// stand for little.
func (g *storedGate) samples(most int) []peer.Sample {
	const few = 8
	if most < few {
		return []peer.Sample{peer.NewSample(g.Counts)}
	}
	return g.Samples[:min(most, len(g.Samples))]
}

// sample lets the base read texts and returns what each of them selects.
func (e *Engine) sample(ctx context.Context, b *base.Base, r *retrieval.Router, texts [][]int32) ([]peer.Sample, error) {
	var all []peer.Sample
	for at := 0; at < len(texts); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		batch, lens := llama.Batch{}, []int(nil)
		for ; at < len(texts) && (len(batch.Tokens) == 0 || len(batch.Tokens)+len(texts[at]) <= 512); at++ {
			batch.Tokens = append(batch.Tokens, texts[at]...)
			batch.Seqs = append(batch.Seqs, llama.Seq{Len: len(texts[at])})
			lens = append(lens, len(texts[at]))
		}
		s := peer.NewSampler(r, e.pool, lens...)
		if _, err := b.Model.ForwardTo(batch, s, r.Layers[len(r.Layers)-1].Block+1); err != nil {
			return nil, fmt.Errorf("peft: gate: %w", err)
		}
		all = append(all, s.Samples()...)
	}
	return all, nil
}

// selections is what a set's own data selects: counts all of it, samples some of its prompts each by itself.
type selections struct {
	counts  [][]uint32 // of each layer, [cells]
	samples []peer.Sample
}

// sampled adds samples of a set's data to its counts.
func (e *Engine) sampled(ctx context.Context, b *base.Base, r *retrieval.Router, counts [][]uint32, made []tune.Sequence) (selections, error) {
	texts := prompts(made, gateSamples)
	for i, t := range texts {
		texts[i] = t[max(0, len(t)-gateJudged):]
	}
	samples, err := e.sample(ctx, b, r, texts)
	return selections{counts, samples}, err
}

// evenly returns n of the samples, from all over them; all when there are no more.
func evenly(s []peer.Sample, n int) []peer.Sample {
	if len(s) <= n {
		return s
	}
	some := make([]peer.Sample, n)
	for i := range some {
		some[i] = s[i*len(s)/n]
	}
	return some
}

// add adds selections to counts.
func add(counts, more [][]uint32) {
	for i, c := range more {
		for j, n := range c {
			counts[i][j] += n
		}
	}
}
