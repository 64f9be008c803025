package transfer

import (
	"errors"
	"fmt"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/exchange"
	"github.com/gopeft/peft/adapters/ia3"
	"github.com/gopeft/peft/adapters/lora"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/retrieval"
)

// ToSet returns an adapter for a base as a set that is always on: at each of its layers one expert, of the layer's own rank
// and scale, with the adapter's f32 values. The router is the one whose sets it is to stand beside.
//
// An adapter that does not fit the base gives exchange.ErrMismatch, an IA³ on the input of a layer that shares it with
// others peer.ErrPlace.
func ToSet(name string, a *exchange.Adapter, m *llama.Model, r *retrieval.Router) (*peer.Set, error) {
	s, err := newSet(name, a, m, r, always)
	if err == nil {
		// What DoRA knows of the frozen weights.
		err = s.Fit(peer.NewWeights(m), false)
	}
	return s, err
}

// newSet returns a set with the tables that table makes of the adapter's modules.
func newSet(name string, a *exchange.Adapter, m *llama.Model, r *retrieval.Router, table func(*exchange.Module, *llama.Config) (*peer.Table, error)) (*peer.Set, error) {
	if err := a.Check(&m.Config); err != nil {
		return nil, err
	}
	sum, err := r.SHA256()
	if err != nil {
		return nil, err
	}
	sorted := exchange.Adapter{Modules: append([]exchange.Module(nil), a.Modules...)}
	sorted.Sort()
	s := &peer.Set{Name: name, Hidden: r.Hidden, Scale: 1, Router: sum}
	for i := range sorted.Modules {
		mod := &sorted.Modules[i]
		t, err := table(mod, &m.Config)
		if err != nil {
			return nil, fmt.Errorf("module %s: %w", mod.Name(), err)
		}
		s.Tables = append(s.Tables, t)
	}
	return s, errors.Join(s.Check(r), s.CheckBase(&m.Config))
}

// always returns a module as a table with one expert that is always on.
func always(m *exchange.Module, c *llama.Config) (*peer.Table, error) {
	kind, pack, err := expert(m)
	if err != nil {
		return nil, err
	}
	t := &peer.Table{Block: m.Block, Site: m.Site, Kind: kind, Dims: peer.Widths(c, m.Site, kind)}
	t.Rows = peer.NewRows(1, kind.Width(t.Dims), peer.F32)
	pack(t.Rows.F32, t.Dims)
	return t, nil
}

// expert returns a module's kind, and what writes its row.
func expert(m *exchange.Module) (adapters.Kind, func(row []float32, d adapters.Dims), error) {
	if v := m.IA3; v != nil {
		kind := ia3.Output
		if v.Input {
			kind = ia3.Input
		}
		return kind, func(row []float32, _ adapters.Dims) {
			for i, l := range v.Vector {
				row[i] = l - 1
			}
		}, nil
	}
	l := m.LoRA
	k, b := lora.Kind{Rank: l.Rank, Alpha: l.Alpha()}, l.B
	if !(l.Scale > 0) { // which no kind has: B takes it
		k.Alpha, b = float64(l.Rank), make([]float32, len(l.B))
		for i, x := range l.B {
			b[i] = l.Scale * x
		}
	}
	if err := k.Check(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, exchange.ErrUnsupported)
	}
	if l.Magnitude == nil {
		return k, func(row []float32, _ adapters.Dims) { k.Pack(row, l.A, b) }, nil
	}
	dora := lora.DoRA{Kind: k}
	return dora, func(row []float32, d adapters.Dims) {
		dora.Pack(row, l.A, b)
		_, _, magnitude := dora.Unpack(row, d)
		copy(magnitude, l.Magnitude)
	}, nil
}

// FromSet returns a set as an adapter for a base of configuration c, whose name its file will say. A set that is not made of
// LoRA or IA³ at linear layers, or that stands in cells, gives exchange.ErrUnsupported with the reason.
func FromSet(s *peer.Set, c *llama.Config, base string) (*exchange.Adapter, error) {
	a := &exchange.Adapter{Base: base}
	for _, t := range s.Tables {
		m, err := module(t, s.Scale)
		if err != nil {
			return nil, fmt.Errorf("expert set %s: block %d, %s: %w", s.Name, t.Block, t.Site, err)
		}
		a.Modules = append(a.Modules, *m)
	}
	if err := errors.Join(s.CheckBase(c), a.Check(c)); err != nil {
		return nil, fmt.Errorf("expert set %s: %w", s.Name, err)
	}
	return a, nil
}

// module returns a table as the change to one layer, at the scale of its set.
func module(t *peer.Table, scale float32) (*exchange.Module, error) {
	refuse := func(why string) (*exchange.Module, error) {
		return nil, fmt.Errorf("%d experts of kind %s %s: %w", t.Experts(), t.Kind.Name(), why, exchange.ErrUnsupported)
	}
	m := &exchange.Module{Block: t.Block, Site: t.Site}
	switch {
	case !t.AlwaysOn():
		return refuse("in cells: which of them a token gets is this program's router's choice, and weights of one model, or an adapter of one rank, cannot choose")
	case t.Site == llama.Beside:
		return refuse("beside the feed-forward layer, where other programs have no layer to change")
	case t.Experts() != 1:
		return refuse("at one layer, where other programs have one")
	}
	if t.Scale != 0 {
		scale *= t.Scale
	}
	row := t.Rows.Row(0, make([]float32, t.Rows.Width))
	switch k := t.Kind.(type) {
	case ia3.Kind:
		v := &exchange.IA3{Input: k == ia3.Input, Vector: make([]float32, len(row))}
		for i, d := range row {
			v.Vector[i] = 1 + scale*d
		}
		m.IA3 = v
	case lora.Kind:
		m.LoRA = &exchange.LoRA{Rank: k.Rank, Scale: scale * k.Scale()}
		m.LoRA.A, m.LoRA.B = k.Unpack(row, t.Dims)
	case lora.DoRA:
		if scale != 1 {
			return refuse(fmt.Sprintf("at strength %g: what DoRA changes is no multiple of anything", scale))
		}
		m.LoRA = &exchange.LoRA{Rank: k.Rank, Scale: k.Scale()}
		m.LoRA.A, m.LoRA.B, m.LoRA.Magnitude = k.Unpack(row, t.Dims)
	default:
		return refuse("are no LoRA and no IA³")
	}
	return m, nil
}
