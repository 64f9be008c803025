package pretrain

import "github.com/gopeft/peft/kernels"

// feedForward is what stands in a block between its second norm and the residual stream.
type feedForward interface {
	// pack lays the weights out anew; it must follow every change of theirs.
	pack(prec kernels.Precision)
	// reserve makes room for so many rows.
	reserve(rows int)
	// forward adds the layer's output for x to y, both [rows, hidden], and keeps what backward needs.
	forward(y, x []float32, rows int) error
	// backward writes to dx the gradient with respect to the x of the last forward from that with respect to its output,
	// dy, and adds the gradients of the dense parameters to theirs.
	backward(dx, dy, x []float32, rows int) error
}

// newFeedForward returns the layer of that block.
func (m *model) newFeedForward(block int) (feedForward, error) {
	switch m.Instead.at(block) {
	case PEER, PKM:
		return m.newRetrieved(block)
	case MoE:
		return m.newMixture(block), nil
	default:
		return &swiglu{m: m, block: block}, nil
	}
}

// swiglu is the dense layer.
type swiglu struct {
	m            *model
	block        int
	gateUp, down [2]*kernels.Packed
	gu, act      []float32 // [rows, 2·ffn], [rows, ffn]
}

func (d *swiglu) pack(prec kernels.Precision) {
	w := &d.m.w.layers[d.block]
	d.m.both(&d.gateUp, w.gateUp, 2*d.m.FFN, d.m.Hidden, prec)
	d.m.both(&d.down, w.down, d.m.Hidden, d.m.FFN, prec)
}

func (d *swiglu) reserve(rows int) {
	d.gu, d.act = make([]float32, rows*2*d.m.FFN), make([]float32, rows*d.m.FFN)
	if a := &d.m.act; d.m.g != nil && len(a.dact) != rows*d.m.FFN { // which all blocks share
		a.dgu, a.dact = make([]float32, rows*2*d.m.FFN), make([]float32, rows*d.m.FFN)
	}
}

func (d *swiglu) forward(y, x []float32, rows int) error {
	kernels.MulPacked(d.m.pool, d.gu, x, rows, d.gateUp[0], false)
	kernels.SwiGLU(d.m.pool, d.act, d.gu, rows, d.m.FFN)
	kernels.MulPacked(d.m.pool, y, d.act, rows, d.down[0], true)
	return nil
}

func (d *swiglu) backward(dx, dy, x []float32, rows int) error {
	p, a, g, h, f := d.m.pool, &d.m.act, &d.m.g.layers[d.block], d.m.Hidden, d.m.FFN
	kernels.MulPacked(p, a.dact, dy, rows, d.down[1], false)
	kernels.MatMulTN(p, g.down, dy, d.act, h, f, rows, true)
	kernels.SwiGLUBackward(p, a.dgu, a.dact, d.gu, rows, f)
	kernels.MulPacked(p, dx, a.dgu, rows, d.gateUp[1], false)
	kernels.MatMulTN(p, g.gateUp, a.dgu, x, 2*f, h, rows, true)
	return nil
}
