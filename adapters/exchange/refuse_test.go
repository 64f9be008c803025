package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
	"github.com/gopeft/peft/base/safetensors"
)

// writeChanged writes the adapter lora-list with options replaced, an option removed where the value is nil, and tensors
// changed.
func writeChanged(t testing.TB, from string, options map[string]any, change func([]safetensors.Tensor) []safetensors.Tensor) string {
	t.Helper()
	dir := t.TempDir()
	b, err := os.ReadFile(filepath.Join("testdata", from, configFile))
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	for k, v := range options {
		c[k] = v
	}
	if b, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(filepath.Join("testdata", from, weightsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var tensors []safetensors.Tensor
	for _, n := range f.Names() {
		x, shape, err := f.Tensor(n)
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, safetensors.Tensor{Name: n, Shape: shape, Data: x})
	}
	if change != nil {
		tensors = change(tensors)
	}
	var w bytes.Buffer
	if err := safetensors.Write(&w, tensors, nil); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, weightsFile), w.Bytes(), 0o644), os.WriteFile(filepath.Join(dir, configFile), b, 0o644)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestOptions: what changes the computation and is not computed here is refused by name; what does not change it is not.
func TestOptions(t *testing.T) {
	c, _ := tiny(t)
	for _, o := range []struct {
		from, key string
		value     any
		want      error
		says      string
	}{
		{"lora-list", "lora_bias", true, ErrUnsupported, "lora_bias = true"},
		{"lora-list", "bias", "all", ErrUnsupported, `bias = "all"`},
		{"lora-list", "bias", "lora_only", ErrUnsupported, "bias"},
		{"lora-list", "modules_to_save", []string{"lm_head"}, ErrUnsupported, "modules_to_save"},
		{"ia3", "modules_to_save", []string{"lm_head"}, ErrUnsupported, "modules_to_save"},
		{"lora-list", "alora_invocation_tokens", []int{1}, ErrUnsupported, "alora_invocation_tokens"},
		{"lora-list", "layer_replication", [][]int{{0, 1}}, ErrUnsupported, "layer_replication"},
		{"lora-list", "use_qalora", true, ErrUnsupported, "use_qalora"},
		{"lora-list", "velora_config", map[string]int{"num_groups": 1}, ErrUnsupported, "velora_config"},
		{"lora-list", "kasa_config", map[string]int{"beta": 1}, ErrUnsupported, "kasa_config"},
		{"lora-list", "use_bdlora", map[string]int{"nblocks": 2}, ErrUnsupported, "use_bdlora"},
		{"lora-list", "arrow_config", map[string]int{"top_k": 2}, ErrUnsupported, "arrow_config"},
		{"lora-list", "monteclora_config", map[string]int{"buffer_size": 2}, ErrUnsupported, "monteclora_config"},
		{"lora-list", "megatron_config", map[string]int{"x": 2}, ErrUnsupported, "megatron_config"},
		{"lora-list", "target_parameters", []string{"x"}, ErrUnsupported, "target_parameters"},
		{"lora-list", "trainable_token_indices", []int{1}, ErrUnsupported, "trainable_token_indices"},
		{"lora-list", "init_lora_weights", "pissa", ErrUnsupported, "pissa"},
		{"lora-list", "of_next_year", 0.5, ErrUnsupported, "of_next_year = 0.5"},
		{"lora-list", "feedforward_modules", []string{"x"}, ErrUnsupported, "feedforward_modules"},
		{"ia3", "rank_pattern", map[string]int{"x": 3}, ErrUnsupported, "rank_pattern"},
		{"lora-list", "peft_type", "LOHA", ErrUnsupported, "LORA and IA3"},
		{"lora-list", "target_modules", nil, ErrMismatch, "target_modules"},
		{"lora-list", "target_modules", []string{"query_key_value"}, ErrMismatch, "match none"},
		{"lora-list", "target_modules", []string{"q_proj", "lm_head"}, ErrUnsupported, "lm_head"},
		{"lora-list", "target_modules", "((", ErrUnsupported, "regular expression"},
		{"lora-regex", "layers_to_transform", 1, ErrMismatch, "layers_to_transform"},
		{"lora-list", "layers_pattern", "layers", ErrMismatch, "layers_pattern"},
		{"lora-list", "r", 0, ErrMismatch, "rank 0"},
		{"lora-list", "r", 2.5, ErrMismatch, "rank 2.5"},
		{"lora-list", "r", "4", ErrMismatch, "r of type"},
		{"lora-list", "rank_pattern", []int{1}, ErrMismatch, "an object of numbers"},
		{"ia3", "feedforward_modules", nil, ErrMismatch, "feedforward_modules"},

		{"lora-list", "of_next_year", false, nil, ""},
		{"lora-list", "of_next_year", nil, nil, ""},
		{"lora-list", "lora_dropout", 0.5, nil, ""},
		{"lora-list", "init_lora_weights", "gaussian", nil, ""},
		{"lora-list", "fan_in_fan_out", true, nil, ""},
		{"lora-list", "base_model_name_or_path", nil, nil, ""},
		{"lora-list", "layers_to_transform", []int{0, 1}, nil, ""},
		{"lora-list", "exclude_modules", "lm_head", nil, ""},
		{"lora-list", "target_modules", []string{"q_proj", "k_proj", "model.layers.0.self_attn.v_proj", "1.self_attn.v_proj", "elsewhere"}, nil, ""},
	} {
		_, err := ReadPEFT(writeChanged(t, o.from, map[string]any{o.key: o.value}, nil), c)
		if !errors.Is(err, o.want) || err != nil && !strings.Contains(err.Error(), o.says) {
			t.Errorf("%s with %s = %v: %v; want %v that says %q", o.from, o.key, o.value, err, o.want, o.says)
		}
	}
}

