package pretrain

import (
	"fmt"
	"slices"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// retrieved is a layer of experts that are retrieved by product keys, all of it trained: PEER or a product-key memory.
// Queries are normalised over the batch, as both papers do: of the normalisations there are it is the one that centres
// each dimension over the tokens, which is what spreads them over the sub-keys. A model that is only measured normalises
// by the averages of past batches instead, so that a token's output depends on its own sequence alone.
type retrieved struct {
	m      *model
	block  int
	layer  *peer.TrainLayer
	router *retrieval.Layer
	grad   *peer.RowGrad // of the last backward
}

func (m *model) newRetrieved(block int) (*retrieved, error) {
	w, e, c := &m.w.layers[block], m.w.experts[block], m.Instead.retrieval()
	l := &retrieval.Layer{Config: c, Block: block, Hidden: m.Hidden, W: w.query, B: w.shift, Keys: w.keys, OutScale: m.Instead.scale()}
	for half := range 2 {
		l.Bias[half] = make([]float32, c.Heads*c.SubKeys)
	}
	l.Temp = slices.Repeat([]float32{1}, c.Heads)
	if m.g == nil && !m.Instead.RawQuery {
		l = e.norm.Fold(l)
	}
	router := &retrieval.Router{Hidden: m.Hidden, Layers: []*retrieval.Layer{l}}
	sum, err := router.SHA256()
	if err != nil {
		return nil, fmt.Errorf("pretrain: block %d: %w", block, err)
	}
	set := &peer.Set{Name: "experts", Hidden: m.Hidden, Scale: 1, Router: sum, Tables: []*peer.Table{e.table}}
	t, err := peer.NewTraining(router, m.pool, set)
	if err != nil {
		return nil, fmt.Errorf("pretrain: block %d: %w", block, err)
	}
	r := &retrieved{m: m, block: block, layer: t.Layer(block), router: l}
	r.layer.Sigmoid = m.Instead.Sigmoid
	if m.g != nil {
		g := &m.g.layers[block]
		grad := l.NewGrad()
		grad.W, grad.B, grad.Keys = g.query, g.shift, g.keys
		r.layer.RouterGrad = grad
		if !m.Instead.RawQuery {
			r.layer.QueryNorm = e.norm
		}
	}
	return r, nil
}

func (r *retrieved) pack(kernels.Precision) { r.router.Changed() }

func (r *retrieved) reserve(int) {}

func (r *retrieved) forward(y, x []float32, rows int) error {
	if err := r.layer.Forward(y, x, rows); err != nil {
		return err
	}
	if u := r.m.usage; u != nil {
		routing := r.layer.Routing()
		for i, cell := range routing.Cells {
			u[r.block].add(int(cell), routing.Gates[i])
		}
	}
	return nil
}

func (r *retrieved) backward(dx, dy, _ []float32, rows int) error {
	clear(dx[:rows*r.m.Hidden])
	var err error
	r.grad, err = r.layer.Backward(dx, dy)
	return err
}
