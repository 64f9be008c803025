package tune

import (
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
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

// qkv: h → queries, keys and values, rotated.
type qkv struct {
	node
	heads   []float32 // what Rotate keeps
	scratch []float32 // the backward turns its gradient in place, and the graph's must stay
}

func (n *qkv) forward(in [][]float32, out []float32) error {
	n.b.Project(out, in[0], n.layout.Tokens)
	n.b.Rotate(out, n.heads, n.layout)
	return nil
}

func (n *qkv) backward(_ [][]float32, _, dout []float32, din [][]float32) error {
	copy(n.scratch, dout)
	n.b.RotateBackward(n.scratch, n.heads, n.layout)
	n.b.ProjectBackward(din[0], n.scratch, n.layout.Tokens)
	return nil
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

// attnOut: x, o → x + o·Wo.
type attnOut struct{ node }

func (n *attnOut) forward(in [][]float32, out []float32) error {
	n.b.AttnOut(out, in[0], in[1], n.layout.Tokens)
	return nil
}

func (n *attnOut) backward(_ [][]float32, _, dout []float32, din [][]float32) error {
	copy(din[0], dout)
	n.b.AttnOutBackward(din[1], dout, n.layout.Tokens)
	return nil
}

// attnOwn: o → o·Wo, where a norm follows.
type attnOwn struct{ node }

func (n *attnOwn) forward(in [][]float32, out []float32) error {
	n.b.AttnOut(out, nil, in[0], n.layout.Tokens)
	return nil
}

func (n *attnOwn) backward(_ [][]float32, _, dout []float32, din [][]float32) error {
	n.b.AttnOutBackward(din[0], dout, n.layout.Tokens)
	return nil
}

// attnPost: x, attention's own output → x + norm(output).
type attnPost struct {
	node
	rstd []float32
}

func (n *attnPost) forward(in [][]float32, out []float32) error {
	n.b.AttnPost(out, in[0], in[1], n.rstd, n.layout.Tokens)
	return nil
}

func (n *attnPost) backward(in [][]float32, _, dout []float32, din [][]float32) error {
	copy(din[0], dout)
	n.b.AttnPostBackward(din[1], dout, in[1], n.rstd, n.layout.Tokens)
	return nil
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

// gateUp: h → the activated gate and up.
type gateUp struct {
	node
	gu, scratch []float32
}

func (n *gateUp) forward(in [][]float32, out []float32) error {
	n.b.GateUp(n.gu, in[0], n.layout.Tokens)
	n.b.Activate(out, n.gu, n.layout.Tokens)
	return nil
}

func (n *gateUp) backward(_ [][]float32, _, dout []float32, din [][]float32) error {
	n.b.ActivateBackward(n.scratch, dout, n.gu, n.layout.Tokens)
	n.b.GateUpBackward(din[0], n.scratch, n.layout.Tokens)
	return nil
}

// down: x, act → x + act·Wd.
type down struct{ node }

func (n *down) forward(in [][]float32, out []float32) error {
	n.b.Down(out, in[0], in[1], n.layout.Tokens)
	return nil
}

func (n *down) backward(_ [][]float32, _, dout []float32, din [][]float32) error {
	copy(din[0], dout)
	n.b.DownBackward(din[1], dout, n.layout.Tokens)
	return nil
}

// ffnOwn: act → act·Wd, where a norm follows.
type ffnOwn struct{ node }

func (n *ffnOwn) forward(in [][]float32, out []float32) error {
	n.b.Down(out, nil, in[0], n.layout.Tokens)
	return nil
}

func (n *ffnOwn) backward(_ [][]float32, _, dout []float32, din [][]float32) error {
	n.b.DownBackward(din[0], dout, n.layout.Tokens)
	return nil
}

// ffnPost: x, the feed-forward layer's own output → x + norm(output).
type ffnPost struct {
	node
	rstd []float32
}

func (n *ffnPost) forward(in [][]float32, out []float32) error {
	n.b.FFNPost(out, in[0], in[1], n.rstd, n.layout.Tokens)
	return nil
}

func (n *ffnPost) backward(in [][]float32, _, dout []float32, din [][]float32) error {
	copy(din[0], dout)
	n.b.FFNPostBackward(din[1], dout, in[1], n.rstd, n.layout.Tokens)
	return nil
}

// peerAdd: x, h, handle → x + PEER(h). The handle stands for the trained rows: asking for its gradient makes the backward
// run, which leaves the rows' gradients in rows.
type peerAdd struct {
	node
	layer *peer.TrainLayer
	rows  *peer.RowGrad // of the last backward
	sum   peer.RowGrad  // of a batch's parts
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
	var err error
	n.rows, err = n.layer.Backward(din[1], dout)
	if din[2] != nil {
		din[2][0] = 0
	}
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
