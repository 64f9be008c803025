package pretrain

import (
	"math"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/kernels"
)

// Optimizer holds the rates of training.
type Optimizer struct {
	MatrixLR    float32 `json:"matrix_lr"`            // Muon's, for the blocks' matrices
	EmbedLR     float32 `json:"embed_lr"`             // AdamW's, for the embedding and the norms
	ExpertLR    float32 `json:"expert_lr,omitempty"`  // AdamW's, for retrieved experts, sub-keys and a mixture's scores
	KeyLR       float32 `json:"key_lr,omitempty"`     // the same, for sub-keys; 0: ExpertLR
	DenseAdam   bool    `json:"dense_adam,omitempty"` // AdamW at ExpertLR instead of Muon for dense feed-forward layers
	Momentum    float32 `json:"momentum"`             // Muon's
	Beta1       float32 `json:"beta1"`                // AdamW's
	Beta2       float32 `json:"beta2"`                // AdamW's
	Eps         float32 `json:"eps"`                  // AdamW's
	WeightDecay float32 `json:"weight_decay"`         // decoupled, of matrices, times the rate
	ClipNorm    float32 `json:"clip_norm"`            // largest norm of the whole gradient
	Warmup      int     `json:"warmup"`               // steps of linear growth of the rates
	Decay       int     `json:"decay"`                // last steps, in which the rates fall linearly to zero
}

// keyLR returns the rate of sub-keys.
func (o Optimizer) keyLR() float32 {
	if o.KeyLR == 0 {
		return o.ExpertLR
	}
	return o.KeyLR
}

// rate returns the factor of the learning rates at a step counted from 0: warm-up, constant, linear decay.
func (o Optimizer) rate(step, steps int) float32 {
	r := float32(1)
	if step < o.Warmup {
		r = float32(step+1) / float32(o.Warmup)
	}
	if left := steps - step; left < o.Decay {
		r = min(r, float32(left)/float32(o.Decay))
	}
	return r
}

// optimizer updates weights in place. m holds Muon's momentum and AdamW's first moment, v AdamW's second.
type optimizer struct {
	Optimizer
	shape   Shape
	w, g    *weights
	m, v    *weights
	experts []*expertOptimizer
	pool    *kernels.Pool
	scratch [3][]float32
}

// expertOptimizer updates the rows of one block's retrieved experts that a step touched.
type expertOptimizer struct {
	layer *retrieved
	table *peer.Table
	*peer.Adam
}

// newOptimizer returns the optimiser of a model's weights.
func newOptimizer(o Optimizer, m *model) *optimizer {
	opt := &optimizer{Optimizer: o, shape: m.Shape, w: m.w, g: m.g, m: newWeights(m.Shape), v: newWeights(m.Shape), pool: m.pool}
	for i, f := range m.ffn {
		if r, ok := f.(*retrieved); ok {
			t := m.w.experts[i].table
			opt.experts = append(opt.experts, &expertOptimizer{r, t, peer.NewAdam(t)})
		}
	}
	return opt
}

