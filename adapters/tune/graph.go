package tune

import (
	"errors"
	"fmt"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
)

// graph is the training graph for batches of up to so many tokens.
type graph struct {
	step
	from     int // the lowest block with trained experts
	batch    int // tokens it has room for
	training *peer.Training
	x, h     []float32 // inputs: the residual stream after block from's feed-forward layer, and that layer's normed input
	peers    []*peerAdd
	vm       G.VM
	loss     G.Value
	low      []float32 // the residual stream under the graph

	// What a run needs, kept for the next one.
	parts []Batch
	seqs  []llama.Seq
	laid  llama.Layout
	grads []*peer.RowGrad
}

// newGraph builds and compiles the graph.
func newGraph(m *llama.Model, t *peer.Training, batch int) (*graph, error) {
	blocks := t.Blocks()
	if len(blocks) == 0 {
		return nil, errors.New("tune: the set has no experts to train")
	}
	g := &graph{step: step{m: m}, from: blocks[0], batch: batch, training: t}
	if err := m.PrepareBackward(g.from + 1); err != nil {
		return nil, err
	}
	eg, hidden := G.NewGraph(), m.Config.Hidden
	input := func(name string) (*G.Node, []float32, error) {
		d := dense(tensor.Shape{batch, hidden})
		n := G.NewTensor(eg, tensor.Float32, 2, G.WithShape(batch, hidden), G.WithName(name))
		x, err := data(d)
		if err != nil {
			return nil, nil, err
		}
		return n, x, G.Let(n, d)
	}
	x, xd, err := input("stream")
	if err != nil {
		return nil, err
	}
	h, hd, err := input("normed")
	if err != nil {
		return nil, err
	}
	g.x, g.h = xd, hd
	b := &builder{graph: g, eg: eg, arena: arena{}, scratch: map[string][]float32{}}
	x = b.peer(m.Blocks[g.from], x, h, false)
	for _, blk := range m.Blocks[g.from+1:] {
		x = b.block(blk, x)
	}
	loss := b.add(&headLoss{&g.step, b.rows(1), b.rows(hidden), b.rows(hidden), b.rows(1)}, nil, x)
	if b.err != nil {
		return nil, fmt.Errorf("tune: build the graph: %w", b.err)
	}
	if _, err := G.Grad(loss, b.handles...); err != nil {
		return nil, fmt.Errorf("tune: differentiate the graph: %w", err)
	}
	G.Read(loss, &g.loss)
	if err := distinct(eg); err != nil {
		return nil, err
	}
	prog, locs, err := G.Compile(eg)
	if err != nil {
		return nil, fmt.Errorf("tune: compile the graph: %w", err)
	}
	g.vm = G.NewTapeMachine(eg, G.WithPrecompiled(prog, locs))
	return g, nil
}

// distinct makes sure that no two nodes have the same hash: Gorgonia would compute one of them for both.
func distinct(eg *G.ExprGraph) error {
	seen := map[uint32]*G.Node{}
	for _, n := range eg.AllNodes() {
		if o, ok := seen[n.Hashcode()]; ok && o != n {
			return fmt.Errorf("tune: nodes %v and %v of the graph have the same hash", o, n)
		}
		seen[n.Hashcode()] = n
	}
	return nil
}

// builder adds operations; after the first error it adds nothing.
type builder struct {
	*graph
	eg      *G.ExprGraph
	arena   arena
	handles G.Nodes
	scratch map[string][]float32
	err     error
}

func (b *builder) rows(width int) []float32 { return make([]float32, b.batch*width) }

// shared returns scratch that all blocks use, one after the other.
func (b *builder) shared(role string, width int) []float32 {
	if b.scratch[role] == nil {
		b.scratch[role] = b.rows(width)
	}
	return b.scratch[role]
}

// apply adds an operation whose result stays for the backward.
func (b *builder) apply(k kernel, width int, in ...*G.Node) *G.Node {
	return b.add(k, dense(tensor.Shape{b.batch, width}), in...)
}

// transient adds an operation whose result nothing reads after its block's forward.
func (b *builder) transient(k kernel, width int, in ...*G.Node) *G.Node {
	return b.add(k, b.arena.transient(k.name(), tensor.Shape{b.batch, width}), in...)
}

func (b *builder) add(k kernel, y *tensor.Dense, in ...*G.Node) *G.Node {
	if b.err != nil {
		return nil
	}
	var n *G.Node
	n, b.err = apply(b.arena, k, y, in...)
	return n
}

