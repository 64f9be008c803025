package tune

import (
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// step is what travels beside the graph: the rows in use and what the loss needs. Buffers of the graph have room for the
// largest batch; operations work on the first layout.Tokens rows.
type step struct {
	m       *llama.Model
	layout  *llama.Layout
	targets []int32   // [tokens]
	weights []float32 // [tokens]: 1 over the number of trained tokens, or 0
}

// node is the part that all operations of a block share.
type node struct {
	*step
	role string
	b    *llama.Block
	grad []bool
}

func (n *node) name() string { return tagOf(n.role, n.b.Index) }
func (n *node) diff() []bool { return n.grad }

// attnNorm: x → h.
type attnNorm struct {
	node
	rstd []float32
}

func (n *attnNorm) forward(in [][]float32, out []float32) error {
	n.b.AttnNorm(out, in[0], n.rstd, n.layout.Tokens)
	return nil
}

func (n *attnNorm) backward(in [][]float32, _, dout []float32, din [][]float32) error {
	n.b.AttnNormBackward(din[0], dout, in[0], n.rstd, n.layout.Tokens, false)
	return nil
}

// sites are what adapters do at layers whose outputs stand side by side in one row.
type sites struct {
	layers []*peer.TrainLayer // nil where nothing is
	widths []int              // of each layer's output
	stride int
}

// forward lets the adapters change the layers' output y: [tokens, stride], whose input is x.
func (s *sites) forward(y, x []float32, tokens int) error {
	for i, l := range s.layers {
		if l != nil {
			if err := l.After(y, s.stride, x, tokens); err != nil {
				return err
			}
		}
		y = y[s.widths[i]:]
	}
	return nil
}

// backward makes of dy the gradient with respect to what the frozen weights give, in place.
func (s *sites) backward(dy []float32) error {
	for i, l := range s.layers {
		if l != nil {
			if err := l.BackwardAfter(dy, s.stride); err != nil {
				return err
			}
		}
		dy = dy[s.widths[i]:]
	}
	return nil
}

// input adds the adapters' part of the gradient with respect to the layers' input.
func (s *sites) input(dx []float32) error {
	for _, l := range s.layers {
		if l != nil {
			if err := l.BackwardBefore(dx); err != nil {
				return err
			}
		}
	}
	return nil
}

// qkv: h and, with trained adapters, their handle → queries, keys and values, rotated.
type qkv struct {
	node
	sites
	heads   []float32 // what Rotate keeps
	scratch []float32 // the backward turns its gradient in place, and the graph's must stay
}

func (n *qkv) forward(in [][]float32, out []float32) error {
	n.b.Project(out, in[0], n.layout.Tokens)
	if err := n.sites.forward(out, in[0], n.layout.Tokens); err != nil {
		return err
	}
	n.b.Rotate(out, n.heads, n.layout)
	return nil
}

func (n *qkv) backward(_ [][]float32, _, dout []float32, din [][]float32) error {
	copy(n.scratch, dout)
	n.b.RotateBackward(n.scratch, n.heads, n.layout)
	if err := n.sites.backward(n.scratch); err != nil || din[0] == nil {
		return err
	}
	n.b.ProjectBackward(din[0], n.scratch, n.layout.Tokens)
	return n.input(din[0])
}

// attention: qkv → o.
type attention struct {
	node
	lse []float32
}

func (n *attention) forward(in [][]float32, out []float32) error {
	n.b.Attention(out, n.lse, in[0], n.layout)
	return nil
}

func (n *attention) backward(in [][]float32, out, dout []float32, din [][]float32) error {
	n.b.AttentionBackward(din[0], dout, out, n.lse, in[0], n.layout)
	return nil
}

// outer: x, the layer's input and, with trained adapters, their handle → x + the layer's output. It is attention's last
// layer or the feed-forward layer's.
type outer struct {
	node
	layer     *peer.TrainLayer // what adapters do there; nil where nothing is
	mul       func(y, x, in []float32, tokens int)
	mulBack   func(din, dy []float32, tokens int)
	own, back []float32 // scratch: [tokens, hidden], [tokens, in]
	post      *post     // nil where there is none
}

// post is the norm of what a layer adds to the residual stream, in families that have it; own then stays for the backward.
type post struct {
	add        func(y, x, own, rstd []float32, tokens int)
	back       func(down, dy, own, rstd []float32, tokens int)
	rstd, down []float32 // [tokens], and scratch: [tokens, hidden]
}

func (n *outer) forward(in [][]float32, out []float32) error {
	t, l := n.layout.Tokens, n.layer
	if l == nil && n.post == nil {
		n.mul(out, in[0], in[1], t)
		return nil
	}
	hidden, read := n.m.Config.Hidden, in[1]
	if l != nil {
		read = l.Before(in[1], t)
	}
	if n.post == nil && !l.Whole() {
		n.mul(out, in[0], read, t)
		return l.After(out, hidden, in[1], t)
	}
	own := n.own[:t*hidden]
	n.mul(own, nil, read, t)
	if l != nil {
		if err := l.After(own, hidden, in[1], t); err != nil {
			return err
		}
	}
	if n.post != nil {
		n.post.add(out, in[0], own, n.post.rstd, t)
	} else {
		kernels.Add(out[:t*hidden], in[0][:t*hidden], own)
	}
	return nil
}

func (n *outer) backward(_ [][]float32, _, dout []float32, din [][]float32) error {
	t, l := n.layout.Tokens, n.layer
	if din[0] != nil {
		copy(din[0], dout)
	}
	if n.post != nil {
		n.post.back(n.post.down, dout, n.own, n.post.rstd, t)
		dout = n.post.down
	} else if l != nil && l.Whole() {
		dout = n.own[:copy(n.own, dout)]
	}
	if l == nil {
		n.mulBack(din[1], dout, t)
		return nil
	}
	if err := l.BackwardAfter(dout, n.m.Config.Hidden); err != nil {
		return err
	}
	d := din[1]
	if d == nil {
		if !l.ChangesInput() {
			return nil
		}
		d = n.back
	}
	n.mulBack(d, dout, t)
	return l.BackwardBefore(d)
}

// ffnNorm: x → h.
type ffnNorm struct {
	node
	rstd []float32
}

func (n *ffnNorm) forward(in [][]float32, out []float32) error {
	n.b.FFNNorm(out, in[0], n.rstd, n.layout.Tokens)
	return nil
}

func (n *ffnNorm) backward(in [][]float32, _, dout []float32, din [][]float32) error {
	n.b.FFNNormBackward(din[0], dout, in[0], n.rstd, n.layout.Tokens, false)
	return nil
}

// gateUp: h and, with trained adapters, their handle → silu(gate)·up.
type gateUp struct {
	node
	sites
	training    *peer.Training
	gu, scratch []float32
}

func (n *gateUp) forward(in [][]float32, out []float32) error {
	if err := n.training.FFNInput(n.b.Index, in[0], n.layout.Tokens); err != nil {
		return err
	}
	n.b.GateUp(n.gu, in[0], n.layout.Tokens)
	if err := n.sites.forward(n.gu, in[0], n.layout.Tokens); err != nil {
		return err
	}
	n.b.Activate(out, n.gu, n.layout.Tokens)
	return nil
}

func (n *gateUp) backward(_ [][]float32, _, dout []float32, din [][]float32) error {
	n.b.ActivateBackward(n.scratch, dout, n.gu, n.layout.Tokens)
	if err := n.sites.backward(n.scratch); err != nil || din[0] == nil {
		return err
	}
	n.b.GateUpBackward(din[0], n.scratch, n.layout.Tokens)
	return n.input(din[0])
}

// peerAdd: x, h, handle → x + PEER(h). The handle stands for the trained rows: asking for its gradient makes the backward
// run, which leaves the rows' gradients in the layer.
type peerAdd struct {
	node
	layer *peer.TrainLayer
}

func (n *peerAdd) forward(in [][]float32, out []float32) error {
	copy(out, in[0])
	return n.layer.Forward(out, in[1], n.layout.Tokens)
}

func (n *peerAdd) backward(_ [][]float32, _, dout []float32, din [][]float32) error {
	if din[0] != nil {
		copy(din[0], dout)
	}
	clear(din[1]) // nil in the lowest layer, where only the rows' gradients are wanted
	_, err := n.layer.Backward(din[1], dout)
	return err
}

// headLoss: x → mean negative log-likelihood of the trained tokens.
type headLoss struct {
	*step
	rstd, h, dh, loss []float32
}

func (n *headLoss) name() string { return "loss" }
func (n *headLoss) diff() []bool { return []bool{true} }

func (n *headLoss) forward(in [][]float32, out []float32) error {
	t := n.layout.Tokens
	w := t * n.m.Config.Hidden
	n.m.FinalNorm(n.h, in[0], n.rstd, t)
	n.m.HeadLoss(n.loss[:t], n.dh[:w], n.h[:w], n.targets, n.weights)
	var sum float64
	for _, l := range n.loss[:t] {
		sum += float64(l)
	}
	out[0] = float32(sum)
	return nil
}

func (n *headLoss) backward(in [][]float32, _, _ []float32, din [][]float32) error {
	n.m.FinalNormBackward(din[0], n.dh, in[0], n.rstd, n.layout.Tokens)
	return nil
}
