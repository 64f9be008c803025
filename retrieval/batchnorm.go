package retrieval

import (
	"math"

	"github.com/gopeft/peft/kernels"
)

// BatchNorm standardises each dimension of the queries over the tokens of a batch before B is added: the batch
// normalisation (arXiv 1502.03167) of query networks in arXiv 1907.05242 and arXiv 2407.04153. Centred queries of equal
// variance meet sub-keys on all sides, so that more of them are used. It has no gain of its own, which the sub-keys would
// only repeat, and its shift is the layer's B. It is there while a router is trained; for use, Fold puts the averages over
// past batches into an ordinary layer.
type BatchNorm struct {
	Mean, Var []float32 // [heads, 2, half] averages over batches
	Batches   int       // that were averaged

	inv []float32 // [heads, 2, half] 1/√(variance + ε) of the last batch
}

const (
	batchNormEps   = 1e-5
	batchNormShare = 0.1 // of the newest batch in the averages, after the first ten
)

// NewBatchNorm returns the normalisation of l's queries before the first batch.
func (l *Layer) NewBatchNorm() *BatchNorm {
	n := l.Heads * 2 * l.HalfDim
	b := &BatchNorm{Mean: make([]float32, n), Var: make([]float32, n)}
	for i := range b.Var {
		b.Var[i] = 1
	}
	return b
}

// Fold returns a layer that routes every token as l does after normalisation by the averages.
func (b *BatchNorm) Fold(l *Layer) *Layer {
	f := &Layer{Config: l.Config, Block: l.Block, Hidden: l.Hidden, Mean: l.Mean, InvStd: l.InvStd, Keys: l.Keys, Bias: l.Bias,
		Temp: l.Temp, OutScale: l.OutScale, Background: l.Background, W: make([]float32, len(l.W)), B: make([]float32, len(l.B))}
	for i := range f.B {
		inv := inverseStd(float64(b.Var[i]))
		copy(f.W[i*l.Hidden:(i+1)*l.Hidden], l.W[i*l.Hidden:(i+1)*l.Hidden])
		kernels.Scale(inv, f.W[i*l.Hidden:(i+1)*l.Hidden])
		f.B[i] = l.B[i] - b.Mean[i]*inv
	}
	return f
}

func inverseStd(variance float64) float32 { return float32(1 / math.Sqrt(variance+batchNormEps)) }

// columns are how many dimensions a goroutine sums at a time.
const columns = 64

// forward normalises q: [tokens, dims] in place, and counts the batch in the averages.
func (b *BatchNorm) forward(p *kernels.Pool, q []float32, tokens int) {
	dims := len(b.Mean)
	b.inv = resize(b.inv, dims)
	b.Batches++
	share := max(batchNormShare, 1/float64(b.Batches))
	p.Run(dims, columns, func(lo, hi int) {
		sum, sq := make([]float64, hi-lo), make([]float64, hi-lo)
		for t := range tokens {
			for j, v := range q[t*dims+lo : t*dims+hi] {
				sum[j] += float64(v)
			}
		}
		for j := range sum {
			sum[j] /= float64(tokens)
		}
		for t := range tokens {
			for j, v := range q[t*dims+lo : t*dims+hi] {
				d := float64(v) - sum[j]
				sq[j] += d * d
			}
		}
		for j := range sum {
			i, variance := lo+j, sq[j]/float64(tokens)
			b.inv[i] = inverseStd(variance)
			b.Mean[i] += float32(share * (sum[j] - float64(b.Mean[i])))
			b.Var[i] += float32(share * (variance - float64(b.Var[i])))
		}
		for t := range tokens {
			row := q[t*dims+lo : t*dims+hi]
			for j := range row {
				row[j] = (row[j] - float32(sum[j])) * b.inv[lo+j]
			}
		}
	})
}

// backward turns dq: [tokens, dims], the gradient with respect to the last forward's result, into that with respect to its
// input. q: the result after shift: [dims] was added.
func (b *BatchNorm) backward(p *kernels.Pool, dq, q, shift []float32, tokens int) {
	dims := len(b.Mean)
	p.Run(dims, columns, func(lo, hi int) {
		sum, dot := make([]float64, hi-lo), make([]float64, hi-lo)
		for t := range tokens {
			for j, d := range dq[t*dims+lo : t*dims+hi] {
				sum[j] += float64(d)
				dot[j] += float64(d) * float64(q[t*dims+lo+j]-shift[lo+j])
			}
		}
		for t := range tokens {
			row := dq[t*dims+lo : t*dims+hi]
			for j, d := range row {
				hat := float64(q[t*dims+lo+j] - shift[lo+j])
				row[j] = float32((float64(d) - (sum[j]+hat*dot[j])/float64(tokens)) * float64(b.inv[lo+j]))
			}
		}
	})
}
