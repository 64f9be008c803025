package exchange

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/safetensors"
)

// The files of a Hugging Face PEFT adapter.
const (
	configFile  = "adapter_config.json"
	weightsFile = "adapter_model.safetensors"
	pickleFile  = "adapter_model.bin"
)

// prefix stands before a module's name in the names of an adapter's tensors.
const prefix = "base_model.model."

// IsPEFT says whether a directory holds a Hugging Face PEFT adapter.
func IsPEFT(dir string) bool {
	st, err := os.Stat(filepath.Join(dir, configFile))
	return err == nil && !st.IsDir()
}

// ReadPEFT reads a directory that Hugging Face PEFT saved, adapter_config.json and adapter_model.safetensors, for a base of
// configuration c. An adapter that does not fit the base or its own configuration gives ErrMismatch, an option that is not
// computed here ErrUnsupported, and so does a pickle.
func ReadPEFT(dir string, c *llama.Config) (*Adapter, error) {
	a, err := readPEFT(dir, c)
	if err != nil {
		return nil, fmt.Errorf("adapter %s: %w", dir, err)
	}
	return a, nil
}

func readPEFT(dir string, base *llama.Config) (*Adapter, error) {
	b, err := os.ReadFile(filepath.Join(dir, configFile))
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	f, err := safetensors.Open(filepath.Join(dir, weightsFile))
	if _, pickle := os.Stat(filepath.Join(dir, pickleFile)); errors.Is(err, os.ErrNotExist) && pickle == nil {
		return nil, fmt.Errorf("%s is a Python pickle, which runs what it says when it is read; load the adapter in PEFT and save it with save_pretrained, which writes %s: %w", pickleFile, weightsFile, ErrUnsupported)
	}
	if err != nil {
		return nil, err
	}
	a, err := c.read(f, base)
	if err != nil {
		err = fmt.Errorf("%s (adapter for %q): %w", weightsFile, c.Base, err)
	}
	return a, errors.Join(err, f.Close())
}

// read reads the tensors of the layers that the configuration names; want and got are compared before anything is read.
func (c *config) read(f *safetensors.File, base *llama.Config) (*Adapter, error) {
	layers, err := c.layers(base)
	if err != nil {
		return nil, err
	}
	want, got := map[string][]int{}, map[string][]int{}
	for i := range layers {
		if err := c.prepare(&layers[i]); err != nil {
			return nil, err
		}
		for _, t := range layers[i].tensors() {
			want[t.Name] = t.Shape
		}
	}
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		got[name] = info.Shape
	}
	if err := fit(want, got); err != nil {
		return nil, err
	}
	a := &Adapter{Base: c.Base}
	for i := range layers {
		for _, t := range layers[i].tensors() {
			x, _, err := f.Tensor(t.Name)
			if err != nil {
				return nil, err
			}
			*t.to = x
		}
		a.Modules = append(a.Modules, layers[i].split()...)
	}
	return a, a.Check(base)
}

// prepare sets all of what a layer's change is but its values.
func (c *config) prepare(l *layer) error {
	if c.Type == "IA3" {
		in, err := c.feedForward(l.name)
		l.IA3 = &IA3{Input: in}
		return err
	}
	rank, scale, err := c.lora(l.name)
	l.LoRA = &LoRA{Rank: rank, Scale: scale}
	if c.DoRA {
		l.LoRA.Magnitude = []float32{}
	}
	return err
}

// stored is a tensor of a layer: its name and shape in a PEFT file, and where it stands in the layer's change.
type stored struct {
	safetensors.Tensor
	to *[]float32
}

// tensors lists a layer's tensors. For a DoRA the magnitude must not be nil.
func (l *layer) tensors() []stored {
	in, out := l.in, l.width()
	tensor := func(to *[]float32, name string, shape ...int) stored {
		return stored{safetensors.Tensor{Name: prefix + l.name + "." + name, Shape: shape, Data: *to}, to}
	}
	if v := l.IA3; v != nil {
		if v.Input {
			return []stored{tensor(&v.Vector, "ia3_l", 1, in)}
		}
		return []stored{tensor(&v.Vector, "ia3_l", out, 1)}
	}
	r := l.LoRA
	list := []stored{tensor(&r.A, "lora_A.weight", r.Rank, in), tensor(&r.B, "lora_B.weight", out, r.Rank)}
	if r.Magnitude != nil {
		list = append(list, tensor(&r.Magnitude, "lora_magnitude_vector", out))
	}
	return list
}
