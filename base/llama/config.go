package llama

import (
	"errors"
	"fmt"
	"math"
)

var (
	// ErrConfig reports a configuration whose fields are missing or do not fit together.
	ErrConfig = errors.New("invalid model configuration")
	// ErrUnsupported reports an architecture or a feature that this package does not compute.
	ErrUnsupported = errors.New("not supported")
	// ErrWeights reports weights that are missing, have a wrong shape or are not finite.
	ErrWeights = errors.New("invalid weights")
)

// Config is the shape of a model. What a family has not is zero, and left out of the JSON, which is part of a base's
// fingerprint.
type Config struct {
	Family      Family       `json:"family,omitempty"`
	Vocab       int          `json:"vocab"`
	Hidden      int          `json:"hidden"` // width of the residual stream
	Layers      int          `json:"layers"`
	Heads       int          `json:"heads"`    // query heads
	KVHeads     int          `json:"kv_heads"` // key and value heads
	HeadDim     int          `json:"head_dim"`
	FFN         int          `json:"ffn"`     // width of the feed-forward layer
	MaxSeq      int          `json:"max_seq"` // longest sequence in tokens
	NormEps     float32      `json:"norm_eps"`
	RopeTheta   float32      `json:"rope_theta"` // 0 for learned positions
	RopeScaling *RopeScaling `json:"rope_scaling,omitempty"`
	// RopeDivisors: [headDim/2] are what a GGUF file has instead of RopeScaling; a weight there, and so not in the JSON.
	RopeDivisors []float32 `json:"-"`
	Tied         bool      `json:"tied"` // the head is the embedding

	Window      int     `json:"sliding_window,omitempty"`         // tokens that a token sees, itself included; 0 for all
	Windowed    []bool  `json:"sliding_layers,omitempty"`         // blocks that have the window; nil for all, else one a block
	QueryScalar float32 `json:"query_pre_attn_scalar,omitempty"`  // scores are divided by its root; 0 for HeadDim
	AttnCap     float32 `json:"attn_logit_softcapping,omitempty"` // limit of attention's scores, capped softly; 0 for none
	LogitCap    float32 `json:"final_logit_softcapping,omitempty"`
}

// RopeScaling is Llama 3.1's stretching of the rotary frequencies (arXiv 2407.21783, section 3.4.3, as implemented in
// Hugging Face transformers under the name "llama3").
type RopeScaling struct {
	Factor      float32 `json:"factor"`
	LowFreq     float32 `json:"low_freq_factor"`
	HighFreq    float32 `json:"high_freq_factor"`
	OriginalMax int     `json:"original_max_position_embeddings"`
}

// limits that no real model of this family reaches; they keep a hostile file from asking for all memory.
const (
	maxWidth  = 1 << 20
	maxLayers = 1 << 12
)

// Check reports the first field that cannot be.
func (c *Config) Check() error {
	for _, f := range []struct {
		name   string
		v, max int
	}{
		{"vocabulary", c.Vocab, 1 << 24}, {"hidden size", c.Hidden, maxWidth}, {"layers", c.Layers, maxLayers}, {"heads", c.Heads, 1 << 12},
		{"key heads", c.KVHeads, 1 << 12}, {"head size", c.HeadDim, 1 << 12}, {"feed-forward size", c.FFN, maxWidth << 2}, {"context length", c.MaxSeq, 1 << 24},
	} {
		if f.v < 1 || f.v > f.max {
			return fmt.Errorf("%s is %d, want 1 to %d: %w", f.name, f.v, f.max, ErrConfig)
		}
	}
	if c.Heads%c.KVHeads != 0 {
		return fmt.Errorf("%d heads are no multiple of %d key heads: %w", c.Heads, c.KVHeads, ErrConfig)
	}
	if c.HeadDim%2 != 0 {
		return fmt.Errorf("head size %d is odd: %w", c.HeadDim, ErrConfig)
	}
	if !(c.NormEps > 0 && c.NormEps < 1) {
		return fmt.Errorf("norm epsilon %v, want one between 0 and 1: %w", c.NormEps, ErrConfig)
	}
	return c.checkFamily()
}

// checkFamily reports the first field that the family has not, or that cannot be in it.
func (c *Config) checkFamily() error {
	t, ok := families[c.Family]
	if !ok {
		return unknown("family", string(c.Family))
	}
	switch theta := float64(c.RopeTheta); {
	case t.learned && (theta != 0 || c.RopeScaling != nil):
		return fmt.Errorf("rotary base %v or scaling %v of %v, which has learned positions: %w", theta, c.RopeScaling, c.Family, ErrConfig)
	case !t.learned && (!(theta > 1) || math.IsInf(theta, 0)):
		return fmt.Errorf("rotary base %v, want one above 1: %w", theta, ErrConfig)
	}
	if err := c.checkDivisors(); err != nil {
		return err
	}
	if (t.bias || t.learned) && c.AttnWidth() != c.Hidden {
		return fmt.Errorf("%d heads of size %d make %d, %v wants the hidden size %d: %w", c.Heads, c.HeadDim, c.AttnWidth(), c.Family, c.Hidden, ErrConfig)
	}
	if t.bias && c.KVHeads != c.Heads {
		return fmt.Errorf("%d key heads for %d heads, %v has as many: %w", c.KVHeads, c.Heads, c.Family, ErrConfig)
	}
	if c.Window < 0 || c.Window > 1<<24 {
		return fmt.Errorf("sliding window is %d tokens, want 0 (for none) to %d: %w", c.Window, 1<<24, ErrConfig)
	}
	if c.Windowed != nil && (c.Window == 0 || len(c.Windowed) != c.Layers) {
		return fmt.Errorf("a sliding window of %d tokens in %d of %d layers named: %w", c.Window, len(c.Windowed), c.Layers, ErrConfig)
	}
	for _, f := range []struct {
		name string
		v    float32
	}{{"query scalar", c.QueryScalar}, {"cap of attention's scores", c.AttnCap}, {"cap of the logits", c.LogitCap}} {
		if !(f.v >= 0) || math.IsInf(float64(f.v), 0) {
			return fmt.Errorf("%s is %v, want 0 (for none) or a positive number: %w", f.name, f.v, ErrConfig)
		}
	}
	if s := c.RopeScaling; s != nil && !(s.Factor > 0 && s.LowFreq > 0 && s.HighFreq > s.LowFreq && s.OriginalMax > 0) {
		return fmt.Errorf("rotary scaling %+v: %w", *s, ErrConfig)
	}
	return nil
}

func (c *Config) checkDivisors() error {
	if c.RopeDivisors == nil {
		return nil
	}
	if c.RopeScaling != nil || c.RopeTheta == 0 || len(c.RopeDivisors) != c.HeadDim/2 {
		return fmt.Errorf("%d divisors of %d rotary frequencies, beside scaling %v: %w", len(c.RopeDivisors), c.HeadDim/2, c.RopeScaling, ErrConfig)
	}
	for i, d := range c.RopeDivisors {
		if !(d > 0) || math.IsInf(float64(d), 0) {
			return fmt.Errorf("divisor %d of the rotary frequencies is %v, want a positive number: %w", i, d, ErrConfig)
		}
	}
	return nil
}
