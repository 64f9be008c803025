package llama_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
)

// small is a config.json without its first entries.
const small = `"vocab_size":10,"hidden_size":8,"num_hidden_layers":3,"num_attention_heads":2,"intermediate_size":4,"max_position_embeddings":16,"rms_norm_eps":1e-5`

func TestConfigFromHF(t *testing.T) {
	for _, c := range []struct {
		json string
		want error
		says string
	}{
		{`{`, llama.ErrConfig, "config.json"},
		{`{"model_type":"mamba"}`, llama.ErrUnsupported, "gemma2, gpt2, llama, mistral, qwen2, qwen3"},
		{`{"model_type":"llama"}`, llama.ErrConfig, "vocabulary is 0"},
		{`{"model_type":"llama","attention_bias":true}`, llama.ErrUnsupported, "attention_bias"},
		{`{"model_type":"llama","mlp_bias":true}`, llama.ErrUnsupported, "mlp_bias"},
		{`{"model_type":"qwen2","hidden_act":"gelu"}`, llama.ErrUnsupported, `hidden_act "gelu"`},
		{`{"model_type":"gemma2","hidden_act":"silu"}`, llama.ErrUnsupported, `hidden_act "silu"`},
		{`{"model_type":"gemma2","use_bidirectional_attention":true}`, llama.ErrUnsupported, "use_bidirectional_attention"},
		{`{"model_type":"llama","partial_rotary_factor":0.5}`, llama.ErrUnsupported, "partial_rotary_factor"},
		{`{"model_type":"llama","attn_logit_softcapping":50}`, llama.ErrUnsupported, "attn_logit_softcapping"},
		{`{"model_type":"llama","rope_scaling":{"type":"yarn","factor":2}}`, llama.ErrUnsupported, "yarn"},
		{`{"model_type":"qwen2","layer_types":["linear_attention"]}`, llama.ErrUnsupported, "linear_attention"},
		{`{"model_type":"qwen2","layer_types":["sliding_attention"]}`, llama.ErrConfig, "no sliding_window"},
		{`{"model_type":"gemma2",` + small + `,"sliding_window":4,"layer_types":["full_attention"]}`, llama.ErrConfig, "1 of 3 layers"},
		{`{"model_type":"mistral",` + small + `,"sliding_window":-4}`, llama.ErrConfig, "sliding window is -4"},
		{`{"model_type":"gemma2",` + small + `,"final_logit_softcapping":-1}`, llama.ErrConfig, "cap of the logits is -1"},
		{`{"model_type":"llama",` + small + `,"rope_theta":0.5}`, llama.ErrConfig, "rotary base 0.5"},
		{`{"model_type":"gpt2","activation_function":"relu"}`, llama.ErrUnsupported, "relu"},
		{`{"model_type":"gpt2","scale_attn_by_inverse_layer_idx":true}`, llama.ErrUnsupported, "scale_attn_by_inverse_layer_idx true"},
		{`{"model_type":"gpt2","vocab_size":10,"n_embd":9,"n_layer":1,"n_head":2,"n_positions":5}`, llama.ErrConfig, "wants the hidden size 9"},
	} {
		if _, err := llama.ConfigFromHF([]byte(c.json)); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.json, err)
		}
	}
	old, err := llama.ConfigFromHF([]byte(`{"model_type":"llama",` + small + `,"rope_theta":500000,
	"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64}}`))
	if err != nil || old.KVHeads != 2 || old.HeadDim != 4 || old.RopeTheta != 500000 || old.RopeScaling == nil || old.RopeScaling.Factor != 8 {
		t.Errorf("%+v, %v", old, err)
	}
}

// TestWindowsFromHF: which layers slide, by model type and by what the file says.
func TestWindowsFromHF(t *testing.T) {
	for _, c := range []struct {
		json   string
		window int
		layers []bool
	}{
		{`"model_type":"mistral","sliding_window":4`, 4, nil},
		{`"model_type":"mistral","sliding_window":null`, 0, nil},
		{`"model_type":"qwen2","sliding_window":4,"use_sliding_window":false,"max_window_layers":1`, 0, nil},
		{`"model_type":"qwen2","sliding_window":4,"use_sliding_window":true,"max_window_layers":1`, 4, []bool{false, true, true}},
		{`"model_type":"qwen3","sliding_window":4,"use_sliding_window":true,"layer_types":["sliding_attention","full_attention","full_attention"]`, 4, []bool{true, false, false}},
		{`"model_type":"gemma2","sliding_window":4`, 4, []bool{true, false, true}},
	} {
		got, err := llama.ConfigFromHF([]byte("{" + c.json + "," + small + "}"))
		if err != nil || got.Window != c.window || !slices.Equal(got.Windowed, c.layers) {
			t.Errorf("%s: window %d in %v, %v", c.json, got.Window, got.Windowed, err)
		}
	}
}

