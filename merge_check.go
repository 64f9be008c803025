package peft

import (
	"context"
	"fmt"
	"math"

	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
)

// mergeTokens is how many tokens' logits are compared.
const mergeTokens = 256

// rounding is, for each type, how far a stored weight is from the weight, as a share of it: the root of the mean square. In
// F32 it stands for the sums' order of addition. Q8_0 has 255 steps for the range of 32 weights, which is 4 to 8 times
// their deviation.
var rounding = map[string]float64{"F32": 1e-5, "F16": 1. / (1 << 12), "BF16": 1. / (1 << 9), "Q8_0": 1. / (1 << 7)}

// tolerance returns the mean difference of logits of that spread that rounding explains. An error of a share e in each of
// a matrix's weights, of any signs, is one of a share e in what it gives; the errors of the matrices that a token passes are
// independent, so that their squares add up. To lose an adapter, or the order of a layer's rows, costs more.
func tolerance(c *llama.Config, typ string, spread float64) float64 {
	matrices := c.Layers*len(c.LinearSites()) + 1
	return rounding[typ] * math.Sqrt(float64(matrices)) * spread
}

// reader is a model with what is in its seam.
type reader struct {
	m    *llama.Model
	seam llama.Seam
}

// logits returns those of every token: [tokens, vocab].
func (r reader) logits(ids []int32) ([]float32, error) {
	x, err := r.m.Forward(llama.One(ids, nil), r.seam)
	if err != nil {
		return nil, err
	}
	y := make([]float32, len(ids)*r.m.Config.Vocab)
	r.m.Logits(y, x, len(ids))
	return y, nil
}

// trial is what is compared when a model was written: what it should compute, what computes it, and the same without the
// adapters.
type trial struct{ want, got, without reader }

// compare reads texts and writes to res how far apart the logits are. Too far gives ErrMerge.
func (e *Engine) compare(ctx context.Context, res *MergeResult, t *trial, texts [][]int32) error {
	var diff, change, square float64
	for i, ids := range texts {
		if err := ctx.Err(); err != nil {
			return err
		}
		want, err := t.want.logits(ids)
		if err != nil {
			return err
		}
		got, err := t.got.logits(ids)
		if err != nil {
			return err
		}
		without, err := t.without.logits(ids)
		if err != nil {
			return err
		}
		for j, w := range want {
			d := math.Abs(float64(got[j] - w))
			diff += d
			res.Max = max(res.Max, d)
			change += math.Abs(float64(without[j] - w))
		}
		vocab := len(want) / len(ids)
		for row := range ids {
			square += variance(want[row*vocab : (row+1)*vocab])
		}
		res.Tokens += len(ids)
		e.progress(Progress{Task: "compare logits", Done: i + 1, Total: len(texts), Unit: "texts"})
	}
	c := &t.want.m.Config
	n := float64(max(1, res.Tokens))
	res.Mean, res.Change, res.Spread = diff/n/float64(c.Vocab), change/n/float64(c.Vocab), math.Sqrt(square/n)
	res.Tolerance = tolerance(c, res.Type, res.Spread)
	if !(res.Mean <= res.Tolerance) {
		return fmt.Errorf("the logits of %d tokens are %.3g away in the mean and %.3g at most, and rounding to %s explains a mean of %.3g (the adapters change them by %.3g): %w",
			res.Tokens, res.Mean, res.Max, res.Type, res.Tolerance, res.Change, ErrMerge)
	}
	return nil
}

func variance(x []float32) float64 {
	var sum, squares float64
	for _, v := range x {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	n := float64(len(x))
	return squares/n - sum/n*sum/n
}

// comparisonTexts returns the first tokens of files, or the passages, in pieces.
func (e *Engine) comparisonTexts(b *base.Base, files []string) ([][]int32, error) {
	all := foreignTexts(b.Tokenizer, gateTokens)
	if len(files) > 0 {
		d, err := tune.ReadFiles(b.Tokenizer, files, true)
		if err != nil {
			return nil, err
		}
		all = nil
		for _, s := range d.Sequences(gateTokens) {
			all = append(all, s.Tokens)
		}
	}
	n := 0
	for i, t := range all {
		if n += len(t); n >= mergeTokens {
			return all[:i+1], nil
		}
	}
	return all, nil
}
