package exchange

import (
	"fmt"
	"strings"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// Weighted is an adapter at a strength; 1 is as it was trained.
type Weighted struct {
	*Adapter
	Strength float32
}

// Merge returns a base's weights with adapters merged into them. Each adapter's change is computed from the base alone and
// the changes add up, so their order does not matter. A weight that is no longer finite gives ErrNotFinite when it is read.
func Merge(src llama.Source, c *llama.Config, adapters ...Weighted) (llama.Source, error) {
	m := &merged{src: src, changes: map[string][]change{}}
	for i, a := range adapters {
		if err := a.Check(c); err != nil {
			return nil, fmt.Errorf("adapter %d: %w", i, err)
		}
		for j := range a.Modules {
			name := a.Modules[j].Name()
			m.changes[name] = append(m.changes[name], change{&a.Modules[j], a.Strength})
		}
	}
	return m, nil
}

// Unmerge takes an adapter out of the weights of a model it was merged into, at strength 1: the inverse of Merge up to
// rounding. A DoRA cannot be taken out, because merging it forgets how long the rows were, nor an IA3 with a zero.
func Unmerge(src llama.Source, c *llama.Config, a *Adapter) (llama.Source, error) {
	if err := a.Check(c); err != nil {
		return nil, err
	}
	inverse := &Adapter{Base: a.Base}
	m := &merged{src: src, changes: map[string][]change{}}
	for _, mod := range a.Modules {
		switch {
		case mod.IA3 != nil:
			v := &IA3{Input: mod.IA3.Input}
			for i, x := range mod.IA3.Vector {
				if x == 0 {
					return nil, fmt.Errorf("module %s: element %d of the IA3 vector is 0, what it multiplied is lost: %w", mod.Name(), i, ErrUnsupported)
				}
				v.Vector = append(v.Vector, 1/x)
			}
			mod.IA3 = v
		case mod.LoRA.Magnitude != nil:
			return nil, fmt.Errorf("module %s: a DoRA sets the length of each row and merging it forgets the old one: %w", mod.Name(), ErrUnsupported)
		default:
			l := *mod.LoRA
			l.Scale = -l.Scale
			mod.LoRA = &l
		}
		inverse.Modules = append(inverse.Modules, mod)
	}
	for i := range inverse.Modules {
		mod := &inverse.Modules[i]
		m.changes[mod.Name()] = []change{{mod, 1}}
	}
	return m, nil
}

type change struct {
	m        *Module
	strength float32
}

// merged is a source whose weights are changed when they are read.
type merged struct {
	src     llama.Source
	changes map[string][]change // by the layer's name
}

// Tensor implements llama.Source.
func (m *merged) Tensor(name string) ([]float32, []int, error) {
	w, shape, err := m.src.Tensor(name)
	if err != nil {
		return nil, nil, err
	}
	layer, isWeight := strings.CutSuffix(name, ".weight")
	layer, isBias := strings.CutSuffix(layer, ".bias")
	changes := m.changes[layer]
	if len(changes) == 0 || !isWeight && !isBias {
		return w, shape, nil
	}
	sum := append([]float32(nil), w...)
	for _, c := range changes {
		if isWeight {
			c.m.addToWeight(sum, w, shape[1], c.strength)
		} else {
			c.m.addToBias(sum, w, c.strength)
		}
	}
	if err := finite("merged weight "+name, sum); err != nil {
		return nil, nil, err
	}
	return sum, shape, nil
}

// addToWeight adds what the module changes of its layer's weight w: [out, in], times strength.
func (m *Module) addToWeight(sum, w []float32, in int, strength float32) {
	out := len(w) / in
	if v := m.IA3; v != nil {
		for o := range out {
			row, to := w[o*in:(o+1)*in], sum[o*in:(o+1)*in]
			if !v.Input {
				kernels.Axpy(strength*(v.Vector[o]-1), row, to)
				continue
			}
			for i, x := range row {
				to[i] += strength * (v.Vector[i] - 1) * x
			}
		}
		return
	}
	l := m.LoRA
	product := make([]float32, out*in)
	kernels.MatMulNN(nil, product, l.B, l.A, out, in, l.Rank, false)
	if l.Magnitude == nil {
		kernels.Axpy(strength*l.Scale, product, sum)
		return
	}
	for o := range out {
		row, dir, to := w[o*in:(o+1)*in], product[o*in:(o+1)*in], sum[o*in:(o+1)*in]
		kernels.Scale(l.Scale, dir)
		kernels.Add(dir, dir, row)
		kernels.Axpy(strength*l.Magnitude[o]/kernels.Norm2(dir), dir, to)
		kernels.Axpy(-strength, row, to)
	}
}

// addToBias adds what the module changes of its layer's bias b: [out]: an IA3 multiplies the whole output.
func (m *Module) addToBias(sum, b []float32, strength float32) {
	if v := m.IA3; v != nil && !v.Input {
		for o, x := range b {
			sum[o] += strength * (v.Vector[o] - 1) * x
		}
	}
}
