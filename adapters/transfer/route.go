package transfer

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/gopeft/peft/adapters/exchange"
	"github.com/gopeft/peft/adapters/lora"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// Probe stands in a base's seam while it reads text, adds nothing, and measures in which cells each direction of a LoRA
// responds: the sum over tokens x that select the cell of gate·|a·x|. It sees one sequence a pass, and leaves out its first
// token, which transformers use as a sink of attention. One goroutine at a time may use it.
type Probe struct {
	model   *llama.Model
	router  *retrieval.Router
	adapter *exchange.Adapter
	pool    *kernels.Pool
	layers  map[layer]*response
	routing retrieval.Routing
	routed  int // the block whose selection is in routing; -1 for none
}

var _ llama.Passing = (*Probe)(nil)

// layer is a linear layer of a base.
type layer struct {
	block int
	site  llama.Site
}

// response is what is known of one module.
type response struct {
	probe *Probe
	route *retrieval.Layer // nil where nothing selects cells, so that the module stays always on
	parts []direction
	a     []float32 // [parts, in]
	h     []float32 // [tokens, parts]
	sums  []float64 // [parts, cells]
	mass  []float64 // [cells] the sum of gates
}

// NewProbe returns a probe of a LoRA for a base. IA³ and DoRA give exchange.ErrUnsupported.
func NewProbe(a *exchange.Adapter, m *llama.Model, r *retrieval.Router, p *kernels.Pool) (*Probe, error) {
	if err := a.Check(&m.Config); err != nil {
		return nil, err
	}
	probe := &Probe{model: m, router: r, adapter: a, pool: p, layers: map[layer]*response{}, routed: -1}
	for i := range a.Modules {
		mod := &a.Modules[i]
		if mod.LoRA == nil {
			return nil, fmt.Errorf("module %s: an IA³ has no ranks that could be experts: %w", mod.Name(), exchange.ErrUnsupported)
		}
		in, out := m.Config.Dims(mod.Site)
		res := &response{probe: probe, route: peer.RoutedBy(r, mod.Block, mod.Site)}
		var err error
		if res.parts, err = directions(mod.LoRA, in, out); err != nil {
			return nil, fmt.Errorf("module %s: %w", mod.Name(), err)
		}
		if res.route != nil {
			for _, d := range res.parts {
				res.a = append(res.a, d.a...)
			}
			res.sums, res.mass = make([]float64, len(res.parts)*res.route.Cells()), make([]float64, res.route.Cells())
		}
		probe.layers[layer{mod.Block, mod.Site}] = res
	}
	return probe, nil
}

// Blocks returns how many blocks of the base a pass must go through.
func (p *Probe) Blocks() int {
	n := 0
	for _, m := range p.adapter.Modules {
		n = max(n, m.Block+1)
	}
	return n
}

// Forward implements llama.Seam.
func (p *Probe) Forward(int, []float32, []float32, int) error { return nil }

// Begin implements llama.Passing.
func (p *Probe) Begin() llama.Pass {
	p.routed = -1
	return probing{p}
}

// probing is one pass of a probe.
type probing struct{ *Probe }

var _ llama.Sited = probing{}

// End implements llama.Pass.
func (probing) End() {}

// FFNInput implements llama.Sited: it selects cells.
func (p probing) FFNInput(block int, x []float32, tokens int) error {
	if l := p.router.Layer(block); l != nil {
		l.Route(p.pool, &p.routing, x, tokens)
		p.Probe.routed = block
	}
	return nil
}

// Linear implements llama.Sited.
func (p probing) Linear(block int, s llama.Site) llama.Linear {
	if r := p.layers[layer{block, s}]; r != nil && r.route != nil {
		return r
	}
	return nil
}

// Before implements llama.Linear.
func (*response) Before(x []float32, _ int) []float32 { return x }

// Whole implements llama.Linear.
func (*response) Whole() bool { return false }

// After implements llama.Linear.
func (r *response) After(_ []float32, _ int, x []float32, tokens int) error {
	p, n, cells := r.probe, len(r.parts), r.route.Cells()
	if p.routed != r.route.Block || p.routing.Tokens != tokens {
		return fmt.Errorf("transfer: block %d's router saw no input in this pass", r.route.Block)
	}
	in := len(r.a) / n
	r.h = slices.Grow(r.h[:0], tokens*n)[:tokens*n]
	kernels.MatMulNT(p.pool, r.h, x[:tokens*in], r.a, tokens, n, in, false)
	picks := r.route.Heads * r.route.TopK
	for t := 1; t < tokens; t++ {
		for i := t * picks; i < (t+1)*picks; i++ {
			cell, gate := int(p.routing.Cells[i]), float64(p.routing.Gates[i])
			r.mass[cell] += gate
			for e := range n {
				r.sums[e*cells+cell] += gate * math.Abs(float64(r.h[t*n+e]))
			}
		}
	}
	return nil
}

