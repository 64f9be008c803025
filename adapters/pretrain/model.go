package pretrain

import (
	"math"

	"github.com/gopeft/peft/kernels"
)

// model computes losses and gradients of batches of equally long sequences.
type model struct {
	Shape
	w, g     *weights // parameters and, where trained, their gradients
	pool     *kernels.Pool
	cos, sin []float32 // [context, headDim/2]
	act      activations
	packed   []layerPacked
	ffn      []feedForward
	unembed  [2]*kernels.Packed // the embedding for logits and for their gradient
	usage    []gateSums         // of each block, where they are to be summed; else nil
}

// layerPacked are a block's matrices laid out for products, forward and backward.
type layerPacked struct{ qkv, out [2]*kernels.Packed }

// activations are what the forward keeps for the backward, of a batch of rows tokens.
type activations struct {
	rows   int
	layers []layerActivations
	x      []float32 // [rows, hidden]: output of the last block
	normed []float32
	rstd   []float32
	pos    []int32
	spans  []kernels.Span
	// scratch of the backward
	dx, dnormed, dqkv, dout, dgu, dact, logits []float32
}

type layerActivations struct {
	x, normed1, rstd1 []float32 // [rows, hidden], [rows, hidden], [rows]
	qkv, o, lse       []float32 // [rows, qkv], [rows, heads·headDim], [rows, heads]
	x2, normed2, rst2 []float32
}

// headRows is how many rows of logits exist at a time.
const headRows = 512

func newModel(s Shape, w, g *weights, pool *kernels.Pool) (*model, error) {
	m := &model{Shape: s, w: w, g: g, pool: pool}
	half := s.HeadDim / 2
	m.cos, m.sin = make([]float32, s.Context*half), make([]float32, s.Context*half)
	for p := range s.Context {
		for i := range half {
			a := float64(p) * math.Pow(float64(s.RopeTheta), -float64(i)/float64(half))
			m.cos[p*half+i], m.sin[p*half+i] = float32(math.Cos(a)), float32(math.Sin(a))
		}
	}
	m.packed, m.ffn = make([]layerPacked, s.Layers), make([]feedForward, s.Layers)
	for i := range m.ffn {
		var err error
		if m.ffn[i], err = m.newFeedForward(i); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// both lays a matrix w: [out, in] out anew for products forward and, where gradients are computed, backward.
func (m *model) both(p *[2]*kernels.Packed, w []float32, out, in int, prec kernels.Precision) {
	if p[0] == nil || p[0].Precision() != prec {
		p[0], p[1] = kernels.PackNT(m.pool, w, out, in, prec), nil
	} else {
		p[0].Repack(m.pool, w, false)
	}
	switch {
	case m.g == nil: // no backward follows
	case p[1] == nil:
		p[1] = kernels.PackNN(m.pool, w, out, in, prec)
	default:
		p[1].Repack(m.pool, w, true)
	}
}

// pack lays the weights out anew; it must follow every change of theirs. bf16 products round weights and activations,
// f32 ones do not.
func (m *model) pack(prec kernels.Precision) {
	m.both(&m.unembed, m.w.embed, m.Vocab, m.Hidden, prec)
	for i := range m.packed {
		p, w := &m.packed[i], &m.w.layers[i]
		m.both(&p.qkv, w.qkv, m.qkv(), m.Hidden, prec)
		m.both(&p.out, w.out, m.Hidden, m.Heads*m.HeadDim, prec)
		m.ffn[i].pack(prec)
	}
}

// reserve makes room for a batch of sequences of length tokens each.
func (m *model) reserve(sequences, length int) {
	rows, a := sequences*length, &m.act
	if a.rows == rows && a.spans[0].Len == length {
		return
	}
	h, hd := m.Hidden, m.Heads*m.HeadDim
	v := func(width int) []float32 { return make([]float32, rows*width) }
	*a = activations{rows: rows, layers: make([]layerActivations, m.Layers), x: v(h), normed: v(h), rstd: v(1), pos: make([]int32, rows)}
	for i := range a.layers {
		a.layers[i] = layerActivations{x: v(h), normed1: v(h), rstd1: v(1), qkv: v(m.qkv()), o: v(hd), lse: v(m.Heads),
			x2: v(h), normed2: v(h), rst2: v(1)}
		m.ffn[i].reserve(rows)
	}
	a.dnormed, a.logits = v(h), make([]float32, min(rows, headRows)*m.Vocab)
	if m.g != nil {
		a.dx, a.dqkv, a.dout = v(h), v(m.qkv()), v(hd)
	}
	for i := range sequences {
		a.spans = append(a.spans, kernels.Span{Q: i * length, Len: length, KV: i * length})
		for j := range length {
			a.pos[i*length+j] = int32(j)
		}
	}
}

// heads are the shapes of attention.
func (m *model) heads() kernels.Heads {
	return kernels.Heads{Heads: m.Heads, KV: m.KVHeads, Dim: m.HeadDim, Scale: float32(1 / math.Sqrt(float64(m.HeadDim)))}
}

// forward computes the final normed states of tokens: sequences of length tokens one after the other.
func (m *model) forward(tokens []int32, length int) error {
	m.reserve(len(tokens)/length, length)
	a, p, n, h := &m.act, m.pool, m.act.rows, m.Hidden
	hd, kd := m.Heads*m.HeadDim, m.KVHeads*m.HeadDim
	out := func(i int) []float32 { // where block i-1 writes and block i reads
		if i < m.Layers {
			return a.layers[i].x
		}
		return a.x
	}
	x := out(0)
	for t, id := range tokens {
		copy(x[t*h:(t+1)*h], m.w.embed[int(id)*h:])
	}
	for i := range a.layers {
		l, w, b := &a.layers[i], &m.w.layers[i], &m.packed[i]
		kernels.RMSNorm(p, l.normed1, l.x, w.attnNorm, n, h, m.NormEps, l.rstd1)
		kernels.MulPacked(p, l.qkv, l.normed1, n, b.qkv[0], false)
		kernels.RoPE(p, l.qkv, m.qkv(), n, m.Heads+m.KVHeads, m.HeadDim, a.pos, m.cos, m.sin)
		kernels.Attention(p, l.o, hd, l.qkv, m.qkv(), l.qkv[hd:], l.qkv[hd+kd:], m.qkv(), a.spans, m.heads(), l.lse)
		copy(l.x2, l.x)
		kernels.MulPacked(p, l.x2, l.o, n, b.out[0], true)
		kernels.RMSNorm(p, l.normed2, l.x2, w.ffnNorm, n, h, m.NormEps, l.rst2)
		y := out(i + 1)
		copy(y, l.x2)
		if err := m.ffn[i].forward(y, l.normed2, n); err != nil {
			return err
		}
	}
	kernels.RMSNorm(p, a.normed, a.x, m.w.norm, n, h, m.NormEps, a.rstd)
	return nil
}

// head computes the losses (nats a row) of targets from the final normed states; with grad also the gradients of their
// mean with respect to the normed states (in dnormed) and, added, to the embedding.
func (m *model) head(loss []float32, targets []int32, grad bool) {
	a, h := &m.act, m.Hidden
	var weights []float32
	if grad {
		weights = make([]float32, headRows)
		for i := range weights {
			weights[i] = 1 / float32(a.rows)
		}
	}
	for r := 0; r < a.rows; r += headRows {
		n := min(headRows, a.rows-r)
		x, logits := a.normed[r*h:(r+n)*h], a.logits[:n*m.Vocab]
		kernels.MulPacked(m.pool, logits, x, n, m.unembed[0], false)
		kernels.CrossEntropy(m.pool, loss[r:r+n], logits, targets[r:r+n], weights, n, m.Vocab, grad)
		if grad {
			kernels.Scale(float32(a.rows), loss[r:r+n])
			kernels.MulPacked(m.pool, a.dnormed[r*h:(r+n)*h], logits, n, m.unembed[1], false)
			kernels.MatMulTN(m.pool, m.g.embed, logits, x, m.Vocab, h, n, true)
		}
	}
}

// step adds the gradient of the batch's mean loss to m.g and returns that loss. tokens: sequences of length+1 tokens, of
// which all but the first are predicted.
func (m *model) step(tokens []int32, length int) (float64, error) {
	inputs, targets := split(tokens, length)
	if err := m.forward(inputs, length); err != nil {
		return 0, err
	}
	loss := make([]float32, len(inputs))
	m.head(loss, targets, true)
	return mean(loss), m.backward(inputs)
}

// split separates sequences of length+1 tokens into inputs and targets of length tokens.
func split(tokens []int32, length int) (inputs, targets []int32) {
	for s := 0; s+length < len(tokens); s += length + 1 {
		inputs = append(inputs, tokens[s:s+length]...)
		targets = append(targets, tokens[s+1:s+length+1]...)
	}
	return inputs, targets
}

func mean(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v)
	}
	return s / float64(len(x))
}

