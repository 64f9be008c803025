package exchange

import (
	"errors"
	"fmt"
	"io"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
)

// ReadGGUF reads a LoRA that llama.cpp's convert_lora_to_gguf wrote, for a base of configuration c. The errors are those of
// ReadPEFT.
func ReadGGUF(path string, c *llama.Config) (*Adapter, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	a, err := fromGGUF(f, c)
	if err != nil {
		err = fmt.Errorf("adapter %s: %w", path, err)
	}
	return a, errors.Join(err, f.Close())
}

func fromGGUF(f *gguf.File, c *llama.Config) (*Adapter, error) {
	if err := separate(c); err != nil {
		return nil, err
	}
	for _, want := range []struct{ key, value, hint string }{
		{"general.type", "adapter", "a model is given with --base"},
		{"general.architecture", c.Family.String(), "the base's"},
		{"adapter.type", "lora", "the only type there is"},
	} {
		got, err := gguf.Get[string](f, want.key)
		if err != nil && !errors.Is(err, gguf.ErrNotFound) {
			return nil, err
		}
		if got != want.value {
			return nil, fmt.Errorf("%s is %q, want %q (%s): %w", want.key, got, want.value, want.hint, ErrUnsupported)
		}
	}
	if _, ok := f.Meta["adapter.alora.invocation_tokens"]; ok {
		return nil, fmt.Errorf("adapter.alora.invocation_tokens: an adapter that waits for certain tokens: %w", ErrUnsupported)
	}
	alpha, err := gguf.Get[float32](f, "adapter.lora.alpha")
	if err != nil && !errors.Is(err, gguf.ErrNotFound) {
		return nil, err
	}
	a := &Adapter{}
	a.Base, _ = f.Meta["general.base_model.0.name"].(string) // for people to read
	want, got := map[string][]int{}, map[string][]int{}
	for _, t := range f.Tensors() {
		got[t.Name] = t.Shape
	}
	for block := range c.Layers {
		for _, s := range c.LinearSites() {
			m := Module{Block: block, Site: s}
			in, out := c.Dims(s)
			shape, isA := got[m.gguf("a")]
			if _, isB := got[m.gguf("b")]; !isA && !isB {
				continue
			}
			rank := 1
			if isA {
				rank = shape[0]
			}
			want[m.gguf("a")], want[m.gguf("b")] = []int{rank, in}, []int{out, rank}
			m.LoRA = &LoRA{Rank: rank, Scale: 1}
			if alpha != 0 { // llama.cpp reads none as a scale of 1
				m.LoRA.Scale = alpha / float32(rank)
			}
			a.Modules = append(a.Modules, m)
		}
	}
	if err := fit(want, got); err != nil {
		return nil, err
	}
	for i := range a.Modules {
		m := &a.Modules[i]
		if m.LoRA.A, _, err = f.Tensor(m.gguf("a")); err != nil {
			return nil, err
		}
		b, shape, err := f.Tensor(m.gguf("b"))
		if err == nil {
			m.LoRA.B, err = m.reorder(b, shape, c, llama.Unpermute)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, a.Check(c)
}

// separate refuses the one family whose files have queries, keys and values in one layer.
func separate(c *llama.Config) error {
	if c.Family != llama.GPT2 {
		return nil
	}
	return fmt.Errorf("adapters of gpt2, where queries, keys and values are one layer (c_attn): %w", ErrUnsupported)
}

// gguf returns the name of a LoRA's matrix, a or b, in GGUF files.
func (m *Module) gguf(matrix string) string {
	name, _ := llama.GGUFName(m.Name() + ".weight")
	return name + ".lora_" + matrix
}

// reorder puts the rows of queries and keys into another program's order; those of other layers stand in the same.
func (m *Module) reorder(b []float32, shape []int, c *llama.Config, order func([]float32, []int, int) ([]float32, error)) ([]float32, error) {
	if heads := c.PairedHeads(m.Site); heads > 0 {
		return order(b, shape, heads)
	}
	return b, nil
}

// WriteGGUF writes a LoRA for a base of configuration c as llama.cpp reads it, its matrices in F32 or F16. The format has
// one alpha for all modules: where scales differ, they are written into B. DoRA and IA3 give ErrUnsupported.
func WriteGGUF(w io.Writer, a *Adapter, c *llama.Config, t gguf.Type) error {
	if err := a.Check(c); err != nil {
		return err
	}
	if err := separate(c); err != nil {
		return err
	}
	if t != gguf.F32 && t != gguf.F16 {
		return fmt.Errorf("matrices of %v, want F32 or F16: %w", t, ErrUnsupported)
	}
	var tensors []gguf.Tensor
	alpha := float32(0)
	for i := range a.Modules {
		m := &a.Modules[i]
		l := m.LoRA
		if l == nil || l.Magnitude != nil {
			return fmt.Errorf("module %s: GGUF adapters are plain LoRAs; write a merged model instead, or a PEFT directory: %w", m.Name(), ErrUnsupported)
		}
		if alpha == 0 {
			alpha = float32(l.Alpha())
		}
		in, out := c.Dims(m.Site)
		b, err := m.reorder(l.B, []int{out, l.Rank}, c, llama.Permute)
		if err != nil {
			return err
		}
		tensors = append(tensors,
			gguf.Tensor{Name: m.gguf("a"), Shape: []int{l.Rank, in}, Type: t, Data: l.A},
			gguf.Tensor{Name: m.gguf("b"), Shape: []int{out, l.Rank}, Type: t, Data: b})
	}
	if alpha == 0 { // which llama.cpp takes for a scale of 1
		alpha = 1
	}
	for i, m := range a.Modules {
		if written := alpha / float32(m.LoRA.Rank); written != m.LoRA.Scale {
			tensors[2*i+1].Data = scaled(tensors[2*i+1].Data, m.LoRA.Scale/written)
		}
	}
	meta := []gguf.KV{
		{Key: "general.architecture", Value: c.Family.String()}, {Key: "general.type", Value: "adapter"}, {Key: "adapter.type", Value: "lora"},
		{Key: "adapter.lora.alpha", Value: alpha},
	}
	if a.Base != "" {
		meta = append(meta, gguf.KV{Key: "general.base_model.count", Value: uint32(1)}, gguf.KV{Key: "general.base_model.0.name", Value: a.Base})
	}
	return gguf.Write(w, meta, tensors)
}

func scaled(x []float32, by float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = by * v
	}
	return y
}