// TestConfigFromGGUF: a family's configuration is back from what llama.cpp's keys hold of it.
func TestConfigFromGGUF(t *testing.T) {
	for name, c := range llamatest.Families() {
		got, err := llama.ConfigFromGGUF(inGGUF(t, c, llamatest.Random(c, 1), gguf.F32))
		if c = holds(c); err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: %+v, want %+v: %v", name, got, c, err)
		}
	}
	meta := func(key string, v any) *gguf.File {
		f := inGGUF(t, llamatest.Config(), llamatest.Random(llamatest.Config(), 1), gguf.F32)
		f.Meta[key] = v
		return f
	}
	for _, c := range []struct {
		f    *gguf.File
		want error
		says string
	}{
		{meta("general.architecture", "mamba"), llama.ErrUnsupported, "gemma2, gpt2, llama, mistral, qwen2, qwen3"},
		{meta("general.architecture", "qwen3"), gguf.ErrNotFound, "qwen3.embedding_length"},
		{meta("llama.expert_count", uint32(8)), llama.ErrUnsupported, "a mixture of 8 experts"},
		{meta("llama.rope.scaling.type", "yarn"), llama.ErrUnsupported, "yarn"},
		{meta("llama.rope.dimension_count", uint32(4)), llama.ErrUnsupported, "4 of 6 dimensions"},
		{meta("llama.attention.value_length", uint32(4)), llama.ErrUnsupported, "values of 4 dimensions"},
		{meta("llama.attention.layer_norm_rms_epsilon", float32(math.NaN())), llama.ErrConfig, "norm epsilon NaN"},
	} {
		if _, err := llama.ConfigFromGGUF(c.f); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want %q", err, c.says)
		}
	}
	qwen := llamatest.Families()["qwen3"]
	f := inGGUF(t, qwen, llamatest.Random(qwen, 1), gguf.F32)
	f.Meta["qwen3.attention.sliding_window"] = uint32(9)
	if _, err := llama.ConfigFromGGUF(f); !errors.Is(err, llama.ErrUnsupported) || !strings.Contains(err.Error(), "sliding window of 9") {
		t.Error(err)
	}
}

// TestGemma27B: the one size whose files must be known by their number of layers.
func TestGemma27B(t *testing.T) {
	c := llamatest.Families()["gemma2"]
	c.Layers, c.Windowed = 46, make([]bool, 46)
	for i := range c.Windowed {
		c.Windowed[i] = i%2 == 0
	}
	if _, err := c.GGUF(); !errors.Is(err, llama.ErrUnsupported) {
		t.Errorf("a query scalar that is not said is written: %v", err)
	}
	c.QueryScalar = float32(c.Hidden) / float32(c.Heads)
	meta, err := c.GGUF()
	var b bytes.Buffer
	if err == nil {
		err = llama.WriteGGUF(&b, &c, llamatest.Random(c, 1), meta, gguf.F32)
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := llama.ConfigFromGGUF(f); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%+v, want %+v: %v", got, c, err)
	}
}

// TestConfigJSON: what a family has not is left out, because the JSON is part of old fingerprints.
func TestConfigJSON(t *testing.T) {
	b, err := json.Marshal(llamatest.Config())
	want := `{"vocab":67,"hidden":24,"layers":3,"heads":4,"kv_heads":2,"head_dim":6,"ffn":40,"max_seq":128,"norm_eps":0.00001,"rope_theta":10000,"tied":true}`
	if err != nil || string(b) != want {
		t.Errorf("%s, want %s: %v", b, want, err)
	}
	for name, c := range llamatest.Families() {
		if b, err = json.Marshal(c); err != nil {
			t.Fatal(err)
		}
		var back llama.Config
		if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, c) {
			t.Errorf("%s: %+v, want %+v: %v", name, back, c, err)
		}
	}
}

// TestLimitsInHF: transformers refuses limits without a decimal point.
func TestLimitsInHF(t *testing.T) {
	c := llamatest.Families()["gemma2"]
	c.AttnCap = 0
	b, err := c.HF("F32")
	if err != nil || !bytes.Contains(b, []byte(`"final_logit_softcapping": 3.0`)) || !bytes.Contains(b, []byte(`"attn_logit_softcapping": null`)) {
		t.Errorf("%s: %v", b, err)
	}
}

func FuzzConfigFromHF(f *testing.F) {
	for _, kind := range []string{"llama", "mistral", "qwen2", "qwen3", "gemma2"} {
		f.Add([]byte(`{"model_type":"` + kind + `","sliding_window":4,"use_sliding_window":true,` + small + `}`))
	}
	f.Add([]byte(`{"model_type":"gpt2","vocab_size":10,"n_embd":8,"n_layer":1,"n_head":2,"n_positions":5}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := llama.ConfigFromHF(b)
		if err != nil {
			return
		}
		if err := c.Check(); err != nil {
			t.Errorf("%s: a configuration that does not pass its check: %v", b, err)
		}
	})
}

func FuzzConfigFromGGUF(f *testing.F) {
	for name, c := range llamatest.Families() {
		c = holds(c)
		meta, err := c.GGUF()
		if err != nil {
			f.Fatal(name, err)
		}
		embedding := gguf.Tensor{Name: "token_embd.weight", Shape: []int{1, 1}, Data: []float32{0}} // the others would hide the metadata
		var b bytes.Buffer
		if err := gguf.Write(&b, meta, []gguf.Tensor{embedding}); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := gguf.Parse(b)
		if err != nil {
			return
		}
		c, err := llama.ConfigFromGGUF(file)
		if err != nil {
			return
		}
		if err := c.Check(); err != nil {
			t.Errorf("a configuration that does not pass its check: %v", err)
		}
	})
}
