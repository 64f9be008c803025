package llama

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

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
	Activation     string     `json:"hidden_activation"` // Gemma's, which counts before Act
	AttentionBias  bool       `json:"attention_bias"`
	MLPBias        bool       `json:"mlp_bias"`
	Tied           *bool      `json:"tie_word_embeddings"`
	RopeTheta      float32    `json:"rope_theta"`
	RopeScaling    *hfScaling `json:"rope_scaling"`
	RopeParameters *hfScaling `json:"rope_parameters"`
	PartialRotary  *float32   `json:"partial_rotary_factor"`

	Window      int      `json:"sliding_window"`
	UseWindow   bool     `json:"use_sliding_window"` // Qwen's: without it there is no window
	MaxFull     int      `json:"max_window_layers"`  // Qwen's: how many layers have no window
	LayerTypes  []string `json:"layer_types"`
	QueryScalar float32  `json:"query_pre_attn_scalar"`
	AttnCap     float32  `json:"attn_logit_softcapping"`
	LogitCap    float32  `json:"final_logit_softcapping"`
	Bidirection bool     `json:"use_bidirectional_attention"`
}

type hfScaling struct {
	RopeScaling
	Theta float32 `json:"rope_theta"`
	Type  string  `json:"rope_type"`
	Old   string  `json:"type"`
}

// ConfigFromHF reads a Hugging Face config.json, in the older form (rope_theta, rope_scaling) or the newer
// (rope_parameters). The error wraps ErrUnsupported for an architecture or a feature that is not computed, and ErrConfig
// for what cannot be.
func ConfigFromHF(b []byte) (Config, error) {
	var h hfConfig
	err := json.Unmarshal(b, &h)
	if err != nil {
		return Config{}, fmt.Errorf("config.json: %w: %w", ErrConfig, err)
	}
	var c Config
	switch h.ModelType {
	case "llama", "mistral":
		c, err = h.config(Llama)
	case "qwen2", "qwen3", "gemma2":
		c, err = h.config(Family(h.ModelType))
	case "gpt2":
		c, err = gpt2Config(b)
	default:
		err = unknown("model type", h.ModelType)
	}
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		err = fmt.Errorf("config.json: %w", err)
	}
	return c, err
}

func (h *hfConfig) config(f Family) (Config, error) {
	c := Config{Family: f, Vocab: h.Vocab, Hidden: h.Hidden, Layers: h.Layers, Heads: h.Heads, KVHeads: h.KVHeads, HeadDim: h.HeadDim,
		FFN: h.FFN, MaxSeq: h.MaxSeq, NormEps: h.NormEps, RopeTheta: h.RopeTheta, QueryScalar: h.QueryScalar, AttnCap: h.AttnCap, LogitCap: h.LogitCap}
	t := c.traits()
	if err := h.refuse(t); err != nil {
		return c, err
	}
	if c.Tied = t.tied; h.Tied != nil {
		c.Tied = *h.Tied
	}
	if c.KVHeads == 0 {
		c.KVHeads = c.Heads
	}
	if c.HeadDim == 0 {
		c.HeadDim = t.headDim
	}
	if c.HeadDim == 0 && c.Heads > 0 {
		c.HeadDim = c.Hidden / c.Heads
	}
	if err := h.window(&c); err != nil {
		return c, err
	}
	return c, h.rotation(&c)
}

// refuse names the first feature that is not computed.
func (h *hfConfig) refuse(t traits) error {
	act, want := h.Act, []string{"silu"}
	if h.Activation != "" {
		act = h.Activation
	}
	if t.gelu {
		want = []string{"gelu_pytorch_tanh", "gelu_new"}
	}
	scaled := h.QueryScalar != 0 || h.AttnCap != 0 || h.LogitCap != 0
	for _, f := range []struct {
		has  bool
		what string
	}{
		{act != "" && !slices.Contains(want, act), fmt.Sprintf("hidden_act %q, want %q", act, want)},
		{h.AttentionBias, "attention_bias"},
		{h.MLPBias, "mlp_bias"},
		{h.Bidirection, "use_bidirectional_attention"},
		{h.PartialRotary != nil && *h.PartialRotary != 1, "partial_rotary_factor other than 1"},
		{scaled && h.ModelType != string(Gemma2), "query_pre_attn_scalar, attn_logit_softcapping or final_logit_softcapping outside Gemma 2"},
	} {
		if f.has {
			return fmt.Errorf("%s of model type %s: %w", f.what, h.ModelType, ErrUnsupported)
		}
	}
	return nil
}

