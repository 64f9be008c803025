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
	layers, err := a.fuse(c)
	if err != nil {
		return err
	}
	options, err := a.options(layers, c)
	if err != nil {
		return err
	}
	j, err := json.MarshalIndent(options, "", "  ")
	if err != nil {
		return err
	}
	var tensors []safetensors.Tensor
	for i := range layers {
		for _, t := range layers[i].tensors() {
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

// options returns what the configuration file says of the adapter's layers, for a base of configuration c.
func (a *Adapter) options(layers []layer, c *llama.Config) (map[string]any, error) {
	o := map[string]any{"task_type": "CAUSAL_LM", "inference_mode": true, "fan_in_fan_out": c.Family == llama.GPT2, "modules_to_save": nil, "base_model_name_or_path": nil}
	if a.Base != "" {
		o["base_model_name_or_path"] = a.Base
	}
	add := optionsIA3
	if a.Modules[0].LoRA != nil {
		add = optionsLoRA
	}
	special, err := add(layers, c.Layers)
	maps.Copy(o, special)
	return o, err
}

func optionsIA3(layers []layer, blocks int) (map[string]any, error) {
	var inputs []layer
	for _, l := range layers {
		if l.IA3.Input {
			inputs = append(inputs, l)
		}
	}
	target, in, ok := shortNames(layers)
	forward, inputIn, inputOK := shortNames(inputs)
	if !ok || len(in) != blocks || !inputOK || len(inputs) > 0 && len(inputIn) != blocks { // no other option tells blocks apart
		target, forward = wholeNames(layers), wholeNames(inputs)
	}
	return map[string]any{"peft_type": "IA3", "target_modules": target, "feedforward_modules": forward, "init_ia3_weights": true}, nil
}

func optionsLoRA(layers []layer, blocks int) (map[string]any, error) {
	ranks, alphas := map[int]int{}, map[float64]int{}
	for _, l := range layers {
		ranks[l.LoRA.Rank]++
		alphas[l.LoRA.Alpha()]++
	}
	rank, alpha, dora := most(ranks), most(alphas), layers[0].LoRA.Magnitude != nil
	otherRanks, otherAlphas := map[string]int{}, map[string]float64{}
	for _, l := range layers {
		if l.LoRA.Rank != rank {
			otherRanks[l.name] = l.LoRA.Rank
		}
		if v := l.LoRA.Alpha(); v != alpha {
			otherAlphas[l.name] = v
		}
		if (l.LoRA.Magnitude != nil) != dora {
			return nil, fmt.Errorf("module %s: some modules are DoRA and some plain LoRA, which a PEFT configuration cannot say: %w", l.name, ErrUnsupported)
		}
	}
	o := map[string]any{
		"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "rank_pattern": otherRanks, "alpha_pattern": otherAlphas, "use_dora": dora,
		"use_rslora": false, "bias": "none", "lora_bias": false, "lora_dropout": 0.0, "init_lora_weights": true,
	}
	target, in, ok := shortNames(layers)
	if !ok {
		target = wholeNames(layers)
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

// shortNames returns the ends of the layers' names and their blocks; not ok where not every block has every one of them.
func shortNames(layers []layer) (names []string, blocks []int, ok bool) {
	names = []string{}
	for _, l := range layers {
		if !slices.Contains(names, l.short) {
			names = append(names, l.short)
		}
		if !slices.Contains(blocks, l.Block) {
			blocks = append(blocks, l.Block)
		}
	}
	return names, blocks, len(names)*len(blocks) == len(layers)
}

func wholeNames(layers []layer) []string {
	names := make([]string, len(layers))
	for i, l := range layers {
		names[i] = l.name
	}
	return names
}
