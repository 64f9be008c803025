package peft

import (
	"context"
	"fmt"
	"math"

	"github.com/gopeft/peft/base/llama"
)

// Embed returns a vector of length 1 for each text, [hidden] each: the mean of the rows that the model, with sets on or, with
// auto, those whose gates fire, gives to its head. tokens counts what was read.
func (b *Batcher) Embed(ctx context.Context, texts, sets []string, auto bool) (vectors [][]float32, tokens int, err error) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	return b.e.embed(ctx, texts, sets, auto)
}

func (e *Engine) embed(ctx context.Context, texts, sets []string, auto bool) (vectors [][]float32, tokens int, err error) {
	b, plain, a, err := e.withSetsOr(ctx, sets, auto)
	if err != nil {
		return nil, 0, err
	}
	read := make([][]int32, len(texts))
	for i, text := range texts {
		read[i] = b.Tokenizer.Encode(text, true)
		if n := len(read[i]); n == 0 || n > b.Model.Config.MaxSeq {
			return nil, 0, fmt.Errorf("embed: text %d has %d tokens, want 1 to %d: %w", i, n, b.Model.Config.MaxSeq, llama.ErrInput)
		}
	}
	for _, ids := range read {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		seam := plain
		var x []float32
		if a != nil {
			c := a.choose(len(ids))
			if x, err = b.Model.Forward(llama.One(ids, nil), c.Look); err == nil {
				seam, err = c.Decide()
			}
			if err != nil {
				return nil, 0, err
			}
		}
		if a == nil || seam != nil {
			if x, err = b.Model.Forward(llama.One(ids, nil), seam); err != nil {
				return nil, 0, err
			}
		}
		vectors, tokens = append(vectors, meanRow(x, b.Model.Config.Hidden)), tokens+len(ids)
	}
	return vectors, tokens, nil
}

// meanRow returns the mean of rows x: [tokens, hidden], scaled to length 1.
func meanRow(x []float32, hidden int) []float32 {
	sum := make([]float64, hidden)
	for i, v := range x {
		sum[i%hidden] += float64(v)
	}
	var square float64
	for _, v := range sum {
		square += v * v
	}
	row := make([]float32, hidden)
	if square > 0 {
		for i, v := range sum {
			row[i] = float32(v / math.Sqrt(square))
		}
	}
	return row
}