// backward adds all gradients from dnormed down to m.g.
func (m *model) backward(inputs []int32) error {
	a, p, n, h := &m.act, m.pool, m.act.rows, m.Hidden
	hd, kd, qkv := m.Heads*m.HeadDim, m.KVHeads*m.HeadDim, m.qkv()
	kernels.RMSNormBackward(p, a.dx, a.dnormed, a.x, m.w.norm, a.rstd, n, h, false, m.g.norm)
	for i := m.Layers - 1; i >= 0; i-- {
		l, w, g, b := &a.layers[i], &m.w.layers[i], &m.g.layers[i], &m.packed[i]
		if err := m.ffn[i].backward(a.dnormed, a.dx, l.normed2, n); err != nil {
			return err
		}
		kernels.RMSNormBackward(p, a.dx, a.dnormed, l.x2, w.ffnNorm, l.rst2, n, h, true, g.ffnNorm)

		kernels.MulPacked(p, a.dout, a.dx, n, b.out[1], false)
		kernels.MatMulTN(p, g.out, a.dx, l.o, h, hd, n, true)
		kernels.AttentionBackward(p, a.dqkv, a.dqkv[hd:], a.dqkv[hd+kd:], a.dout, hd, l.o, l.qkv, qkv, l.qkv[hd:], l.qkv[hd+kd:], qkv, a.spans, m.heads(), l.lse)
		kernels.RoPEBackward(p, a.dqkv, qkv, n, m.Heads+m.KVHeads, m.HeadDim, a.pos, m.cos, m.sin)
		kernels.MulPacked(p, a.dnormed, a.dqkv, n, b.qkv[1], false)
		kernels.MatMulTN(p, g.qkv, a.dqkv, l.normed1, qkv, h, n, true)
		kernels.RMSNormBackward(p, a.dx, a.dnormed, l.x, w.attnNorm, l.rstd1, n, h, true, g.attnNorm)
	}
	for t, id := range inputs {
		kernels.Axpy(1, a.dx[t*h:(t+1)*h], m.g.embed[int(id)*h:(int(id)+1)*h])
	}
	return nil
}
