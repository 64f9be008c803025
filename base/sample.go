package base

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// Sampling says how the next token is chosen. What is set acts in this order, which is vLLM's
// (docs.vllm.ai/en/v0.22.1/api/vllm/v1/sample/sampler): LogitBias, Repetition, Frequency, Presence; then the most probable token
// where Temperature is 0, else Temperature, MinP, TopK, TopP and a draw. TopK and TopP see what the ones before them left, TopP
// by its share of that.
type Sampling struct {
	Temperature float64 // 0 is greedy
	TopP        float64 // nucleus sampling (arXiv 1904.09751): the smallest set of tokens of this probability; 0 or 1 is all
	TopK        int     // the most probable tokens; 0 is all
	MinP        float64 // tokens of at least this share of the most probable one's probability (arXiv 2407.01082); 0 is all
	// Repetition divides positive logits and multiplies negative ones of tokens that were read or chosen (arXiv 1909.05858,
	// section 4.1); 0 or 1: none.
	Repetition float64
	Frequency  float64 // taken off the logit of a token for each time that it was chosen
	Presence   float64 // taken off the logits of tokens that were chosen
	// LogitBias is added to the logits of tokens; those that the vocabulary lacks count for nothing.
	LogitBias map[int32]float32
	Seed      uint64
}

// check returns what cannot be.
func (s *Sampling) check() error {
	for _, v := range []struct {
		name     string
		val      float64
		from, to float64
	}{
		{"temperature", s.Temperature, 0, math.MaxFloat64}, {"top-p", s.TopP, 0, 1}, {"top-k", float64(s.TopK), 0, math.MaxInt32},
		{"min-p", s.MinP, 0, 1}, {"repetition penalty", s.Repetition, 0, math.MaxFloat32},
		{"frequency penalty", s.Frequency, -math.MaxFloat32, math.MaxFloat32}, {"presence penalty", s.Presence, -math.MaxFloat32, math.MaxFloat32},
	} {
		if !(v.val >= v.from && v.val <= v.to) { // NaN is neither
			return fmt.Errorf("sampling with a %s of %v, want %v to %v: %w", v.name, v.val, v.from, v.to, llama.ErrInput)
		}
	}
	for id, v := range s.LogitBias {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("sampling with a logit bias of %v for token %d, want a finite one: %w", v, id, llama.ErrInput)
		}
	}
	return nil
}

// Sampler chooses the tokens of one sequence.
type Sampler struct {
	s      Sampling
	rnd    *rand.Rand
	read   map[int32]bool  // by the prompt, kept for Repetition alone
	chosen map[int32]int32 // how often, kept for the penalties alone
	idx    []int32
	p, top []float32
}

// NewSampler returns a sampler; the same seed gives the same choices.
func NewSampler(s Sampling) (*Sampler, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.Repetition == 0 {
		s.Repetition = 1
	}
	sm := &Sampler{s: s, rnd: rand.New(rand.NewPCG(s.Seed, 0x9e3779b97f4a7c15))}
	if s.Repetition != 1 || s.Frequency != 0 || s.Presence != 0 {
		sm.read, sm.chosen = map[int32]bool{}, map[int32]int32{}
	}
	return sm, nil
}

// Read tells the sampler of tokens that stand before the ones that it chooses: the prompt.
func (s *Sampler) Read(ids []int32) {
	if s.s.Repetition == 1 {
		return
	}
	for _, id := range ids {
		s.read[id] = true
	}
}

// Next returns a token by its logits: [vocab], which stay as they are, and remembers it. Equal logits go to the lower id.
func (s *Sampler) Next(logits []float32) int32 {
	id := s.next(logits)
	if s.chosen != nil {
		s.chosen[id]++
	}
	return id
}