// Routing says how a probe's directions are placed.
type Routing struct {
	// Cover is the share of its response that the cells a direction stands in are to have, above 0 and at most 1.
	Cover float64
	// Against are other texts' selections in each of the router's layers, [layers][texts][cells]; nil where the text that was
	// probed is nobody's own.
	Against [][][]uint32
	// Counts are the selections of the sample in each of the router's layers, [layers][cells]; nil where there is none.
	Counts [][]uint32
}

// Set returns the LoRA as a set in cells: at each layer an expert of rank 1 for each direction. It stands in the first cells
// of an order that have that share of its response to the text that was probed. Against other texts the order is that of
// retrieval.ByTFIDF, with responses for counts: first where the sample makes it respond and the others do not select.
// Otherwise it is that of the mean response to the tokens that select a cell. At layers for which the router selects no
// cells, the module stays always on.
//
// Where an expert stands in all the cells that a token selects, it works on the token as it does always on.
func (p *Probe) Set(name string, o Routing) (*peer.Set, error) {
	if !(o.Cover > 0 && o.Cover <= 1) {
		return nil, fmt.Errorf("transfer: cells for a share of %g of the response, want above 0 and at most 1", o.Cover)
	}
	return newSet(name, p.adapter, p.model, p.router, func(m *exchange.Module, c *llama.Config) (*peer.Table, error) {
		r := p.layers[layer{m.Block, m.Site}]
		if r.route == nil {
			return always(m, c)
		}
		return r.table(m, c, o)
	})
}

// rankOne is the kind of a direction.
var rankOne = lora.Kind{Rank: 1, Alpha: 1}

func (r *response) table(m *exchange.Module, c *llama.Config, o Routing) (*peer.Table, error) {
	t := &peer.Table{Block: m.Block, Site: m.Site, Kind: rankOne, Dims: peer.Widths(c, m.Site, rankOne), Scale: peer.Share(r.probe.router, m.Block, m.Site)}
	at := slices.Index(r.probe.router.Layers, r.route)
	var against [][]uint32
	if o.Against != nil {
		against = o.Against[at]
	}
	if o.Counts != nil {
		t.Counts = o.Counts[at]
	}
	cells := r.route.Cells()
	t.Rows = peer.NewRows(len(r.parts), rankOne.Width(t.Dims), peer.F32)
	row := make([]float32, t.Rows.Width)
	var posts []retrieval.Post
	for e, d := range r.parts {
		rankOne.Pack(row, d.a, d.b)
		t.Rows.Set(e, row)
		in, err := r.cells(r.sums[e*cells:(e+1)*cells], o.Cover, against)
		if err != nil {
			return nil, err
		}
		for _, cell := range in {
			posts = append(posts, retrieval.Post{Cell: cell, Expert: uint32(e)})
		}
	}
	var err error
	t.Occupancy, err = retrieval.NewOccupancy(cells, len(r.parts), posts)
	return t, err
}

// cells returns those in which an expert with that response stands.
func (r *response) cells(sums []float64, cover float64, against [][]uint32) ([]uint32, error) {
	var total float64
	for _, s := range sums {
		total += s
	}
	order := make([]uint32, len(sums))
	for c := range order {
		order[c] = uint32(c)
	}
	if total == 0 { // it adds nothing, or nothing was probed
		return order, nil
	}
	if against == nil {
		mean := func(c uint32) float64 { return sums[c] / max(r.mass[c], math.SmallestNonzeroFloat64) }
		slices.SortStableFunc(order, func(a, b uint32) int { return cmp.Compare(mean(b), mean(a)) })
	} else {
		counts := make([]uint32, len(sums))
		for c, s := range sums {
			counts[c] = uint32(math.Round(s / total * (1 << 24)))
		}
		var err error
		if order, err = retrieval.ByTFIDF(counts, against...); err != nil {
			return nil, err
		}
	}
	var sum float64
	for i, c := range order {
		if sum += sums[c]; sum >= cover*total*(1-1e-9) {
			return order[:i+1], nil
		}
	}
	return order, nil
}
