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
	var layers []layer
	for _, l := range layersOf(c) {
		nameA, nameB := l.gguf(c, "a"), l.gguf(c, "b")
		shape, isA := got[nameA]
		if _, isB := got[nameB]; !isA && !isB {
			continue
		}
		rank := 1
		if isA {
			rank = shape[0]
		}
		want[nameA], want[nameB] = []int{rank, l.in}, []int{l.width(), rank}
		l.LoRA = &LoRA{Rank: rank, Scale: 1}
		if alpha != 0 { // llama.cpp reads none as a scale of 1
			l.LoRA.Scale = alpha / float32(rank)
		}
		layers = append(layers, l)
	}
	if err := fit(want, got); err != nil {
		return nil, err
	}
	for _, l := range layers {
		if l.LoRA.A, _, err = f.Tensor(l.gguf(c, "a")); err != nil {
			return nil, err
		}
		b, shape, err := f.Tensor(l.gguf(c, "b"))
		if err == nil {
			l.LoRA.B, err = l.reorder(b, shape, c, llama.Unpermute)
		}
		if err != nil {
			return nil, err
		}
		a.Modules = append(a.Modules, l.split()...)
	}
	return a, a.Check(c)
}

// gguf returns the name of a LoRA's matrix, a or b, in the GGUF files of a base of configuration c.
func (l *layer) gguf(c *llama.Config, matrix string) string {
	name, _ := c.Family.GGUFName(llama.LayerName(l.Block, l.Site) + weightSuffix)
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
	if t != gguf.F32 && t != gguf.F16 {
		return fmt.Errorf("matrices of %v, want F32 or F16: %w", t, ErrUnsupported)
	}
	var tensors []gguf.Tensor
	alpha := float32(0)
	for i := range a.Modules {
		if m := &a.Modules[i]; m.LoRA == nil || m.LoRA.Magnitude != nil {
			return fmt.Errorf("module %s: GGUF adapters are plain LoRAs; write a merged model instead, or a PEFT directory: %w", m.Name(), ErrUnsupported)
		}
	}
	layers, err := a.fuse(c)
	if err != nil {
		return err
	}
	for i := range layers {
		l := &layers[i]
		r, out := l.LoRA, l.width()
		if alpha == 0 {
			alpha = float32(r.Alpha())
		}
		b, err := l.reorder(r.B, []int{out, r.Rank}, c, llama.Permute)
		if err != nil {
			return err
		}
		tensors = append(tensors,
			gguf.Tensor{Name: l.gguf(c, "a"), Shape: []int{r.Rank, l.in}, Type: t, Data: r.A},
			gguf.Tensor{Name: l.gguf(c, "b"), Shape: []int{out, r.Rank}, Type: t, Data: b})
	}
	if alpha == 0 { // which llama.cpp takes for a scale of 1
		alpha = 1
	}
	for i, l := range layers {
		if written := alpha / float32(l.LoRA.Rank); written != l.LoRA.Scale {
			tensors[2*i+1].Data = scaled(tensors[2*i+1].Data, l.LoRA.Scale/written)
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
