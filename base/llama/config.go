package llama

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/gopeft/peft/base/gguf"
)

var (
	// ErrConfig reports a configuration whose fields are missing or do not fit together.
	ErrConfig = errors.New("invalid model configuration")
	// ErrUnsupported reports an architecture or a feature that this package does not compute.
	ErrUnsupported = errors.New("not supported")
	// ErrWeights reports weights that are missing, have a wrong shape or are not finite.
	ErrWeights = errors.New("invalid weights")
)

// Config is the shape of a model.
type Config struct {
	Vocab       int          `json:"vocab"`
	Hidden      int          `json:"hidden"` // width of the residual stream
	Layers      int          `json:"layers"`
	Heads       int          `json:"heads"`    // query heads
	KVHeads     int          `json:"kv_heads"` // key and value heads
	HeadDim     int          `json:"head_dim"`
	FFN         int          `json:"ffn"`     // width of the feed-forward layer
	MaxSeq      int          `json:"max_seq"` // longest sequence in tokens
	NormEps     float32      `json:"norm_eps"`
	RopeTheta   float32      `json:"rope_theta"`
	RopeScaling *RopeScaling `json:"rope_scaling,omitempty"`
	Tied        bool         `json:"tied"` // the head is the embedding
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
	if !(c.NormEps > 0 && c.NormEps < 1) || !(c.RopeTheta > 1) || math.IsInf(float64(c.RopeTheta), 0) {
		return fmt.Errorf("norm epsilon %v or rotary base %v: %w", c.NormEps, c.RopeTheta, ErrConfig)
	}
	if s := c.RopeScaling; s != nil && !(s.Factor > 0 && s.LowFreq > 0 && s.HighFreq > s.LowFreq && s.OriginalMax > 0) {
		return fmt.Errorf("rotary scaling %+v: %w", *s, ErrConfig)
	}
	return nil
}

// known lists the architectures for messages.
const known = "llama"

// ConfigFromGGUF reads the configuration from GGUF metadata.
func ConfigFromGGUF(f *gguf.File) (Config, error) {
	arch, err := gguf.Get[string](f, "general.architecture")
	if err != nil {
		return Config{}, err
	}
	if arch != "llama" {
		return Config{}, fmt.Errorf("architecture %q is not among those known (%s): %w", arch, known, ErrUnsupported)
	}
	var c Config
	for key, to := range map[string]*int{
		"embedding_length": &c.Hidden, "block_count": &c.Layers, "attention.head_count": &c.Heads,
		"feed_forward_length": &c.FFN, "context_length": &c.MaxSeq,
	} {
		if *to, err = f.Int("llama." + key); err != nil {
			return c, err
		}
	}
	if c.NormEps, err = gguf.Get[float32](f, "llama.attention.layer_norm_rms_epsilon"); err != nil {
		return c, err
	}
	if c.KVHeads, err = f.Int("llama.attention.head_count_kv"); errors.Is(err, gguf.ErrNotFound) {
		c.KVHeads, err = c.Heads, nil
	}
	if err != nil {
		return c, err
	}
	if c.HeadDim, err = f.Int("llama.attention.key_length"); errors.Is(err, gguf.ErrNotFound) && c.Heads > 0 {
		c.HeadDim, err = c.Hidden/c.Heads, nil
	}
	if err != nil {
		return c, err
	}
	if n, err := f.Int("llama.rope.dimension_count"); err == nil && n != c.HeadDim {
		return c, fmt.Errorf("rotary embedding of %d of %d dimensions: %w", n, c.HeadDim, ErrUnsupported)
	}
	if n, err := f.Int("llama.expert_count"); err == nil && n > 0 {
		return c, fmt.Errorf("a mixture of %d experts as base: %w", n, ErrUnsupported)
	}
	if c.RopeTheta, err = gguf.Get[float32](f, "llama.rope.freq_base"); errors.Is(err, gguf.ErrNotFound) {
		c.RopeTheta = 10000
	} else if err != nil {
		return c, err
	}
	if kind, err := gguf.Get[string](f, "llama.rope.scaling.type"); err == nil && kind != "none" {
		return c, fmt.Errorf("rotary scaling %q: %w", kind, ErrUnsupported)
	}
	emb, ok := f.Info("token_embd.weight")
	if !ok || len(emb.Shape) != 2 {
		return c, fmt.Errorf("tensor token_embd.weight is missing or no matrix: %w", ErrWeights)
	}
	c.Vocab = emb.Shape[0]
	_, untied := f.Info("output.weight")
	c.Tied = !untied
	return c, c.Check()
}

