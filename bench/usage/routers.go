package main

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// How queries are normalised.
const (
	raw      = iota // a random projection of the input as it is
	unit            // the same, each dimension of the queries with mean 0 and variance 1, as batch normalisation gives it
	whitened        // the calibration's: the input's principal components with variance 1, rotated at random
)

// What sub-keys are.
const (
	random   = iota // directions drawn at random, as before training
	tokens          // half queries of tokens drawn at random; the nearest are selected
	clusters        // the calibration's: centres of clusters of half queries; the nearest are selected
)

// made says how a router is made.
type made struct {
	name           string
	queries, keys  int
	queried, keyed string // in words
}

var makes = []made{
	{"calibrated", whitened, clusters, "whitened", "clusters' centres"},
	{"whitened, tokens", whitened, tokens, "whitened", "tokens' queries"},
	{"unit, tokens", unit, tokens, "unit variance", "tokens' queries"},
	{"raw, tokens", raw, tokens, "not normalised", "tokens' queries"},
	{"whitened, random", whitened, random, "whitened", "random"},
	{"unit, random", unit, random, "unit variance", "random"},
	{"raw, random", raw, random, "not normalised", "random"},
	{uniformName, 0, 0, "", ""},
}

// uniformName is of selections that are drawn uniformly, for comparison.
const uniformName = "uniform selections"

// layer makes a router of one layer from x: [rows, hidden].
func (b *bench) layer(ctx context.Context, m made, x []float32) (*retrieval.Layer, error) {
	hidden := b.base.Model.Config.Hidden
	rows, rng := len(x)/hidden, rand.New(rand.NewPCG(b.seed, uint64(m.queries)))
	var l *retrieval.Layer
	if m.queries == whitened {
		r, _, err := retrieval.Calibrate(ctx, b.pool, retrieval.Options{
			Config: b.config, Blocks: []int{b.block}, Hidden: hidden, Seed: b.seed, HeldOut: 1 / float64(rows),
		}, source{x, rows})
		if err != nil || m.keys == clusters {
			return single(r), err
		}
		l = single(r)
	} else {
		l = b.projection(hidden, rng)
		if m.queries == unit {
			n := l.NewBatchNorm()
			n.Mean, n.Var = moments(b.queries(l, x), l.Heads*2*l.HalfDim)
			l = n.Fold(l)
		}
	}
	b.setKeys(l, m.keys, b.queries(l, x), rng)
	b.setTemp(l, x)
	return l, nil
}

// source gives Calibrate a sample and its length.
type source struct {
	x    []float32
	rows int
}

func (s source) Sample(int) (retrieval.Sample, error) {
	return retrieval.Sample{X: s.x, Tokens: s.rows}, nil
}

func single(r *retrieval.Router) *retrieval.Layer {
	if r == nil {
		return nil
	}
	return r.Layers[0]
}

// projection returns a layer with random query networks that leave the input's scale as it is, and without sub-keys.
func (b *bench) projection(hidden int, rng *rand.Rand) *retrieval.Layer {
	q := b.config.Heads * 2 * b.config.HalfDim
	l := &retrieval.Layer{Config: b.config, Block: b.block, Hidden: hidden, OutScale: 1, W: make([]float32, q*hidden), B: make([]float32, q),
		Temp: slices.Repeat([]float32{1}, b.config.Heads)}
	for i := range l.W {
		l.W[i] = float32(rng.NormFloat64() / math.Sqrt(float64(hidden)))
	}
	return l
}

// queries returns the queries of x: [rows, heads, 2, half].
func (b *bench) queries(l *retrieval.Layer, x []float32) []float32 {
	rows, cols := len(x)/l.Hidden, l.Heads*2*l.HalfDim
	if l.Mean != nil {
		x = slices.Clone(x)
		for i := range x {
			x[i] = (x[i] - l.Mean[i%l.Hidden]) * l.InvStd[i%l.Hidden]
		}
	}
	q := make([]float32, rows*cols)
	kernels.MatMulNT(b.pool, q, x, l.W, rows, cols, l.Hidden, false)
	for i := range rows {
		kernels.Add(q[i*cols:(i+1)*cols], q[i*cols:(i+1)*cols], l.B)
	}
	return q
}

// moments returns mean and variance of each column.
func moments(q []float32, cols int) (mean, variance []float32) {
	sum, sq := make([]float64, cols), make([]float64, cols)
	for i, v := range q {
		sum[i%cols] += float64(v)
		sq[i%cols] += float64(v) * float64(v)
	}
	n := float64(len(q) / cols)
	mean, variance = make([]float32, cols), make([]float32, cols)
	for j := range cols {
		m := sum[j] / n
		mean[j], variance[j] = float32(m), float32(sq[j]/n-m*m)
	}
	return mean, variance
}

// setKeys gives the layer sub-keys, from the queries q: [rows, heads, 2, half] where they are tokens'.
func (b *bench) setKeys(l *retrieval.Layer, keys int, q []float32, rng *rand.Rand) {
	n, d, cols := l.SubKeys, l.HalfDim, l.Heads*2*l.HalfDim
	for half := range 2 {
		l.Keys[half], l.Bias[half] = make([]float32, l.Heads*n*d), make([]float32, l.Heads*n)
		for h := range l.Heads {
			rows := rng.Perm(len(q) / cols)
			for i := range n {
				at := h*n + i
				key := l.Keys[half][at*d : (at+1)*d]
				if keys == random {
					for j := range key {
						key[j] = float32(rng.NormFloat64())
					}
					continue
				}
				copy(key, q[rows[i]*cols+(h*2+half)*d:][:d])
				l.Bias[half][at] = -kernels.Dot(key, key) / 2
			}
		}
	}
	l.Changed()
}

// setTemp sets the temperatures as the calibration does, to the mean standard deviation of a head's selected scores.
func (b *bench) setTemp(l *retrieval.Layer, x []float32) {
	const flat = 1 << 10 // at this temperature gates are nearly alike, and their logarithms are the scores but for a constant
	for h := range l.Temp {
		l.Temp[h] = flat
	}
	l.Changed()
	var r retrieval.Routing
	rows := min(2048, len(x)/l.Hidden)
	l.Route(b.pool, &r, x, rows)
	std := make([]float64, l.Heads)
	for i := range rows * l.Heads {
		std[i%l.Heads] += deviation(r.Gates[i*l.TopK:(i+1)*l.TopK]) * flat / float64(rows)
	}
	for h := range std {
		l.Temp[h] = float32(max(1e-6, std[h]))
	}
	l.Changed()
}

// deviation returns the standard deviation of the gates' logarithms.
func deviation(gates []float32) float64 {
	var sum, sq float64
	for _, g := range gates {
		v := math.Log(float64(g) * float64(len(gates)))
		sum += v
		sq += v * v
	}
	n := float64(len(gates))
	return math.Sqrt(max(0, sq/n-sum/n*sum/n))
}
