package pretrain

import (
	"fmt"
	"slices"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/retrieval"
)

// Kind is what a feed-forward layer is.
type Kind string

// The kinds.
const (
	Dense Kind = "dense" // SwiGLU, what the architecture has
	PEER  Kind = "peer"  // single neurons retrieved by product keys (arXiv 2407.04153)
	MoE   Kind = "moe"   // a few of several SwiGLU layers, chosen by the token (arXiv 2101.03961, 2401.04088)
	PKM   Kind = "pkm"   // a memory of values retrieved by product keys (arXiv 1907.05242)
)

// Instead says what stands in the place of the dense feed-forward layers. The zero value leaves them.
type Instead struct {
	Kind   Kind  `json:"kind"`
	Blocks []int `json:"blocks,omitempty"` // that have it; the others stay dense; none: all

	// Of PEER and PKM.
	Heads   int `json:"heads,omitempty"`    // query networks; they share the experts
	TopK    int `json:"top_k,omitempty"`    // experts a head selects
	SubKeys int `json:"sub_keys,omitempty"` // n, for n·n experts
	HalfDim int `json:"half_dim,omitempty"` // dimensions of half a query

	OutScale float32 `json:"out_scale,omitempty"` // that outputs are multiplied by; 0: 1
	ValueStd float32 `json:"value_std,omitempty"` // of v's numbers at first, in 1/√hidden; 0 starts from no output
	Sigmoid  bool    `json:"sigmoid,omitempty"`   // gates are a sigmoid of each score, not a softmax over a head's
	RawQuery bool    `json:"raw_query,omitempty"` // leaves the normalisation of queries out

	// Of MoE.
	Experts int     `json:"experts,omitempty"`
	Active  int     `json:"active,omitempty"`  // experts a token selects
	Width   int     `json:"width,omitempty"`   // of one
	Balance float32 `json:"balance,omitempty"` // weight of the loss that keeps their loads alike
}

// DefaultInstead returns a layer of that kind to start from for a model of that shape: PEER with 8 heads, k = 16 and 1,024
// experts; a memory alike; the best two of 8 experts that are together as wide as the dense layer.
func DefaultInstead(kind Kind, s Shape) Instead {
	switch kind {
	case PEER, PKM:
		return Instead{Kind: kind, Heads: 8, TopK: 16, SubKeys: 32, HalfDim: retrieval.DefaultConfig(s.Hidden).HalfDim}
	case MoE:
		return Instead{Kind: kind, Experts: 8, Active: 2, Width: max(1, s.FFN/2), Balance: 0.01}
	case Dense:
		return Instead{}
	default:
		return Instead{Kind: kind}
	}
}

// at returns what that block has.
func (f *Instead) at(block int) Kind {
	if f.Kind == "" || (len(f.Blocks) > 0 && !slices.Contains(f.Blocks, block)) {
		return Dense
	}
	return f.Kind
}

// dense tells whether no layer is replaced.
func (f *Instead) dense() bool { return f.Kind == "" || f.Kind == Dense }

// retrieval returns the shape of the product keys.
func (f *Instead) retrieval() retrieval.Config {
	return retrieval.Config{Heads: f.Heads, TopK: f.TopK, SubKeys: f.SubKeys, HalfDim: f.HalfDim}
}

// scale returns what outputs are multiplied by.
func (f *Instead) scale() float32 {
	if f.OutScale == 0 {
		return 1
	}
	return f.OutScale
}

// rowKind returns what an expert of PEER or PKM computes.
func rowKind(k Kind) adapters.Kind {
	if k == PKM {
		return neuron.Value
	}
	return neuron.GELU
}

func (f *Instead) check(layers int) error {
	for i, b := range f.Blocks {
		if b < 0 || b >= layers || slices.Contains(f.Blocks[:i], b) {
			return fmt.Errorf("feed-forward layers of blocks %v: want each once, from 0 to %d", f.Blocks, layers-1)
		}
	}
	switch f.Kind {
	case "", Dense:
		if len(f.Blocks) > 0 {
			return fmt.Errorf("feed-forward layers of blocks %v: dense ones replace nothing", f.Blocks)
		}
		return nil
	case PEER, PKM:
		if err := f.retrieval().Check(); err != nil {
			return fmt.Errorf("feed-forward layers, %s: %w", f.Kind, err)
		}
		return nil
	case MoE:
		if f.Active < 1 || f.Experts < f.Active || f.Width < 1 || !(f.Balance >= 0) {
			return fmt.Errorf("feed-forward layers, moe: %d of %d experts of width %d, balanced with weight %g: want at least one, no more than there are, and a weight from 0 on",
				f.Active, f.Experts, f.Width, f.Balance)
		}
		return nil
	default:
		return fmt.Errorf("feed-forward layers: unknown kind %q, want dense, peer, moe or pkm", f.Kind)
	}
}