// window says which layers have the sliding window: what layer_types names, or the rule of the model type.
func (h *hfConfig) window(c *Config) error {
	qwen := c.Family == Qwen2 || c.Family == Qwen3
	if c.Window = h.Window; h.Window == 0 || qwen && !h.UseWindow {
		c.Window = 0
		if slices.Contains(h.LayerTypes, "sliding_attention") {
			return fmt.Errorf("layer_types with sliding_attention, but no sliding_window: %w", ErrConfig)
		}
	}
	for i, kind := range h.LayerTypes {
		if kind != "full_attention" && kind != "sliding_attention" {
			return fmt.Errorf("layer_types[%d] %q is not among full_attention, sliding_attention: %w", i, kind, ErrUnsupported)
		}
	}
	if c.Window == 0 {
		return nil
	}
	switch {
	case h.LayerTypes != nil:
		for _, kind := range h.LayerTypes {
			c.Windowed = append(c.Windowed, kind == "sliding_attention")
		}
	case c.Family == Gemma2:
		c.Windowed = everySecond(c.Layers)
	case qwen:
		for i := range min(c.Layers, maxLayers) {
			c.Windowed = append(c.Windowed, i >= h.MaxFull)
		}
	}
	return nil
}

func (h *hfConfig) rotation(c *Config) error {
	s := h.RopeScaling
	if h.RopeParameters != nil {
		s = h.RopeParameters
		c.RopeTheta = s.Theta
	}
	if c.RopeTheta == 0 {
		c.RopeTheta = 10000
	}
	if s == nil {
		return nil
	}
	switch kind := s.Type + s.Old; kind {
	case "", "default", "defaultdefault":
	case "llama3", "llama3llama3":
		r := s.RopeScaling
		c.RopeScaling = &r
	default:
		return fmt.Errorf("rotary scaling %q is not among default, llama3: %w", kind, ErrUnsupported)
	}
	return nil
}

// gpt2Config reads GPT-2's config.json, which has names of its own.
func gpt2Config(b []byte) (Config, error) {
	h := struct {
		Vocab     int     `json:"vocab_size"`
		Hidden    int     `json:"n_embd"`
		Layers    int     `json:"n_layer"`
		Heads     int     `json:"n_head"`
		Inner     int     `json:"n_inner"`
		Positions int     `json:"n_positions"`
		Eps       float32 `json:"layer_norm_epsilon"`
		Act       string  `json:"activation_function"`
		Scale     bool    `json:"scale_attn_weights"`
		ByLayer   bool    `json:"scale_attn_by_inverse_layer_idx"`
		Cross     bool    `json:"add_cross_attention"`
		Tied      bool    `json:"tie_word_embeddings"`
	}{Eps: 1e-5, Act: "gelu_new", Scale: true, Tied: true}
	if err := json.Unmarshal(b, &h); err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if h.Act != "gelu_new" && h.Act != "gelu_pytorch_tanh" || !h.Scale || h.ByLayer || h.Cross {
		return Config{}, fmt.Errorf("activation_function %q, scale_attn_weights %v, scale_attn_by_inverse_layer_idx %v, add_cross_attention %v of model type gpt2; want gelu_new, true, false, false: %w",
			h.Act, h.Scale, h.ByLayer, h.Cross, ErrUnsupported)
	}
	c := Config{Family: GPT2, Vocab: h.Vocab, Hidden: h.Hidden, Layers: h.Layers, Heads: h.Heads, KVHeads: h.Heads, FFN: h.Inner,
		MaxSeq: h.Positions, NormEps: h.Eps, Tied: h.Tied}
	if c.FFN == 0 {
		c.FFN = 4 * c.Hidden
	}
	if c.Heads > 0 {
		c.HeadDim = c.Hidden / c.Heads
	}
	return c, nil
}

