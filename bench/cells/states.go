package main

import (
	"context"
	"fmt"
	"os"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/retrieval"
)

const turn = 256 // tokens of one text before the next has its turn

// read fills b.states with the inputs of the middle block's feed-forward layer.
func (b *bench) read(ctx context.Context) error {
	model, err := b.open()
	if err != nil {
		return err
	}
	defer model.Close()
	c := model.Model.Config
	b.hidden, b.block = c.Hidden, c.Layers/2
	windows, err := b.windows(func(text string) []int32 { return model.Tokenizer.Encode(text, false) })
	if err != nil {
		return err
	}
	rec := peer.NewRecorder([]int{b.block}, b.hidden, len(windows)*turn)
	for len(windows) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		var batch llama.Batch
		n := min(len(windows), 2)
		for _, w := range windows[:n] {
			batch.Tokens = append(batch.Tokens, w...)
			batch.Seqs = append(batch.Seqs, llama.Seq{Len: len(w)})
		}
		windows = windows[n:]
		if _, err := model.Model.ForwardTo(batch, rec, b.block+1); err != nil {
			return err
		}
	}
	s, err := rec.Sample(b.block)
	b.states = s.X
	return err
}

// windows returns the texts' beginnings as windows of tokens, one of each text in turn.
func (b *bench) windows(encode func(string) []int32) ([][]int32, error) {
	all := make([][]int32, len(b.texts))
	for i, f := range b.texts {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		// Six bytes a token are more than any of these texts needs.
		all[i] = encode(string(text[:min(len(text), 6*b.tokens)]))
	}
	var windows [][]int32
	for had := true; had && len(windows) < b.tokens/turn; {
		had = false
		for i, t := range all {
			if len(t) < turn || len(windows) == b.tokens/turn {
				continue
			}
			windows, all[i], had = append(windows, t[:turn]), t[turn:], true
		}
	}
	if n := len(windows) * turn; n <= b.made {
		return nil, fmt.Errorf("the texts have %d tokens, want more than the %d from which the router is made", n, b.made)
	}
	return windows, nil
}

// sample is the first tokens' states, for calibration.
func (b *bench) sample() retrieval.Sample {
	return retrieval.Sample{X: b.states[:b.made*b.hidden], Tokens: b.made}
}

// Sample implements retrieval.Source.
func (b *bench) Sample(int) (retrieval.Sample, error) { return b.sample(), nil }
