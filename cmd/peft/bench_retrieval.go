package main

import (
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// benchRetrieval runs one layer of hidden 576, 8 heads, k = 16, with an expert in every cell.
func benchRetrieval(c *cli.Context) (*report, error) {
	const hidden, heads, topK, half = 576, 8, 16, 64
	r := &report{Columns: []string{"experts", "tokens", "µs a token", "against the fewest", "square root of the experts' ratio"}}
	pool := kernels.NewPool(c.Int("threads"))
	defer pool.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	normal := func(n int, scale float32) []float32 { return normal(rnd, n, scale) }
	weights := func(n int, scale float32) []float32 { return inBF16(normal(n, scale)) }
	first := map[int]float64{}
	sizes, counts := []int{64, 256, 1024}, []int{256, 1}
	if n := c.Int("sub-keys"); n != 0 {
		sizes = []int{n}
	}
	if n := c.Int("tokens"); n != 0 {
		counts = []int{n}
	}
	for _, n := range sizes {
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
		for _, tokens := range counts {
			y := make([]float32, tokens*hidden)
			calls := 1 + 512/tokens
			took, err := rounds(c, func() (float64, error) {
				batches := make([][]float32, calls) // other tokens each time: the same would find their experts in the cache
				for i := range batches {
					batches[i] = normal(tokens*hidden, 1)
				}
				var failed error
				return seconds(func() {
					for _, x := range batches {
						failed = errors.Join(failed, stack.Forward(0, y, x, tokens))
					}
				}) / float64(calls*tokens) * 1e6, failed
			})
			if err != nil {
				return nil, err
			}
			perToken := middle(took)
			if first[tokens] == 0 {
				first[tokens] = perToken
			}
			r.add(n*n, tokens, perToken, perToken/first[tokens], float64(n)/float64(sizes[0]))
		}
	}
	return r, nil
}

func normal(rnd *rand.Rand, n int, scale float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = scale * float32(rnd.NormFloat64())
	}
	return x
}

// inBF16 rounds x such that bf16 holds it, as the weights of a calibrated router.
func inBF16(x []float32) []float32 {
	h := make([]uint16, len(x))
	kernels.ToBF16(h, x)
	kernels.FromBF16(x, h)
	return x
}

// benchTopK selects the 16 best of 1,024 × 1,024 product keys of 2 × 64 dimensions: one head whose query network hands the
// input on.
func benchTopK(c *cli.Context) (*report, error) {
	const n, half, k, queries, looked = 1024, 64, 16, 256, 8
	pool := kernels.NewPool(c.Int("threads"))
	defer pool.Close()
	rnd := rand.New(rand.NewPCG(1, 3))
	l := &retrieval.Layer{Config: retrieval.Config{Heads: 1, TopK: k, SubKeys: n, HalfDim: half}, Hidden: 2 * half,
		W: make([]float32, 4*half*half), B: make([]float32, 2*half), Temp: []float32{1}, OutScale: 1}
	for i := range 2 * half {
		l.W[i*2*half+i] = 1
	}
	for i := range l.Keys {
		l.Keys[i], l.Bias[i] = inBF16(normal(rnd, n*half, 1)), make([]float32, n)
	}
	var r retrieval.Routing
	found, right := 0, 0
	took, err := rounds(c, func() (float64, error) {
		x := normal(rnd, queries*2*half, 1)
		t := seconds(func() { l.Route(pool, &r, x, queries) })
		for q := range looked {
			found += k
			right += inBest(l, x[q*2*half:(q+1)*2*half], r.Cells[q*k:(q+1)*k])
		}
		return t / queries * 1e6, nil
	})
	if err != nil {
		return nil, err
	}
	rep := &report{Columns: []string{"keys", "queries", "µs a query", "recall"}}
	rep.add(n*n, queries, middle(took), float64(right)/float64(found))
	return rep, nil
}

// inBest returns how many of the cells are among the best of all, by looking at all.
func inBest(l *retrieval.Layer, q []float32, cells []uint32) int {
	n, d := l.SubKeys, l.HalfDim
	var s [2][]float64
	for half := range s {
		for i := range n {
			var sum float64
			for j, v := range l.Keys[half][i*d : (i+1)*d] {
				sum += float64(v) * float64(q[half*d+j])
			}
			s[half] = append(s[half], sum)
		}
	}
	all := make([]float64, 0, n*n)
	for _, a := range s[0] {
		for _, b := range s[1] {
			all = append(all, a+b)
		}
	}
	slices.Sort(all)
	const rounding = 1e-4 // of f32 sums of 64 products
	least, right := all[len(all)-len(cells)]-rounding, 0
	for _, c := range cells {
		if s[0][int(c)/n]+s[1][int(c)%n] >= least {
			right++
		}
	}
	return right
}