// architectures are transformers' names of the families' classes, by model type.
var architectures = map[string]string{"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
	"qwen3": "Qwen3ForCausalLM", "gemma2": "Gemma2ForCausalLM", "gpt2": "GPT2LMHeadModel"}

// HF returns a config.json that ConfigFromHF and transformers read, for weights of an element type of safetensors. Rotary
// divisors, from which no scaling can be told, give ErrUnsupported.
func (c *Config) HF(dtype string) ([]byte, error) {
	names := map[string]string{"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
	if names[dtype] == "" {
		return nil, fmt.Errorf("element type %q is not among F32, F16, BF16: %w", dtype, ErrUnsupported)
	}
	if c.RopeDivisors != nil {
		return nil, fmt.Errorf("config.json for rotary frequencies that a GGUF file divides by %v…; a GGUF file can be written: %w", c.RopeDivisors[0], ErrUnsupported)
	}
	kind := c.Family.String()
	if c.Family == Llama && c.Window > 0 {
		kind = "mistral"
	}
	h := map[string]any{"architectures": []string{architectures[kind]}, "model_type": kind, "dtype": names[dtype], "vocab_size": c.Vocab, "tie_word_embeddings": c.Tied}
	if c.Family == GPT2 {
		c.putGPT2(h)
	} else {
		c.put(h)
	}
	return json.MarshalIndent(h, "", "  ")
}

func (c *Config) putGPT2(h map[string]any) {
	for key, v := range map[string]any{
		"n_embd": c.Hidden, "n_layer": c.Layers, "n_head": c.Heads, "n_inner": c.FFN, "n_positions": c.MaxSeq, "layer_norm_epsilon": c.NormEps,
		"activation_function": "gelu_new", "scale_attn_weights": true,
	} {
		h[key] = v
	}
}

func (c *Config) put(h map[string]any) {
	rope := map[string]any{"rope_type": "default", "rope_theta": c.RopeTheta}
	if s := c.RopeScaling; s != nil {
		rope = map[string]any{"rope_type": "llama3", "rope_theta": c.RopeTheta, "factor": s.Factor, "low_freq_factor": s.LowFreq,
			"high_freq_factor": s.HighFreq, "original_max_position_embeddings": s.OriginalMax}
	}
	act := "silu"
	if c.traits().gelu {
		act = "gelu_pytorch_tanh"
	}
	for key, v := range map[string]any{
		"hidden_size": c.Hidden, "num_hidden_layers": c.Layers, "num_attention_heads": c.Heads, "num_key_value_heads": c.KVHeads, "head_dim": c.HeadDim,
		"intermediate_size": c.FFN, "max_position_embeddings": c.MaxSeq, "rms_norm_eps": c.NormEps, "hidden_act": act, "attention_bias": false,
		"mlp_bias": false, "rope_theta": c.RopeTheta, "rope_parameters": rope,
	} {
		h[key] = v
	}
	if c.Window > 0 {
		h["sliding_window"], h["use_sliding_window"] = c.Window, true
	}
	if c.Windowed != nil {
		types := make([]string, len(c.Windowed))
		for i, w := range c.Windowed {
			types[i] = map[bool]string{true: "sliding_attention", false: "full_attention"}[w]
		}
		h["layer_types"] = types
	}
	if c.Family == Gemma2 {
		h["hidden_activation"], h["query_pre_attn_scalar"] = act, cmp.Or(c.QueryScalar, float32(c.HeadDim))
		h["attn_logit_softcapping"], h["final_logit_softcapping"] = limit(c.AttnCap), limit(c.LogitCap)
	}
}

// limit writes a limit as transformers wants it: with a decimal point, or null for none.
func limit(v float32) any {
	if v == 0 {
		return nil
	}
	s := strconv.FormatFloat(float64(v), 'f', -1, 32)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return json.Number(s)
}
