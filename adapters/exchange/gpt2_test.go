package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/safetensors"
)

// shareA gives keys and values the A of the queries, as one layer of all three has it.
func shareA(a *Adapter) {
	for i := range a.Modules {
		if m := &a.Modules[i]; m.Site == llama.Key || m.Site == llama.Value {
			m.LoRA.A = a.Modules[i-int(m.Site-llama.Query)].LoRA.A
		}
	}
}

// TestGPT2Fused reads what PEFT wrote for c_attn and merges it into the file's own weights by hand: Conv1D keeps them [in,
// out], so that each has the product of A and B turned.
func TestGPT2Fused(t *testing.T) {
	c, src := baseOf(t, "gpt2")
	file := func(dir, name string) *safetensors.File {
		t.Helper()
		f, err := safetensors.Open(filepath.Join("testdata", dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
		return f
	}
	weights, tensors := file("gpt2-base", "model.safetensors"), file("gpt2-lora", weightsFile)
	get := func(f *safetensors.File, name string) ([]float32, []int) {
		t.Helper()
		x, shape, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		return x, shape
	}
	a, err := ReadPEFT(filepath.Join("testdata", "gpt2-lora"), c)
	if err != nil {
		t.Fatal(err)
	}
	with, err := Merge(src, c, Weighted{a, 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []struct {
		name  string
		scale float32
		parts []string // of Llama's names
	}{
		{"transformer.h.0.attn.c_attn", 6.0 / 4, []string{"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj", "model.layers.0.self_attn.v_proj"}},
		{"transformer.h.1.attn.c_attn", 6.0 / 2, []string{"model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.k_proj", "model.layers.1.self_attn.v_proj"}},
		{"transformer.h.1.attn.c_proj", 6.0 / 3, []string{"model.layers.1.self_attn.o_proj"}},
		{"transformer.h.0.mlp.c_fc", 6.0 / 2, []string{"model.layers.0.mlp.up_proj"}},
		{"transformer.h.0.mlp.c_proj", 5.0 / 2, []string{"model.layers.0.mlp.down_proj"}},
	} {
		w, shape := get(weights, l.name+".weight")
		loraA, shapeA := get(tensors, prefix+l.name+".lora_A.weight")
		loraB, _ := get(tensors, prefix+l.name+".lora_B.weight")
		in, out, rank := shape[0], shape[1], shapeA[0]
		var got []float32
		for _, p := range l.parts {
			x, _, err := with.Tensor(p + ".weight")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, x...)
		}
		if len(got) != in*out {
			t.Fatalf("%s: %d values, want %d", l.name, len(got), in*out)
		}
		for o := range out {
			for i := range in {
				sum := float32(0)
				for r := range rank {
					sum += loraB[o*rank+r] * loraA[r*in+i]
				}
				if want := w[i*out+o] + l.scale*sum; got[o*in+i]-want > 1e-5 || want-got[o*in+i] > 1e-5 {
					t.Fatalf("%s[%d, %d] is %g, want %g", l.name, i, o, got[o*in+i], want)
				}
			}
		}
	}
}

// TestGPT2RoundTrip: what PEFT wrote comes back from what is written of it, with the same names, ranks and matrices.
func TestGPT2RoundTrip(t *testing.T) {
	c, _ := baseOf(t, "gpt2")
	for name := range adapters {
		if !strings.HasPrefix(name, "gpt2") {
			continue
		}
		a, err := ReadPEFT(filepath.Join("testdata", name), c)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := WritePEFT(dir, a, c); err != nil {
			t.Fatal(err)
		}
		again, err := ReadPEFT(dir, c)
		if err != nil || !reflect.DeepEqual(again, a) {
			t.Errorf("%s: another adapter came back: %v", name, err)
		}
		got, err := safetensors.Open(filepath.Join(dir, weightsFile))
		if err != nil {
			t.Fatal(err)
		}
		want, err := safetensors.Open(filepath.Join("testdata", name, weightsFile))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Names(), want.Names()) {
			t.Errorf("%s: tensors %q, want %q", name, got.Names(), want.Names())
		}
		for _, n := range want.Names() {
			x, _, errX := got.Tensor(n)
			y, _, errY := want.Tensor(n)
			if errors.Join(errX, errY) != nil || !slices.Equal(x, y) {
				t.Errorf("%s: %s is another tensor: %v, %v", name, n, errX, errY)
			}
		}
		var options map[string]any
		b, err := os.ReadFile(filepath.Join(dir, configFile))
		if err := errors.Join(err, json.Unmarshal(b, &options), got.Close(), want.Close()); err != nil {
			t.Fatal(err)
		}
		if options["fan_in_fan_out"] != true {
			t.Errorf("%s: fan_in_fan_out is %v", name, options["fan_in_fan_out"])
		}
	}
}

// TestFused: queries, keys and values that differ, or of which some are missing, become one layer that changes the same.
func TestFused(t *testing.T) {
	c, src := baseOf(t, "gpt2")
	rnd := rand.New(rand.NewPCG(5, 1))
	values := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rnd.NormFloat64())
		}
		return x
	}
	lora := func(s llama.Site, rank int, scale float32) Module {
		in, out := c.Dims(s)
		return Module{Block: 1, Site: s, LoRA: &LoRA{Rank: rank, A: values(rank * in), B: values(out * rank), Scale: scale}}
	}
	dora := func(s llama.Site, rank int, scale float32) Module {
		m := lora(s, rank, scale)
		m.LoRA.Magnitude = values(16)
		return m
	}
	ia3 := func(s llama.Site) Module { return Module{Site: s, IA3: &IA3{Vector: values(16)}} }
	same := []Module{lora(llama.Query, 2, 3), lora(llama.Value, 2, 3)}
	same[1].LoRA.A = same[0].LoRA.A
	for name, o := range map[string]struct {
		modules []Module
		rank    int
	}{
		"other A":          {[]Module{lora(llama.Query, 2, 0.5), lora(llama.Key, 2, 0.5), lora(llama.Value, 2, 0.5)}, 6},
		"no keys":          {[]Module{lora(llama.Query, 2, 0.5), lora(llama.Value, 3, 0.5)}, 5},
		"no keys, one A":   {same, 2},
		"values":           {[]Module{lora(llama.Value, 3, 2), lora(llama.Down, 1, 1)}, 3},
		"scales":           {[]Module{lora(llama.Query, 1, 0), lora(llama.Key, 1, -2), lora(llama.Value, 2, 0.3)}, 4},
		"DoRA":             {[]Module{dora(llama.Query, 2, 1), dora(llama.Key, 1, 1), dora(llama.Value, 1, 2)}, 4},
		"IA3 without keys": {[]Module{ia3(llama.Query), ia3(llama.Value)}, 0},
	} {
		want := &Adapter{Modules: o.modules}
		dir := t.TempDir()
		if err := WritePEFT(dir, want, c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := ReadPEFT(dir, c)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		read := map[string]*Adapter{"PEFT": got}
		if o.rank > 0 && o.modules[0].LoRA.Magnitude == nil {
			var b bytes.Buffer
			if err := WriteGGUF(&b, want, c, gguf.F32); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			f, err := gguf.Parse(b.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if read["GGUF"], err = fromGGUF(f, c); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		ids := []int32{3, 1, 4, 1, 5, 9, 2, 6}
		for format, a := range read {
			if o.rank > 0 && a.Modules[0].LoRA.Rank != o.rank {
				t.Errorf("%s in %s: rank %d, want %d", name, format, a.Modules[0].LoRA.Rank, o.rank)
			}
			var y [3][]float32
			for i, with := range []*Adapter{want, a, nil} {
				m := src
				if with != nil {
					if m, err = Merge(src, c, Weighted{with, 1}); err != nil {
						t.Fatal(err)
					}
				}
				y[i] = logits(t, c, m, ids)
			}
			if d := largest(y[0], y[1]); d > 2e-4 || largest(y[0], y[2]) < 1e-2 {
				t.Errorf("%s in %s: logits differ by %g, from the base's by %g", name, format, d, largest(y[0], y[2]))
			}
		}
	}
	input := func(s llama.Site, x ...float32) Module {
		return Module{Site: s, IA3: &IA3{Input: true, Vector: append(x, make([]float32, 16-len(x))...)}}
	}
	for name, modules := range map[string][]Module{
		"some DoRA":         {dora(llama.Query, 1, 1), dora(llama.Value, 1, 1)},
		"DoRA beside LoRA":  {dora(llama.Query, 1, 1), dora(llama.Key, 1, 1), lora(llama.Value, 1, 1)},
		"inputs of some":    {input(llama.Query), input(llama.Key)},
		"other inputs":      {input(llama.Query), input(llama.Key), input(llama.Value, 2)},
		"input and outputs": {input(llama.Query), input(llama.Key), ia3(llama.Value)},
	} {
		if err := WritePEFT(t.TempDir(), &Adapter{Modules: modules}, c); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "attn.c_attn") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGPT2Refusals: an adapter of another family is told by the names of the base's own layers.
func TestGPT2Refusals(t *testing.T) {
	c, _ := baseOf(t, "gpt2")
	if _, err := ReadPEFT(filepath.Join("testdata", "lora-list"), c); !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), "transformer.h.0.attn.c_attn") {
		t.Errorf("an adapter of a Llama: %v", err)
	}
	llama, _ := tiny(t)
	if _, err := ReadPEFT(filepath.Join("testdata", "gpt2-lora"), llama); !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), "model.layers.0.self_attn.q_proj") {
		t.Errorf("an adapter of a GPT-2: %v", err)
	}
	for _, target := range []string{"lm_head", "wte", "wpe"} {
		dir := writeChanged(t, "gpt2-lora", map[string]any{"target_modules": []string{"c_attn", target}}, nil)
		if _, err := ReadPEFT(dir, c); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), target) {
			t.Errorf("%s: %v", target, err)
		}
	}
	dir := writeChanged(t, "gpt2-lora", nil, func(x []safetensors.Tensor) []safetensors.Tensor {
		i := slices.IndexFunc(x, func(t safetensors.Tensor) bool { return strings.HasSuffix(t.Name, "c_attn.lora_B.weight") })
		x[i].Shape, x[i].Data = []int{16, x[i].Shape[1]}, x[i].Data[:16*x[i].Shape[1]]
		return x
	})
	if _, err := ReadPEFT(dir, c); !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), "lora_B.weight is [16 4], want [48 4]") {
		t.Errorf("B of queries alone: %v", err)
	}
}