type hfConfig struct {
	ModelType      string     `json:"model_type"`
	Vocab          int        `json:"vocab_size"`
	Hidden         int        `json:"hidden_size"`
	Layers         int        `json:"num_hidden_layers"`
	Heads          int        `json:"num_attention_heads"`
	KVHeads        int        `json:"num_key_value_heads"`
	HeadDim        int        `json:"head_dim"`
	FFN            int        `json:"intermediate_size"`
	MaxSeq         int        `json:"max_position_embeddings"`
	NormEps        float32    `json:"rms_norm_eps"`
	Act            string     `json:"hidden_act"`
	AttentionBias  bool       `json:"attention_bias"`
	MLPBias        bool       `json:"mlp_bias"`
	Tied           bool       `json:"tie_word_embeddings"`
	RopeTheta      float32    `json:"rope_theta"`
	RopeScaling    *hfScaling `json:"rope_scaling"`
	RopeParameters *hfScaling `json:"rope_parameters"`
}

type hfScaling struct {
	RopeScaling
	Theta float32 `json:"rope_theta"`
	Type  string  `json:"rope_type"`
	Old   string  `json:"type"`
}

// ConfigFromHF reads a Hugging Face config.json, in the older form (rope_theta, rope_scaling) or the newer
// (rope_parameters).
func ConfigFromHF(b []byte) (Config, error) {
	var h hfConfig
	if err := json.Unmarshal(b, &h); err != nil {
		return Config{}, fmt.Errorf("config.json: %w: %w", ErrConfig, err)
	}
	if h.ModelType != "llama" {
		return Config{}, fmt.Errorf("config.json: model type %q is not among those known (%s): %w", h.ModelType, known, ErrUnsupported)
	}
	if h.AttentionBias || h.MLPBias || h.Act != "" && h.Act != "silu" {
		return Config{}, fmt.Errorf("config.json: attention_bias %v, mlp_bias %v, hidden_act %q: %w", h.AttentionBias, h.MLPBias, h.Act, ErrUnsupported)
	}
	c := Config{Vocab: h.Vocab, Hidden: h.Hidden, Layers: h.Layers, Heads: h.Heads, KVHeads: h.KVHeads, HeadDim: h.HeadDim,
		FFN: h.FFN, MaxSeq: h.MaxSeq, NormEps: h.NormEps, RopeTheta: h.RopeTheta, Tied: h.Tied}
	if c.KVHeads == 0 {
		c.KVHeads = c.Heads
	}
	if c.HeadDim == 0 && c.Heads > 0 {
		c.HeadDim = c.Hidden / c.Heads
	}
	s := h.RopeScaling
	if h.RopeParameters != nil {
		s = h.RopeParameters
		c.RopeTheta = s.Theta
	}
	if c.RopeTheta == 0 {
		c.RopeTheta = 10000
	}
	if s != nil {
		switch kind := s.Type + s.Old; kind {
		case "", "default", "defaultdefault":
		case "llama3", "llama3llama3":
			r := s.RopeScaling
			c.RopeScaling = &r
		default:
			return c, fmt.Errorf("config.json: rotary scaling %q is not among default, llama3: %w", kind, ErrUnsupported)
		}
	}
	return c, c.Check()
}
