package main

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/gopeft/peft/retrieval"
)

// mode is a way to make a router without training it.
type mode struct {
	name  string
	layer func(context.Context, *bench) (*retrieval.Layer, error)
}

var modes = []mode{
	{"random sub-keys, queries as they are", func(_ context.Context, b *bench) (*retrieval.Layer, error) { return b.random(), nil }},
	{"random sub-keys, queries normalised", func(_ context.Context, b *bench) (*retrieval.Layer, error) {
		l := b.random()
		n, s := l.NewBatchNorm(), b.sample()
		// One batch of the whole sample: its averages are the sample's.
		r := retrieval.Routing{Train: true, Norm: n}
		l.Route(b.pool, &r, s.X, s.Tokens)
		return n.Fold(l), nil
	}},
	{"clustered sub-keys, queries as they are", func(ctx context.Context, b *bench) (*retrieval.Layer, error) { return b.calibrate(ctx, true) }},
	{"clustered sub-keys, inputs whitened (calibration)", func(ctx context.Context, b *bench) (*retrieval.Layer, error) { return b.calibrate(ctx, false) }},
}

func (b *bench) shape() retrieval.Config {
	c := b.config
	c.HalfDim = retrieval.DefaultConfig(b.hidden).HalfDim
	return c
}

// calibrate makes the layer as peft init does, or of queries as they are.
func (b *bench) calibrate(ctx context.Context, raw bool) (*retrieval.Layer, error) {
	r, _, err := retrieval.Calibrate(ctx, b.pool, retrieval.Options{Config: b.shape(), Base: b.base, Blocks: []int{b.block}, Hidden: b.hidden, Seed: b.seed, Raw: raw}, b)
	if err != nil {
		return nil, err
	}
	return r.Layers[0], nil
}

// random makes the layer that training from scratch starts from: query networks and sub-keys at random.
func (b *bench) random() *retrieval.Layer {
	c := b.shape()
	rng := rand.New(rand.NewPCG(b.seed, 1))
	uniform := func(n, fanIn int) []float32 {
		v, bound := make([]float32, n), float32(1/math.Sqrt(float64(fanIn)))
		for i := range v {
			v[i] = (2*rng.Float32() - 1) * bound
		}
		return v
	}
	q := c.Heads * 2 * c.HalfDim
	l := &retrieval.Layer{Config: c, Block: b.block, Hidden: b.hidden, W: uniform(q*b.hidden, b.hidden), B: make([]float32, q), OutScale: 1}
	for half := range 2 {
		l.Keys[half] = uniform(c.Heads*c.SubKeys*c.HalfDim, c.HalfDim)
		l.Bias[half] = make([]float32, c.Heads*c.SubKeys)
	}
	l.Temp = make([]float32, c.Heads)
	for h := range l.Temp {
		l.Temp[h] = 1
	}
	return l
}