func (s *Sampler) next(logits []float32) int32 {
	greedy, plain := s.s.Temperature == 0, s.chosen == nil && len(s.s.LogitBias) == 0
	if greedy && plain {
		return largest(logits)
	}
	if s.p == nil {
		s.p = make([]float32, len(logits))
	}
	p := s.p
	copy(p, logits)
	if !plain {
		s.adjust(p)
	}
	if greedy {
		return largest(p)
	}
	kernels.Scale(float32(1/s.s.Temperature), p)
	kernels.Softmax(nil, p, p, 1, len(p))
	if s.s.TopP == 0 || s.s.TopP == 1 {
		if s.s.MinP == 0 && s.s.TopK == 0 {
			return s.any(p)
		}
	}
	idx := s.filter(p)
	if len(idx) == 0 { // without numbers nothing is probable
		return largest(p)
	}
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

func largest(logits []float32) int32 {
	best, most := 0, logits[0]
	for i, v := range logits {
		if v > most {
			best, most = i, v
		}
	}
	return int32(best)
}

// adjust adds the bias to logits and takes off the penalties.
func (s *Sampler) adjust(logits []float32) {
	for id, v := range s.s.LogitBias {
		if id >= 0 && int(id) < len(logits) {
			logits[id] += v
		}
	}
	repeat := func(id int32) {
		if logits[id] > 0 {
			logits[id] /= float32(s.s.Repetition)
		} else {
			logits[id] *= float32(s.s.Repetition)
		}
	}
	for id := range s.read {
		if s.chosen[id] == 0 && id >= 0 && int(id) < len(logits) {
			repeat(id)
		}
	}
	for id, n := range s.chosen {
		if s.s.Repetition != 1 {
			repeat(id)
		}
		logits[id] -= float32(s.s.Frequency)*float32(n) + float32(s.s.Presence)
	}
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

// filter returns the tokens that MinP, TopK and TopP leave of probabilities, the most probable first.
func (s *Sampler) filter(p []float32) []int32 {
	if s.idx == nil {
		s.idx = make([]int32, len(p))
	}
	nucleus := s.s.TopP != 0 && s.s.TopP != 1
	floor := float32(s.s.MinP) * p[largest(p)]
	var idx []int32
	if k := s.s.TopK; k > 0 && k < len(p) {
		if len(s.top) < k {
			s.top = make([]float32, k)
		}
		idx = s.idx[:k]
		kernels.TopK(s.top[:k], idx, p)
		n := len(idx)
		for n > 1 && p[idx[n-1]] < floor {
			n--
		}
		idx = idx[:n]
	} else {
		if nucleus && s.s.MinP == 0 && s.s.TopK == 0 {
			// Tokens below this cannot be in the nucleus, as even all of them together do not reach what it leaves out.
			floor = float32((1 - s.s.TopP) / float64(len(p)))
		}
		idx = s.idx[:0]
		for i, v := range p {
			if v >= floor {
				idx = append(idx, int32(i))
			}
		}
		slices.SortFunc(idx, func(a, b int32) int { return cmp.Or(cmp.Compare(p[b], p[a]), cmp.Compare(a, b)) })
	}
	if !nucleus {
		return idx
	}
	mass := 1.0
	if s.s.MinP > 0 || s.s.TopK > 0 {
		mass = 0
		for _, i := range idx {
			mass += float64(p[i])
		}
	}
	var sum float64
	for n, i := range idx {
		if sum += float64(p[i]); sum >= s.s.TopP*mass {
			return idx[:n+1]
		}
	}
	return idx
}

// TokenLogProb is the natural logarithm of a token's probability.
type TokenLogProb struct {
	ID      int32
	LogProb float64
}

// LogProbs returns the logarithm of a token's probability by the softmax of logits: [vocab], and of the n most probable tokens,
// the most probable first. Logits as the model gives them make them those before bias, penalties and temperature.
func LogProbs(logits []float32, id int32, n int) (float64, []TokenLogProb) {
	high := float64(logits[largest(logits)])
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v) - high)
	}
	norm := high + math.Log(sum)
	n = max(0, min(n, len(logits)))
	val, idx := make([]float32, n), make([]int32, n)
	kernels.TopK(val, idx, logits)
	top := make([]TokenLogProb, n)
	for i := range top {
		top[i] = TokenLogProb{idx[i], float64(val[i]) - norm}
	}
	return float64(logits[id]) - norm, top
}