// TestTensors: files that miss tensors, have others, or other shapes are refused with the names and shapes.
func TestTensors(t *testing.T) {
	c, _ := tiny(t)
	const first = "base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight"
	for _, o := range []struct {
		name   string
		change func([]safetensors.Tensor) []safetensors.Tensor
		want   error
		says   string
	}{
		{"missing", func(x []safetensors.Tensor) []safetensors.Tensor { return x[1:] }, ErrMismatch, "missing: " + first + " [4 16]"},
		{"none", func([]safetensors.Tensor) []safetensors.Tensor { return nil }, ErrMismatch, "and 8 more"},
		{"extra", func(x []safetensors.Tensor) []safetensors.Tensor {
			return append(x, safetensors.Tensor{Name: "base_model.model.lm_head.weight", Shape: []int{61, 16}, Data: make([]float32, 61*16)})
		}, ErrMismatch, "not expected: base_model.model.lm_head.weight [61 16]"},
		{"shape", func(x []safetensors.Tensor) []safetensors.Tensor { x[0].Shape = []int{16, 4}; return x }, ErrMismatch, first + " is [16 4], want [4 16]"},
		{"NaN", func(x []safetensors.Tensor) []safetensors.Tensor { x[0].Data[7] = float32(math.NaN()); return x }, ErrNotFinite, "layers.0.self_attn.k_proj: A: element 7"},
	} {
		if _, err := ReadPEFT(writeChanged(t, "lora-list", nil, o.change), c); !errors.Is(err, o.want) || !strings.Contains(err.Error(), o.says) {
			t.Errorf("%s: %v; want %v that says %q", o.name, err, o.want, o.says)
		}
	}
	wide := *c
	wide.Hidden *= 2
	if _, err := ReadPEFT(filepath.Join("testdata", "lora-list"), &wide); !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), "is [4 16], want [4 32]") {
		t.Errorf("another base: %v", err)
	}
}

