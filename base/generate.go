package base

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// Sampling says how the next token is chosen.
type Sampling struct {
	Temperature float64 // 0 is greedy
	TopP        float64 // nucleus sampling (arXiv 1904.09751): the smallest set of tokens of this probability; 0 or 1 is all
	Seed        uint64
}

// GenOptions of Generate.
type GenOptions struct {
	Sampling
	MaxTokens int
	Seam      llama.Seam // nil for the bare base
}

// readTokens is how much of a prompt is read at a time, so that a long one takes the memory of its cache alone.
const readTokens = 512

// Why a generation ended.
const (
	StopEOS    = "stop"   // the model ended the text
	StopLength = "length" // MaxTokens or the context's end
)

// Generate continues prompt and returns the new tokens, without the token that ended the text, and why it ended. emit,
// when not nil, is called with every new token and the text that it completes; its error ends the generation.
func (b *Base) Generate(ctx context.Context, prompt []int32, o GenOptions, emit func(id int32, text string) error) ([]int32, string, error) {
	if len(prompt) == 0 {
		return nil, "", fmt.Errorf("generate: the prompt is empty: %w", llama.ErrInput)
	}
	if n := b.Model.Config.MaxSeq; len(prompt) > n {
		return nil, "", fmt.Errorf("generate: a prompt of %d tokens, the model's context has %d: %w", len(prompt), n, llama.ErrInput)
	}
	sampler, err := NewSampler(o.Sampling)
	if err != nil {
		return nil, "", err
	}
	cache, stream := b.Model.NewCache(), b.Tokenizer.Stream()
	logits := make([]float32, b.Model.Config.Vocab)
	batch := llama.Batch{Seqs: []llama.Seq{{Cache: cache}}}
	var x []float32
	read := func(ids []int32) (err error) {
		batch.Tokens, batch.Seqs[0].Len = ids, len(ids)
		if x, err = b.Model.ForwardIn(x, batch, o.Seam); err != nil {
			return fmt.Errorf("generate: %w", err)
		}
		return nil
	}
	var out []int32
	for next := prompt; ; next = out[len(out)-1:] {
		if err := ctx.Err(); err != nil {
			return out, "", err
		}
		if len(out) >= o.MaxTokens || cache.Len+len(next) > b.Model.Config.MaxSeq && len(out) > 0 {
			return out, StopLength, flush(stream.Flush(), emit)
		}
		for ; len(next) > readTokens; next = next[readTokens:] {
			if err := read(next[:readTokens]); err != nil {
				return out, "", err
			}
			if err := ctx.Err(); err != nil {
				return out, "", err
			}
		}
		if err := read(next); err != nil {
			return out, "", err
		}
		b.Model.Logits(logits, x[len(x)-b.Model.Config.Hidden:], 1)
		id := sampler.Next(logits)
		if b.Tokenizer.IsEOS(id) {
			return out, StopEOS, flush(stream.Flush(), emit)
		}
		out = append(out, id)
		if emit != nil {
			if err := emit(id, stream.Next(id)); err != nil {
				return out, "", err
			}
		}
	}
}

func flush(rest string, emit func(int32, string) error) error {
	if rest == "" || emit == nil {
		return nil
	}
	return emit(-1, rest)
}

// Sampler chooses tokens.
type Sampler struct {
	s   Sampling
	rnd *rand.Rand
	idx []int32
	p   []float32
}

// NewSampler returns a sampler; the same seed gives the same choices.
func NewSampler(s Sampling) (*Sampler, error) {
	if s.Temperature < 0 || math.IsNaN(s.Temperature) || math.IsInf(s.Temperature, 0) || s.TopP < 0 || s.TopP > 1 || math.IsNaN(s.TopP) {
		return nil, fmt.Errorf("sampling with temperature %v and top-p %v: want at least 0, and 0 to 1: %w", s.Temperature, s.TopP, llama.ErrInput)
	}
	return &Sampler{s: s, rnd: rand.New(rand.NewPCG(s.Seed, 0x9e3779b97f4a7c15))}, nil
}

// Next returns a token by its logits: [vocab]. Equal logits go to the lower id.
func (s *Sampler) Next(logits []float32) int32 {
	if s.s.Temperature == 0 {
		best := 0
		for i, v := range logits {
			if v > logits[best] {
				best = i
			}
		}
		return int32(best)
	}
	if s.p == nil {
		s.p, s.idx = make([]float32, len(logits)), make([]int32, len(logits))
	}
	p := s.p
	copy(p, logits)
	kernels.Scale(float32(1/s.s.Temperature), p)
	kernels.Softmax(nil, p, p, 1, len(p))
	if s.s.TopP == 0 || s.s.TopP == 1 {
		return s.any(p)
	}
	idx := s.nucleus(p, s.idx[:0])
	var sum float64
	for _, i := range idx {
		sum += float64(p[i])
	}
	r := s.rnd.Float64() * sum
	for _, i := range idx {
		if r -= float64(p[i]); r < 0 {
			return i
		}
	}
	return idx[len(idx)-1]
}

// any returns a token by probabilities that sum up to 1, but for rounding.
func (s *Sampler) any(p []float32) int32 {
	r := s.rnd.Float64()
	last := 0
	for i, v := range p {
		if v == 0 {
			continue
		}
		if r -= float64(v); r < 0 {
			return int32(i)
		}
		last = i
	}
	return int32(last)
}

// nucleus returns the most probable tokens that make up TopP.
func (s *Sampler) nucleus(p []float32, idx []int32) []int32 {
	// Tokens below this cannot be in the nucleus, as even all of them together do not reach what it leaves out.
	floor := float32((1 - s.s.TopP) / float64(len(p)))
	for i, v := range p {
		if v >= floor {
			idx = append(idx, int32(i))
		}
	}
	slices.SortFunc(idx, func(a, b int32) int {
		switch {
		case p[a] > p[b]:
			return -1
		case p[a] < p[b]:
			return 1
		}
		return int(a - b)
	})
	var sum float64
	for n, i := range idx {
		if sum += float64(p[i]); sum >= s.s.TopP {
			return idx[:n+1]
		}
	}
	return idx
}
