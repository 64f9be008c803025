package exchange

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gopeft/peft/base/llama"
)

// layer is a linear layer as a base's files have it, with what an adapter changes of it: the module of one site or, of
// GPT-2's queries, keys and values, which are one layer (c_attn), those of the three together, outputs one after the other.
type layer struct {
	Module // its site is the first
	name   string
	short  string // the end of the name, which tells it from the block's others
	sites  []llama.Site
	in     int
	out    []int // of each site
}

const weightSuffix = ".weight"

// layersOf lists the layers of a base in their order.
func layersOf(c *llama.Config) []layer {
	var all []layer
	ends := map[string]int{} // in the first block
	for block := range c.Layers {
		for _, s := range c.LinearSites() {
			name, _ := c.Family.HFName(llama.LayerName(block, s) + weightSuffix)
			name = strings.TrimSuffix(name, weightSuffix)
			in, out := c.Dims(s)
			if n := len(all); n > 0 && all[n-1].name == name {
				all[n-1].sites, all[n-1].out = append(all[n-1].sites, s), append(all[n-1].out, out)
				continue
			}
			all = append(all, layer{Module: Module{Block: block, Site: s}, name: name, short: end(name, 1), sites: []llama.Site{s}, in: in, out: []int{out}})
			ends[end(name, 1)]++
		}
	}
	for i := range all {
		if ends[all[i].short] > c.Layers { // GPT-2's c_proj
			all[i].short = end(all[i].name, 2)
		}
	}
	return all
}

// end returns the last n words of a name.
func end(name string, n int) string {
	words := strings.Split(name, ".")
	return strings.Join(words[max(0, len(words)-n):], ".")
}

// width returns the layer's number of outputs.
func (l *layer) width() (n int) {
	for _, o := range l.out {
		n += o
	}
	return n
}

// split returns the layer's modules, one of each site.
func (l *layer) split() []Module {
	if len(l.sites) == 1 {
		return []Module{l.Module}
	}
	var modules []Module
	from := 0
	for i, s := range l.sites {
		m, to := Module{Block: l.Block, Site: s}, from+l.out[i]
		switch v, r := l.IA3, l.LoRA; {
		case v != nil && v.Input:
			m.IA3 = v
		case v != nil:
			m.IA3 = &IA3{Vector: v.Vector[from:to:to]}
		default:
			m.LoRA = &LoRA{Rank: r.Rank, A: r.A, B: r.B[from*r.Rank : to*r.Rank : to*r.Rank], Scale: r.Scale}
			if r.Magnitude != nil {
				m.LoRA.Magnitude = r.Magnitude[from:to:to]
			}
		}
		modules, from = append(modules, m), to
	}
	return modules
}

// fuse puts the modules of an adapter, which was checked, together to the layers that a base's files have. What cannot be of
// one layer gives ErrUnsupported.
func (a *Adapter) fuse(c *llama.Config) ([]layer, error) {
	type at struct {
		block int
		site  llama.Site
	}
	modules := map[at]*Module{}
	for i := range a.Modules {
		modules[at{a.Modules[i].Block, a.Modules[i].Site}] = &a.Modules[i]
	}
	var all []layer
	for _, l := range layersOf(c) {
		parts, n := make([]*Module, len(l.sites)), 0
		for i, s := range l.sites {
			if parts[i] = modules[at{l.Block, s}]; parts[i] != nil {
				n++
			}
		}
		if n == 0 {
			continue
		}
		var err error
		switch {
		case len(parts) == 1:
			l.Module = *parts[0]
		case a.Modules[0].IA3 != nil:
			l.IA3, err = l.fuseIA3(parts)
		default:
			l.LoRA, err = l.fuseLoRA(parts)
		}
		if err != nil {
			return nil, fmt.Errorf("layer %s, which is %v in one: %w", l.name, l.sites, err)
		}
		all = append(all, l)
	}
	return all, nil
}

// fuseIA3 puts vectors together; a part that is nil is left as it is.
func (l *layer) fuseIA3(parts []*Module) (*IA3, error) {
	v := &IA3{}
	inputs := 0
	for i, p := range parts {
		switch {
		case p == nil:
			v.Vector = append(v.Vector, slices.Repeat([]float32{1}, l.out[i])...)
		case p.IA3.Input:
			inputs++
			v = &IA3{Input: true, Vector: p.IA3.Vector}
		default:
			v.Vector = append(v.Vector, p.IA3.Vector...)
		}
	}
	if inputs == 0 {
		return v, nil
	}
	if inputs != len(parts) || slices.ContainsFunc(parts, func(p *Module) bool { return !slices.Equal(p.IA3.Vector, v.Vector) }) {
		return nil, fmt.Errorf("they have one input, and not all of them the same IA3 on it: %w", ErrUnsupported)
	}
	return v, nil
}

// fuseLoRA puts LoRAs together. Where all have the same A and scale, so has the result. Otherwise the ranks of each stand
// beside the others', with zeros in B for the outputs that are not its own, so that the result changes the same by more ranks.
func (l *layer) fuseLoRA(parts []*Module) (*LoRA, error) {
	var one *LoRA
	same, scales, dora := true, true, 0
	for _, p := range parts {
		if p == nil {
			continue
		}
		if one == nil {
			one = p.LoRA
		}
		scales = scales && p.LoRA.Scale == one.Scale
		same = same && scales && p.LoRA.Rank == one.Rank && slices.Equal(p.LoRA.A, one.A)
		if p.LoRA.Magnitude != nil {
			dora++
		}
	}
	if dora > 0 && dora < len(parts) {
		return nil, fmt.Errorf("%d of them are DoRAs, which have to be all, because a file says the length of every row: %w", dora, ErrUnsupported)
	}
	f := &LoRA{Scale: one.Scale}
	if !scales {
		f.Scale = 1
	}
	first := make([]int, len(parts)) // rank of a part's
	for i, p := range parts {
		if p == nil || same && f.Rank > 0 {
			continue
		}
		first[i] = f.Rank
		f.Rank += p.LoRA.Rank
		f.A = append(f.A, p.LoRA.A...)
	}
	f.B = make([]float32, l.width()*f.Rank)
	row := 0
	for i, p := range parts {
		for o := range l.out[i] {
			if p == nil {
				break
			}
			to, from := f.B[(row+o)*f.Rank+first[i]:], p.LoRA.B[o*p.LoRA.Rank:(o+1)*p.LoRA.Rank]
			for j, x := range from {
				if !scales {
					x *= p.LoRA.Scale
				}
				to[j] = x
			}
		}
		row += l.out[i]
		if dora > 0 {
			f.Magnitude = append(f.Magnitude, p.LoRA.Magnitude...)
		}
	}
	return f, nil
}