func TestPickle(t *testing.T) {
	c, _ := tiny(t)
	dir := writeChanged(t, "lora-list", nil, nil)
	if err := os.Rename(filepath.Join(dir, weightsFile), filepath.Join(dir, pickleFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPEFT(dir, c); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "save_pretrained") {
		t.Error(err)
	}
	if _, err := ReadPEFT(t.TempDir(), c); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestGGUFRefusals changes the metadata and tensors of an adapter that is read.
func TestGGUFRefusals(t *testing.T) {
	c, _ := tiny(t)
	f, err := gguf.Open(filepath.Join("testdata", "lora-list.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := func(meta map[string]any, change func([]gguf.Tensor) []gguf.Tensor) error {
		var kv []gguf.KV
		for k, v := range f.Meta {
			if n, ok := meta[k]; ok {
				v = n
			}
			if v != nil {
				kv = append(kv, gguf.KV{Key: k, Value: v})
			}
		}
		for k, v := range meta {
			if _, ok := f.Meta[k]; !ok {
				kv = append(kv, gguf.KV{Key: k, Value: v})
			}
		}
		var tensors []gguf.Tensor
		for _, i := range f.Tensors() {
			x, shape, err := f.Tensor(i.Name)
			if err != nil {
				t.Fatal(err)
			}
			tensors = append(tensors, gguf.Tensor{Name: i.Name, Shape: slices.Clone(shape), Data: x})
		}
		slices.SortFunc(tensors, func(a, b gguf.Tensor) int { return strings.Compare(a.Name, b.Name) })
		if change != nil {
			tensors = change(tensors)
		}
		var b bytes.Buffer
		if err := gguf.Write(&b, kv, tensors); err != nil {
			t.Fatal(err)
		}
		g, err := gguf.Parse(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		_, err = fromGGUF(g, c)
		return err
	}
	for _, o := range []struct {
		name   string
		meta   map[string]any
		change func([]gguf.Tensor) []gguf.Tensor
		want   error
		says   string
	}{
		{"as it is", nil, nil, nil, ""},
		{"no alpha", map[string]any{"adapter.lora.alpha": nil}, nil, nil, ""},
		{"alpha", map[string]any{"adapter.lora.alpha": "8"}, nil, gguf.ErrCorrupt, "adapter.lora.alpha"},
		{"infinite alpha", map[string]any{"adapter.lora.alpha": float32(math.Inf(1))}, nil, ErrNotFinite, "scale"},
		{"model", map[string]any{"general.type": "model"}, nil, ErrUnsupported, "--base"},
		{"architecture", map[string]any{"general.architecture": "gemma"}, nil, ErrUnsupported, `"gemma", want "llama"`},
		{"type", map[string]any{"adapter.type": "control_vector"}, nil, ErrUnsupported, "adapter.type"},
		{"aLoRA", map[string]any{"adapter.alora.invocation_tokens": []uint32{1}}, nil, ErrUnsupported, "alora"},
		{"missing", nil, func(x []gguf.Tensor) []gguf.Tensor { return x[1:] }, ErrMismatch, "missing: blk.0.attn_k.weight.lora_a"},
		{"none", nil, func([]gguf.Tensor) []gguf.Tensor { return nil }, ErrMismatch, "no modules"},
		{"extra", nil, func(x []gguf.Tensor) []gguf.Tensor { x[0].Name = "token_embd.weight.lora_a"; return x }, ErrMismatch, "not expected: token_embd.weight.lora_a"},
		{"block", nil, func(x []gguf.Tensor) []gguf.Tensor { x[0].Name = "blk.2.attn_q.weight.lora_a"; return x }, ErrMismatch, "not expected: blk.2"},
		{"shape", nil, func(x []gguf.Tensor) []gguf.Tensor { x[0].Shape = []int{8, 8}; return x }, ErrMismatch, "blk.0.attn_k.weight.lora_a is [8 8], want [8 16]"},
		{"NaN", nil, func(x []gguf.Tensor) []gguf.Tensor { x[1].Data[0] = float32(math.NaN()); return x }, ErrNotFinite, "B: element 0"},
	} {
		if err := read(o.meta, o.change); !errors.Is(err, o.want) || err != nil && !strings.Contains(err.Error(), o.says) {
			t.Errorf("%s: %v; want %v that says %q", o.name, err, o.want, o.says)
		}
	}
}

func TestWriteRefusals(t *testing.T) {
	c, _ := tiny(t)
	for _, name := range []string{"dora", "ia3"} {
		a, err := ReadPEFT(filepath.Join("testdata", name), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := WriteGGUF(new(bytes.Buffer), a, c, gguf.F32); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "PEFT directory") {
			t.Errorf("%s as GGUF: %v", name, err)
		}
	}
	mixed, err := ReadPEFT(filepath.Join("testdata", "dora"), c)
	if err != nil {
		t.Fatal(err)
	}
	mixed.Modules[3].LoRA.Magnitude = nil
	if err := WritePEFT(t.TempDir(), mixed, c); !errors.Is(err, ErrUnsupported) {
		t.Errorf("half a DoRA: %v", err)
	}
	vector := make([]float32, 16)
	for name, modules := range map[string][]Module{
		"none":    nil,
		"block":   {{Block: 2, Site: llama.Query, IA3: &IA3{Vector: vector}}},
		"site":    {{Site: llama.Beside, IA3: &IA3{Vector: vector}}},
		"twice":   {{Site: llama.Query, IA3: &IA3{Vector: vector}}, {Site: llama.Query, IA3: &IA3{Vector: vector}}},
		"neither": {{Site: llama.Query}},
		"both":    {{Site: llama.Query, IA3: &IA3{Vector: vector}, LoRA: &LoRA{Rank: 1, A: vector, B: vector}}},
		"kinds":   {{Site: llama.Query, IA3: &IA3{Vector: vector}}, {Site: llama.Value, LoRA: &LoRA{Rank: 1, A: vector, B: vector[:8]}}},
		"width":   {{Site: llama.Value, IA3: &IA3{Vector: vector}}},
		"rank":    {{Site: llama.Query, LoRA: &LoRA{Rank: 2, A: vector, B: vector}}},
	} {
		if err := WritePEFT(t.TempDir(), &Adapter{Modules: modules}, c); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzConfig: whatever an adapter_config.json says, there is an error or a list of modules of the base.
func FuzzConfig(f *testing.F) {
	for name := range adapters {
		b, err := os.ReadFile(filepath.Join("testdata", name, configFile))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"peft_type":"LORA","target_modules":"(a+)+(?=b)","rank_pattern":{"(?<=x).*":3}}`))
	f.Add([]byte(`{"peft_type":"LORA","target_modules":["c_attn","mlp.c_proj"],"rank_pattern":{"h.0.attn.c_attn":3}}`))
	base, _ := tiny(f)
	gpt2 := llamatest.Families()["gpt2"]
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseConfig(b)
		if err != nil {
			return
		}
		for _, of := range []*llama.Config{base, &gpt2} {
			layers, err := c.layers(of)
			for i := range layers {
				if e := c.prepare(&layers[i]); e == nil && err == nil && layers[i].LoRA == nil && layers[i].IA3 == nil {
					t.Fatal("neither LoRA nor IA3")
				}
			}
		}
	})
}

// FuzzGGUF: whatever a file holds, there is an error or an adapter that fits the base.
func FuzzGGUF(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("testdata", "lora-list.gguf"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	base, _ := tiny(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := gguf.Parse(b)
		if err != nil {
			return
		}
		if a, err := fromGGUF(g, base); err == nil {
			if err := a.Check(base); err != nil {
				t.Fatal(err)
			}
		}
	})
}