func (b *builder) block(blk *llama.Block, x *G.Node) *G.Node {
	c := b.m.Config
	node := func(role string, inputs int) node {
		grad := make([]bool, inputs)
		for i := range grad {
			grad[i] = true
		}
		return node{&b.step, role, blk, grad}
	}
	h := b.transient(&attnNorm{node("attnNorm", 1), b.rows(1)}, c.Hidden, x)
	q := b.apply(&qkv{node("qkv", 1), b.rows(c.HeadsWidth()), b.shared("qkv", c.QKVWidth())}, c.QKVWidth(), h)
	o := b.apply(&attention{node("attention", 1), b.rows(c.Heads)}, c.AttnWidth(), q)
	if c.PostNorms() {
		own := b.apply(&attnOwn{node("attnOwn", 1)}, c.Hidden, o)
		x = b.apply(&attnPost{node("attnPost", 2), b.rows(1)}, c.Hidden, x, own)
	} else {
		x = b.apply(&attnOut{node("attnOut", 2)}, c.Hidden, x, o)
	}
	h = b.transient(&ffnNorm{node("ffnNorm", 1), b.rows(1)}, c.Hidden, x)
	a := b.transient(&gateUp{node("gateUp", 1), b.rows(c.UpWidth()), b.shared("gateUp", c.UpWidth())}, c.FFN, h)
	add := b.apply
	if b.training.Layer(blk.Index) != nil { // which then hands the stream on
		add = b.transient
	}
	if c.PostNorms() {
		own := b.apply(&ffnOwn{node("ffnOwn", 1)}, c.Hidden, a)
		x = add(&ffnPost{node("ffnPost", 2), b.rows(1)}, c.Hidden, x, own)
	} else {
		x = add(&down{node("down", 2)}, c.Hidden, x, a)
	}
	return b.peer(blk, x, h, true)
}

// peer adds a block's PEER layer, if it has one; below tells whether gradients go on to x and h.
func (b *builder) peer(blk *llama.Block, x, h *G.Node, below bool) *G.Node {
	l := b.training.Layer(blk.Index)
	if l == nil || b.err != nil {
		return x
	}
	handle := G.NewVector(b.eg, tensor.Float32, G.WithShape(1), G.WithName(tagOf("handle", blk.Index)))
	if b.err = G.Let(handle, dense(tensor.Shape{1})); b.err != nil {
		return nil
	}
	p := &peerAdd{node: node{&b.step, "peer", blk, []bool{below, below, l.Trained()}}, layer: l}
	if l.Trained() {
		b.peers, b.handles = append(b.peers, p), append(b.handles, handle)
	}
	return b.apply(p, b.m.Config.Hidden, x, h, handle)
}

// run computes the loss and the rows' gradients of one batch, part by part; the gradients last until the next run.
func (g *graph) run(b *Batch) (loss float32, grads []*peer.RowGrad, err error) {
	g.parts = b.parts(g.parts[:0], g.batch)
	grads = g.grads[:0]
	for i := range g.parts {
		l, err := g.runPart(&g.parts[i])
		if err != nil {
			return 0, nil, err
		}
		loss += l
		for j, p := range g.peers {
			if i == 0 {
				p.sum.Set(p.rows)
			} else {
				p.sum.Add(p.rows)
			}
			grads = append(grads[:j], &p.sum)
		}
	}
	g.grads = grads
	return loss, grads, nil
}

// runPart computes the loss of a batch that there is room for, and leaves the rows' gradients in the layers.
func (g *graph) runPart(b *Batch) (float32, error) {
	g.seqs = g.seqs[:0]
	for _, n := range b.Lens {
		g.seqs = append(g.seqs, llama.Seq{Len: n})
	}
	batch := llama.Batch{Tokens: b.Tokens, Seqs: g.seqs}
	if len(b.Tokens) > g.batch {
		return 0, fmt.Errorf("tune: a batch of %d tokens, the graph has room for %d", len(b.Tokens), g.batch)
	}
	g.layout = &g.laid
	if err := g.m.LayoutIn(g.layout, batch); err != nil {
		return 0, err
	}
	g.targets, g.weights = b.Targets, b.Weights
	if err := g.below(batch); err != nil {
		return 0, err
	}
	if err := g.vm.RunAll(); err != nil {
		return 0, fmt.Errorf("tune: %w", err)
	}
	g.vm.Reset()
	loss, ok := g.loss.(*G.F32)
	if !ok {
		return 0, fmt.Errorf("tune: a loss of type %T, want f32", g.loss)
	}
	return float32(*loss), nil
}

// below runs the blocks under the lowest PEER layer, and that layer's block up to it, by inference; sets that are on
// beside the trained one count there too.
func (g *graph) below(b llama.Batch) (err error) {
	g.low, err = g.m.ForwardToIn(g.low, b, lowSeam{g}, g.from+1)
	return err
}

// lowSeam is the training's layers below the lowest trained one, whose place it takes to fetch the graph's inputs.
type lowSeam struct{ *graph }

func (s lowSeam) Forward(block int, y, x []float32, tokens int) error {
	if block < s.from {
		return s.training.Forward(block, y, x, tokens)
	}
	copy(s.x, y)
	copy(s.h, x)
	return nil
}

// close ends the graph. A tape machine has a finalizer, so that nothing it holds, which is the whole graph, is ever freed
// while that leads back to the machine.
func (g *graph) close() error {
	err := g.vm.Close()
	*g = graph{}
	return err
}