// step makes one step from the gradient in o.g, which it clears, and in the layers of retrieved experts, and returns the
// gradient's norm before clipping.
func (o *optimizer) step(step, steps int) float64 {
	squares := sumSquares(o.g.flat)
	for _, e := range o.experts {
		squares += e.layer.grad.SquaredNorm()
	}
	norm, scale := math.Sqrt(squares), float32(1)
	if norm > float64(o.ClipNorm) {
		scale = float32(float64(o.ClipNorm) / norm)
		kernels.Scale(scale, o.g.flat)
	}
	rate := o.rate(step, steps)
	t := float64(step + 1)
	c1, c2 := float32(1-math.Pow(float64(o.Beta1), t)), float32(1-math.Pow(float64(o.Beta2), t))
	adam := func(lr float32, w, g, m, v []float32) {
		kernels.Adam(w, g, m, v, lr*rate, o.Beta1, o.Beta2, o.Eps, 0, c1, c2)
	}
	adam(o.EmbedLR, o.w.embed, o.g.embed, o.m.embed, o.v.embed)
	adam(o.EmbedLR, o.w.norm, o.g.norm, o.m.norm, o.v.norm)
	s := o.shape
	hd, kd := s.Heads*s.HeadDim, s.KVHeads*s.HeadDim
	for i := range o.w.layers {
		w, g, m, v := &o.w.layers[i], &o.g.layers[i], &o.m.layers[i], &o.v.layers[i]
		adam(o.EmbedLR, w.attnNorm, g.attnNorm, m.attnNorm, v.attnNorm)
		adam(o.EmbedLR, w.ffnNorm, g.ffnNorm, m.ffnNorm, v.ffnNorm)
		muon := func(w, g, m []float32, from, rows, cols int) {
			lo, hi := from*cols, (from+rows)*cols
			o.muon(w[lo:hi], g[lo:hi], m[lo:hi], rows, cols, rate)
		}
		muon(w.qkv, g.qkv, m.qkv, 0, hd, s.Hidden)
		muon(w.qkv, g.qkv, m.qkv, hd, kd, s.Hidden)
		muon(w.qkv, g.qkv, m.qkv, hd+kd, kd, s.Hidden)
		muon(w.out, g.out, m.out, 0, s.Hidden, hd)
		switch f := &s.Instead; f.at(i) {
		case Dense:
			if o.DenseAdam {
				adam(o.ExpertLR, w.gateUp, g.gateUp, m.gateUp, v.gateUp)
				adam(o.ExpertLR, w.down, g.down, m.down, v.down)
				break
			}
			muon(w.gateUp, g.gateUp, m.gateUp, 0, s.FFN, s.Hidden)
			muon(w.gateUp, g.gateUp, m.gateUp, s.FFN, s.FFN, s.Hidden)
			muon(w.down, g.down, m.down, 0, s.Hidden, s.FFN)
		case MoE:
			for e := range 2 * f.Experts {
				muon(w.gateUp, g.gateUp, m.gateUp, e*f.Width, f.Width, s.Hidden)
			}
			for e := range f.Experts {
				muon(w.down, g.down, m.down, e*s.Hidden, s.Hidden, f.Width)
			}
			adam(o.ExpertLR, w.choice, g.choice, m.choice, v.choice)
		default:
			for half := range 2 * f.Heads {
				muon(w.query, g.query, m.query, half*f.HalfDim, f.HalfDim, s.Hidden)
			}
			adam(o.ExpertLR, w.shift, g.shift, m.shift, v.shift)
			for half := range 2 {
				adam(o.keyLR(), w.keys[half], g.keys[half], m.keys[half], v.keys[half])
			}
		}
	}
	for _, e := range o.experts {
		e.Update(o.pool, e.table, e.layer.grad, peer.AdamRates{Step: step + 1, LR: o.ExpertLR * rate, Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, Scale: scale})
	}
	clear(o.g.flat)
	return norm
}

// muon updates one matrix [rows, cols] by Nesterov momentum whose singular values are all brought near 1 (K. Jordan et
// al., "Muon: an optimizer for hidden layers in neural networks", 2024). g is overwritten.
func (o *optimizer) muon(w, g, m []float32, rows, cols int, rate float32) {
	kernels.Scale(o.Momentum, m)
	kernels.Axpy(1, g, m)
	kernels.Axpy(o.Momentum, m, g)
	orthogonalise(o.pool, g, rows, cols, &o.scratch)
	lr := o.MatrixLR * rate
	kernels.Scale(1-lr*o.WeightDecay, w)
	kernels.Axpy(-lr*float32(math.Sqrt(max(1, float64(rows)/float64(cols)))), g, w)
}

// orthogonalise replaces x: [rows, cols] by about U·Vᵀ of its singular value decomposition: five Newton-Schulz
// iterations X ← a·X + (b·A + c·A²)·X, A = X·Xᵀ, whose coefficients bring singular values to 0.7–1.2.
func orthogonalise(p *kernels.Pool, x []float32, rows, cols int, scratch *[3][]float32) {
	const a, b, c = 3.4445, -4.7750, 2.0315
	r, k := rows, cols
	for i, n := range []int{rows * cols, min(rows, cols) * min(rows, cols), min(rows, cols) * min(rows, cols)} {
		if len(scratch[i]) < n {
			scratch[i] = make([]float32, n)
		}
	}
	y := scratch[0][:len(x)]
	tall := rows > cols
	if tall { // the short side makes the smaller Gram matrix
		r, k = cols, rows
		transpose(y, x, rows, cols)
		copy(x, y)
	}
	gram, square := scratch[1][:r*r], scratch[2][:r*r]
	kernels.Scale(float32(1/(math.Sqrt(sumSquares(x))+1e-7)), x)
	for range 5 {
		kernels.MatMulNT(p, gram, x, x, r, r, k, false)
		kernels.MatMulNN(p, square, gram, gram, r, r, r, false)
		for i, v := range gram {
			gram[i] = b*v + c*square[i]
		}
		kernels.MatMulNN(p, y, gram, x, r, k, r, false)
		kernels.Scale(a, x)
		kernels.Add(x, x, y)
	}
	if tall {
		transpose(y, x, cols, rows)
		copy(x, y)
	}
}

// transpose writes dst: [cols, rows] from src: [rows, cols].
func transpose(dst, src []float32, rows, cols int) {
	for i := range rows {
		for j, v := range src[i*cols : (i+1)*cols] {
			dst[j*rows+i] = v
		}
	}
}

// sumSquares adds in double precision in one fixed order.
func sumSquares(x []float32) float64 {
	var s float64
	for len(x) > 0 {
		n := min(len(x), 4096)
		s += float64(kernels.Dot(x[:n], x[:n]))
		x = x[n:]
	}
	return s
}
