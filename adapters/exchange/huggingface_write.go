package exchange

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/safetensors"
)

// WritePEFT writes an adapter for a base of configuration c as Hugging Face PEFT saves it, in f32, into a directory, which
// it makes. A LoRA's scale is written as an alpha over the rank, whatever options it came from.
func WritePEFT(dir string, a *Adapter, c *llama.Config) error {
	if err := writePEFT(dir, a, c); err != nil {
		return fmt.Errorf("adapter %s: %w", dir, err)
	}
	return nil
}

func writePEFT(dir string, a *Adapter, c *llama.Config) error {
	if err := a.Check(c); err != nil {
		return err
	}
	if err := separate(c); err != nil {
		return err
	}
	options, err := a.options(c.Layers)
	if err != nil {
		return err
	}
	j, err := json.MarshalIndent(options, "", "  ")
	if err != nil {
		return err
	}
	var tensors []safetensors.Tensor
	for i := range a.Modules {
		for _, t := range a.Modules[i].tensors(c.Dims(a.Modules[i].Site)) {
			tensors = append(tensors, t.Tensor)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err = replace(filepath.Join(dir, weightsFile), func(w io.Writer) error {
		return safetensors.Write(w, tensors, map[string]string{"format": "pt"})
	})
	if err != nil {
		return err
	}
	return replace(filepath.Join(dir, configFile), func(w io.Writer) error {
		_, err := w.Write(append(j, '\n'))
		return err
	})
}

// replace writes a file whole or not at all.
func replace(path string, write func(w io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// options returns what the configuration file says, for a base of so many blocks.
func (a *Adapter) options(blocks int) (map[string]any, error) {
	o := map[string]any{"task_type": "CAUSAL_LM", "inference_mode": true, "fan_in_fan_out": false, "modules_to_save": nil, "base_model_name_or_path": nil}
	if a.Base != "" {
		o["base_model_name_or_path"] = a.Base
	}
	add := a.optionsIA3
	if a.Modules[0].LoRA != nil {
		add = a.optionsLoRA
	}
	special, err := add(blocks)
	maps.Copy(o, special)
	return o, err
}

func (a *Adapter) optionsIA3(blocks int) (map[string]any, error) {
	var inputs []Module
	for _, m := range a.Modules {
		if m.IA3.Input {
			inputs = append(inputs, m)
		}
	}
	target, in, ok := sites(a.Modules)
	forward, inputIn, inputOK := sites(inputs)
	if !ok || len(in) != blocks || !inputOK || len(inputs) > 0 && len(inputIn) != blocks { // no other option tells blocks apart
		target, forward = layers(a.Modules), layers(inputs)
	}
	return map[string]any{"peft_type": "IA3", "target_modules": target, "feedforward_modules": forward, "init_ia3_weights": true}, nil
}

func (a *Adapter) optionsLoRA(blocks int) (map[string]any, error) {
	ranks, alphas := map[int]int{}, map[float64]int{}
	for _, m := range a.Modules {
		ranks[m.LoRA.Rank]++
		alphas[m.LoRA.Alpha()]++
	}
	rank, alpha, dora := most(ranks), most(alphas), a.Modules[0].LoRA.Magnitude != nil
	otherRanks, otherAlphas := map[string]int{}, map[string]float64{}
	for i := range a.Modules {
		m := &a.Modules[i]
		if m.LoRA.Rank != rank {
			otherRanks[m.Name()] = m.LoRA.Rank
		}
		if v := m.LoRA.Alpha(); v != alpha {
			otherAlphas[m.Name()] = v
		}
		if (m.LoRA.Magnitude != nil) != dora {
			return nil, fmt.Errorf("module %s: some modules are DoRA and some plain LoRA, which a PEFT configuration cannot say: %w", m.Name(), ErrUnsupported)
		}
	}
	o := map[string]any{
		"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "rank_pattern": otherRanks, "alpha_pattern": otherAlphas, "use_dora": dora,
		"use_rslora": false, "bias": "none", "lora_bias": false, "lora_dropout": 0.0, "init_lora_weights": true,
	}
	target, in, ok := sites(a.Modules)
	if !ok {
		target = layers(a.Modules)
	} else if len(in) != blocks {
		o["layers_to_transform"] = in
	}
	o["target_modules"] = target
	return o, nil
}

// Alpha returns the alpha that gives a LoRA its scale, exactly: float32(Alpha/Rank) is Scale.
func (l *LoRA) Alpha() float64 {
	a := float64(l.Scale) * float64(l.Rank)
	if n := math.Round(a); float32(n/float64(l.Rank)) == l.Scale {
		return n // 16, not 15.999999
	}
	return a
}

// most returns the key of the largest count, the smallest such key.
func most[K int | float64](counts map[K]int) K {
	keys := slices.Sorted(maps.Keys(counts))
	return slices.MaxFunc(keys, func(a, b K) int { return counts[a] - counts[b] })
}

// sites returns the names of the modules' layers and their blocks; not ok where not every block has every one of them.
func sites(modules []Module) (names []string, blocks []int, ok bool) {
	names = []string{}
	for _, m := range modules {
		if s := m.Site.String(); !slices.Contains(names, s) {
			names = append(names, s)
		}
		if !slices.Contains(blocks, m.Block) {
			blocks = append(blocks, m.Block)
		}
	}
	return names, blocks, len(names)*len(blocks) == len(modules)
}

// layers returns the modules' whole names.
func layers(modules []Module) []string {
	list := make([]string, len(modules))
	for i := range modules {
		list[i] = modules[i].Name()
	}
	return list
}
