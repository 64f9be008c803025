package llama

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/gopeft/peft/base/gguf"
)

// ggufConfig reads one architecture's metadata; after the first error it reads nothing.
type ggufConfig struct {
	f    *gguf.File
	arch string
	err  error
}

// int reads an integer; without a default, which must come first, the entry must be there.
func (g *ggufConfig) int(key string, absent ...int) int {
	if g.err != nil {
		return 0
	}
	v, err := g.f.Int(g.arch + "." + key)
	if errors.Is(err, gguf.ErrNotFound) && len(absent) > 0 {
		return absent[0]
	}
	g.err = err
	return v
}

// float is int for numbers.
func (g *ggufConfig) float(key string, absent ...float32) float32 {
	if g.err != nil {
		return 0
	}
	v, err := gguf.Get[float32](g.f, g.arch+"."+key)
	if errors.Is(err, gguf.ErrNotFound) && len(absent) > 0 {
		return absent[0]
	}
	g.err = err
	return v
}

// refuse reports a feature that is not computed.
func (g *ggufConfig) refuse(format string, args ...any) {
	if g.err == nil {
		g.err = fmt.Errorf("%s: "+format+": %w", append(append([]any{g.arch}, args...), ErrUnsupported)...)
	}
}

// ConfigFromGGUF reads the configuration from GGUF metadata, by the keys that llama.cpp has. Mistral's files are of
// architecture llama; their sliding window is llama.attention.sliding_window where it is there.
func ConfigFromGGUF(f *gguf.File) (Config, error) {
	arch, err := gguf.Get[string](f, "general.architecture")
	if err != nil {
		return Config{}, err
	}
	var c Config
	switch arch {
	case "llama":
	case "qwen2", "qwen3", "gemma2", "gpt2":
		c.Family = Family(arch)
	default:
		return c, unknown("architecture", arch)
	}
	g, t := &ggufConfig{f: f, arch: arch}, c.traits()
	c.Hidden, c.Layers, c.Heads = g.int("embedding_length"), g.int("block_count"), g.int("attention.head_count")
	c.FFN, c.MaxSeq = g.int("feed_forward_length"), g.int("context_length")
	c.KVHeads = g.int("attention.head_count_kv", c.Heads)
	c.HeadDim = g.int("attention.key_length", c.Hidden/max(1, c.Heads))
	if v := g.int("attention.value_length", c.HeadDim); v != c.HeadDim {
		g.refuse("values of %d dimensions beside keys of %d", v, c.HeadDim)
	}
	if t.layerNorm {
		c.NormEps = g.float("attention.layer_norm_epsilon")
	} else {
		c.NormEps = g.float("attention.layer_norm_rms_epsilon")
	}
	if n := g.int("expert_count", 0); n > 0 {
		g.refuse("a mixture of %d experts as base", n)
	}
	if !t.learned {
		g.rotation(&c)
	}
	g.window(&c)
	if g.err != nil {
		return c, g.err
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

func (g *ggufConfig) rotation(c *Config) {
	if n := g.int("rope.dimension_count", c.HeadDim); n != c.HeadDim {
		g.refuse("rotary embedding of %d of %d dimensions", n, c.HeadDim)
	}
	c.RopeTheta = g.float("rope.freq_base", 10000)
	if kind, err := gguf.Get[string](g.f, g.arch+".rope.scaling.type"); err == nil && kind != "none" {
		g.refuse("rotary scaling %q", kind)
	}
	d, _, err := g.f.Tensor(ropeDivisors)
	if err != nil && !errors.Is(err, gguf.ErrNotFound) && g.err == nil {
		g.err = err
	}
	c.RopeDivisors = d
}

// GGUF returns the metadata that ConfigFromGGUF and llama.cpp read. What llama.cpp has no key for gives ErrUnsupported.
func (c *Config) GGUF() ([]gguf.KV, error) {
	arch, t := c.Family.String(), c.traits()
	kv := []gguf.KV{{Key: "general.architecture", Value: arch}}
	put := func(key string, v any) { kv = append(kv, gguf.KV{Key: arch + "." + key, Value: v}) }
	for _, e := range []struct {
		key string
		v   int
	}{
		{"vocab_size", c.Vocab}, {"context_length", c.MaxSeq}, {"embedding_length", c.Hidden}, {"block_count", c.Layers}, {"feed_forward_length", c.FFN},
		{"attention.head_count", c.Heads}, {"attention.head_count_kv", c.KVHeads}, {"attention.key_length", c.HeadDim}, {"attention.value_length", c.HeadDim},
	} {
		put(e.key, uint32(e.v))
	}
	if t.layerNorm {
		put("attention.layer_norm_epsilon", c.NormEps)
	} else {
		put("attention.layer_norm_rms_epsilon", c.NormEps)
	}
	if !t.learned {
		put("rope.dimension_count", uint32(c.HeadDim))
		put("rope.freq_base", c.RopeTheta)
	}
	window, layers, scalar := 0, []bool(nil), float32(0) // what a reader takes the file for
	switch c.Family {
	case Llama:
		if window = c.Window; window > 0 {
			put("attention.sliding_window", uint32(window))
		}
	case Gemma2:
		window, layers, scalar = c.Window, everySecond(c.Layers), gemmaScalar(c)
		put("attention.sliding_window", uint32(window))
		put("attn_logit_softcapping", c.AttnCap)
		put("final_logit_softcapping", c.LogitCap)
	}
	if size := float32(c.HeadDim); c.Window != window || !slices.Equal(c.Windowed, layers) || cmp.Or(c.QueryScalar, size) != cmp.Or(scalar, size) {
		return nil, fmt.Errorf("GGUF of %v with a sliding window of %d in layers %v and a query scalar of %v: %w", c.Family, c.Window, c.Windowed, c.QueryScalar, ErrUnsupported)
	}
	return kv, nil
}

// window reads the sliding window and what goes with it.
func (g *ggufConfig) window(c *Config) {
	switch c.Family {
	case Llama:
		c.Window = g.int("attention.sliding_window", 0)
	case Gemma2:
		c.Window = g.int("attention.sliding_window", 4096)
		c.Windowed = everySecond(c.Layers)
		c.AttnCap, c.LogitCap = g.float("attn_logit_softcapping", 50), g.float("final_logit_softcapping", 30)
		c.QueryScalar = gemmaScalar(c)
	default:
		if n := g.int("attention.sliding_window", 0); n > 0 {
			g.refuse("a sliding window of %d tokens, in layers that the file does not name", n)
		}
	}
}

// gemmaScalar returns what a Gemma 2's queries are scaled by, which a file does not say; 0 for the head size. The largest,
// of 46 layers, has hidden/heads.
func gemmaScalar(c *Config) float32 {
	if c.Layers != 46 {
		return 0
	}
	return float32(c.Hidden) / float32(max(1, c.Heads))
}

// everySecond names every second of so many layers, from the first on.
func everySecond(layers int) []bool {
	w := make([]bool, min(layers, maxLayers))
	for i := range w {
		w[i] = i%2 == 0
	}
	return w
}
