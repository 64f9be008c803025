package pretrain

import (
	"fmt"

	"github.com/gopeft/peft/adapters"
)

// Shape is the size of a decoder of the Llama architecture with tied embeddings, and what stands in the place of its
// feed-forward layers.
type Shape struct {
	Vocab     int     `json:"vocab"`
	Hidden    int     `json:"hidden"`
	Layers    int     `json:"layers"`
	Heads     int     `json:"heads"`
	KVHeads   int     `json:"kv_heads"`
	HeadDim   int     `json:"head_dim"`
	FFN       int     `json:"ffn"`
	Context   int     `json:"context"` // tokens of a training sequence, and the most the model promises to read
	NormEps   float32 `json:"norm_eps"`
	RopeTheta float32 `json:"rope_theta"`
	Instead   Instead `json:"instead,omitzero"` // of the dense feed-forward layers
}

func (s Shape) check() error {
	for _, d := range []struct {
		name string
		v    int
	}{{"vocab", s.Vocab}, {"hidden", s.Hidden}, {"layers", s.Layers}, {"heads", s.Heads}, {"kv_heads", s.KVHeads}, {"head_dim", s.HeadDim}, {"ffn", s.FFN}} {
		if d.v <= 0 {
			return fmt.Errorf("model shape: %s is %d, want at least 1", d.name, d.v)
		}
	}
	switch {
	case s.Context < 2:
		return fmt.Errorf("model shape: context is %d tokens, want at least 2", s.Context)
	case s.Heads%s.KVHeads != 0:
		return fmt.Errorf("model shape: %d heads do not divide evenly over %d key heads", s.Heads, s.KVHeads)
	case s.Heads*s.HeadDim != s.Hidden:
		return fmt.Errorf("model shape: %d heads of %d make %d, want hidden %d", s.Heads, s.HeadDim, s.Heads*s.HeadDim, s.Hidden)
	case s.HeadDim%2 != 0:
		return fmt.Errorf("model shape: head_dim is %d, want an even number for the rotary embedding", s.HeadDim)
	case s.Hidden%32 != 0 || s.FFN%32 != 0:
		return fmt.Errorf("model shape: hidden %d and ffn %d must be multiples of 32 to be stored as Q8_0", s.Hidden, s.FFN)
	}
	return s.Instead.check(s.Layers)
}

// qkv is the width of queries, keys and values together.
func (s Shape) qkv() int { return (s.Heads + 2*s.KVHeads) * s.HeadDim }

// cost is what one feed-forward layer is made of and does.
type cost struct {
	dense  int // parameters that every token uses
	sparse int // parameters of experts
	active int // of those, what one token uses
	flops  int // of one token's forward: a multiplication and an addition are two
}

// feedForward returns the cost of a block's feed-forward layer.
func (s Shape) feedForward(block int) cost {
	f, h := &s.Instead, s.Hidden
	switch kind := f.at(block); kind {
	case PEER, PKM:
		c := f.retrieval()
		queries, keys := c.Heads*2*c.HalfDim, c.Heads*2*c.SubKeys*c.HalfDim
		width := rowKind(kind).Width(adapters.Dims{In: h, Out: h})
		picked := c.Heads * c.TopK * width
		return cost{dense: queries*(h+1) + keys, sparse: c.Cells() * width, active: picked, flops: 2 * (queries*h + keys + picked)}
	case MoE:
		expert := 3 * f.Width * h
		return cost{dense: f.Experts * h, sparse: f.Experts * expert, active: f.Active * expert, flops: 2 * (f.Experts*h + f.Active*expert)}
	default:
		return cost{dense: 3 * s.FFN * h, flops: 2 * 3 * s.FFN * h}
	}
}

// attention returns the number of parameters of a block beside its feed-forward layer and the norms.
func (s Shape) attention() int { return s.qkv()*s.Hidden + s.Hidden*s.Heads*s.HeadDim }

// Parameters returns the number of parameters.
func (s Shape) Parameters() int {
	n := s.Vocab*s.Hidden + s.Hidden
	for i := range s.Layers {
		f := s.feedForward(i)
		n += 2*s.Hidden + s.attention() + f.dense + f.sparse
	}
	return n
}

// ActiveParameters returns how many of them one token uses: all but those of the experts it does not select.
func (s Shape) ActiveParameters() int {
	n := s.Parameters()
	for i := range s.Layers {
		f := s.feedForward(i)
		n -= f.sparse - f.active
	}
	return n
}

// FLOPs returns the floating-point operations of one token's forward, mean over a full context: of products with weights
// and of attention, a multiplication and an addition being two. Norms, activations and the search for the largest scores
// are left out. Training takes three times as many.
func (s Shape) FLOPs() int {
	n := 2 * s.Vocab * s.Hidden
	for i := range s.Layers {
		// A token attends to (context + 1)/2 on average, each time with a product of scores and one of values.
		n += 2*s.attention() + 2*(s.Context+1)*s.Heads*s.HeadDim + s.feedForward(i).flops
	}
	return n
}
