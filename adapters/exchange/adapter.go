package exchange

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gopeft/peft/base/llama"
)

var (
	// ErrMismatch reports an adapter that does not fit its base or its own description: modules, tensors or shapes.
	ErrMismatch = errors.New("the adapter does not fit")
	// ErrUnsupported reports a file, an option or a combination that this package does not read, write or compute.
	ErrUnsupported = errors.New("not supported")
	// ErrNotFinite reports a value that is NaN or infinite.
	ErrNotFinite = errors.New("not finite")
)

// Adapter is a set of changes to a base's linear layers, all LoRA or all IA3.
type Adapter struct {
	Base    string // the name of the model it was trained on, as far as its file says
	Modules []Module
}

// Module is the change to one linear layer y = W·x: a LoRA or an IA3.
type Module struct {
	Block int
	Site  llama.Site
	LoRA  *LoRA
	IA3   *IA3
}

// LoRA adds Scale·B·A to a layer's weight (Hu et al. 2021, arXiv 2106.09685). With a magnitude it is a DoRA (Liu et al.
// 2024, arXiv 2402.09353): each row of the sum is brought to the length Magnitude.
type LoRA struct {
	Rank      int
	A         []float32 // [Rank, in]
	B         []float32 // [out, Rank]
	Scale     float32   // alpha/Rank, or with rsLoRA alpha/√Rank (Kalajdzievski 2023, arXiv 2312.03732)
	Magnitude []float32 // [out]; nil for a plain LoRA
}

// IA3 multiplies a layer's output, or its input, by a vector (Liu et al. 2022, arXiv 2205.05638).
type IA3 struct {
	Vector []float32 // [out], or [in] where Input
	Input  bool      // the layer is what the files call a feed-forward module
}

// Name returns Hugging Face's name of the layer, such as "model.layers.3.self_attn.q_proj".
func (m *Module) Name() string { return llama.LayerName(m.Block, m.Site) }

// Sort puts the modules in the order of their blocks and sites.
func (a *Adapter) Sort() { slices.SortStableFunc(a.Modules, compare) }

func compare(a, b Module) int {
	return cmp.Or(cmp.Compare(a.Block, b.Block), cmp.Compare(a.Site, b.Site))
}

// Check reports the first module that cannot stand in a base of configuration c: a block or site that is not there or
// stands twice, a shape (ErrMismatch), a value that is NaN or infinite (ErrNotFinite).
func (a *Adapter) Check(c *llama.Config) error {
	if len(a.Modules) == 0 {
		return fmt.Errorf("no modules: %w", ErrMismatch)
	}
	seen := map[string]bool{}
	for i := range a.Modules {
		m := &a.Modules[i]
		if m.Block < 0 || m.Block >= c.Layers || !slices.Contains(c.LinearSites(), m.Site) {
			return fmt.Errorf("module %s: the base has blocks 0 to %d, each with the linear layers %v: %w", m.Name(), c.Layers-1, c.LinearSites(), ErrMismatch)
		}
		if seen[m.Name()] {
			return fmt.Errorf("module %s stands twice: %w", m.Name(), ErrMismatch)
		}
		seen[m.Name()] = true
		if (m.LoRA != nil) != (a.Modules[0].LoRA != nil) || (m.LoRA != nil) == (m.IA3 != nil) {
			return fmt.Errorf("module %s: want one of LoRA and IA3, the same in all modules: %w", m.Name(), ErrMismatch)
		}
		if err := m.check(c.Dims(m.Site)); err != nil {
			return fmt.Errorf("module %s: %w", m.Name(), err)
		}
	}
	return nil
}

func (m *Module) check(in, out int) error {
	if v := m.IA3; v != nil {
		want := out
		if v.Input {
			want = in
		}
		if len(v.Vector) != want {
			return fmt.Errorf("an IA3 vector of %d, want %d: %w", len(v.Vector), want, ErrMismatch)
		}
		return finite("IA3 vector", v.Vector)
	}
	l := m.LoRA
	if l.Rank < 1 || len(l.A) != l.Rank*in || len(l.B) != out*l.Rank {
		return fmt.Errorf("rank %d with %d values in A and %d in B, want [rank, %d] and [%d, rank]: %w", l.Rank, len(l.A), len(l.B), in, out, ErrMismatch)
	}
	if l.Magnitude != nil && len(l.Magnitude) != out {
		return fmt.Errorf("a magnitude of %d, want %d: %w", len(l.Magnitude), out, ErrMismatch)
	}
	return errors.Join(finite("A", l.A), finite("B", l.B), finite("magnitude", l.Magnitude), finite("scale", []float32{l.Scale}))
}

// finite reports the first value that is no number.
func finite(what string, x []float32) error {
	for i, v := range x {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return fmt.Errorf("%s: element %d is %v; the file is damaged, or the adapter diverged in training: %w", what, i, v, ErrNotFinite)
		}
	}
	return nil
}
