package main

import (
	"math/rand/v2"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// benchRetrieval runs one layer of hidden 576, 8 heads, k = 16, with an expert in every cell.
func benchRetrieval(c *cli.Context) (*report, error) {
	const hidden, heads, topK, half = 576, 8, 16, 64
	r := &report{Columns: []string{"experts", "tokens", "µs a token", "against 4,096 experts", "square root of the experts' ratio"}}
	pool := kernels.NewPool(c.Int("threads"))
	defer pool.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	normal := func(n int, scale float32) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = scale * float32(rnd.NormFloat64())
		}
		return x
	}
	weights := func(n int, scale float32) []float32 { // such that bf16 holds them, as a calibrated router's
		x, h := normal(n, scale), make([]uint16, n)
		kernels.ToBF16(h, x)
		kernels.FromBF16(x, h)
		return x
	}
	first := map[int]float64{}
	for _, n := range []int{64, 256, 1024} {
		l := &retrieval.Layer{Config: retrieval.Config{Heads: heads, TopK: topK, SubKeys: n, HalfDim: half}, Hidden: hidden,
			W: weights(heads*2*half*hidden, 0.04), B: make([]float32, heads*2*half), Temp: []float32{1, 1, 1, 1, 1, 1, 1, 1}, OutScale: 1}
		for i := range l.Keys {
			l.Keys[i], l.Bias[i] = weights(heads*n*half, 1), make([]float32, heads*n)
		}
		router := &retrieval.Router{Base: "bench", Hidden: hidden, Layers: []*retrieval.Layer{l}}
		set, err := peer.NewSet(pool, "bench", neuron.SiLU, router, []peer.Placement{{Occupancy: retrieval.FullGrid(n * n)}}, 1, peer.BF16)
		if err != nil {
			return nil, err
		}
		stack, err := peer.NewStack(router, pool, set)
		if err != nil {
			return nil, err
		}
		for _, tokens := range []int{256, 1} {
			y := make([]float32, tokens*hidden)
			var failed error
			calls := 1 + 512/tokens
			perToken := median(c.Int("rounds"), func() float64 {
				batches := make([][]float32, calls) // other tokens each time: the same would find their experts in the cache
				for i := range batches {
					batches[i] = normal(tokens*hidden, 1)
				}
				return seconds(func() {
					for _, x := range batches {
						if err := stack.Forward(0, y, x, tokens); err != nil {
							failed = err
						}
					}
				}) / float64(calls*tokens) * 1e6
			})
			if failed != nil {
				return nil, failed
			}
			if first[tokens] == 0 {
				first[tokens] = perToken
			}
			r.add(n*n, tokens, perToken, perToken/first[tokens], float64(n)/64)
		}
	}
	return r, nil
}
