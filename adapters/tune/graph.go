package tune

import (
	"errors"
	"fmt"
	"slices"

	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
)

// graph is the training graph for batches of up to so many tokens.
type graph struct {
	step
	from     int  // the lowest block with trained experts
	whole    bool // whether that block is in the graph, and not only what stands beside its feed-forward layer
	batch    int  // tokens it has room for
	training *peer.Training
	x, h     []float32 // inputs: the residual stream under the graph and, unless whole, the feed-forward layer's normed input
	tables   []*trained
	vm       G.VM
	loss     G.Value
	low      []float32 // the residual stream under the graph
	lowest   lowSeam
	part     func(i, of int) // called before each part of a batch, from 0; may be nil

	// What a run needs, kept for the next one.
	parts []Batch
	seqs  []llama.Seq
	laid  llama.Layout
	grads []*peer.RowGrad
}

// trained is a table that learns.
type trained struct {
	*peer.Table
	layer *peer.TrainLayer
	sum   peer.RowGrad // of a batch's parts
}

// newGraph builds and compiles the graph.
func newGraph(m *llama.Model, t *peer.Training, batch int) (*graph, error) {
	if len(t.Set.Tables) == 0 {
		return nil, errors.New("tune: the set has no experts to train")
	}
	g := &graph{step: step{m: m}, from: t.Set.Tables[0].Block, batch: batch, training: t}
	for _, table := range t.Set.Tables {
		g.tables = append(g.tables, &trained{Table: table, layer: t.At(table.Block, table.Site)})
		g.whole = g.whole || table.Block == g.from && table.Site != llama.Beside
	}
	first := g.from
	if !g.whole {
		first++
	}
	if err := m.PrepareBackward(first); err != nil {
		return nil, err
	}
	eg, hidden := G.NewGraph(), m.Config.Hidden
	memory := &arena{shared: map[string]*tensor.Dense{}}
	input := func(name string) (*G.Node, []float32, error) {
		d := memory.dense(tensor.Shape{batch, hidden})
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
	g.x = xd
	b := &builder{graph: g, eg: eg, arena: memory, scratch: map[string][]float32{}, live: map[*G.Node]bool{}}
	if !g.whole {
		h, hd, err := input("normed")
		if err != nil {
			return nil, err
		}
		g.h, g.lowest = hd, lowSeam{t, g}
		x = b.peer(m.Blocks[g.from], x, h)
	}
	for _, blk := range m.Blocks[first:] {
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
	arena   *arena
	handles G.Nodes
	live    map[*G.Node]bool // nodes whose gradient leads to trained rows
	scratch map[string][]float32
	err     error
}

func (b *builder) rows(width int) []float32 { return b.arena.memory.F32(b.batch * width) }

// shared returns scratch that all blocks use, one after the other.
func (b *builder) shared(role string, width int) []float32 {
	if b.scratch[role] == nil {
		b.scratch[role] = b.rows(width)
	}
	return b.scratch[role]
}

// apply adds an operation whose result stays for the backward.
func (b *builder) apply(k kernel, width int, in ...*G.Node) *G.Node {
	return b.add(k, b.arena.dense(tensor.Shape{b.batch, width}), in...)
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
	b.live[n] = slices.Contains(k.diff(), true)
	return n
}

// node is the part of an operation that all share. Gradients go on to the inputs that lead to trained rows.
func (b *builder) node(role string, blk *llama.Block, in ...*G.Node) node {
	n := node{&b.step, role, blk, make([]bool, len(in))}
	for i, x := range in {
		n.grad[i] = b.live[x]
	}
	return n
}

// sites returns what adapters do at layers that are fused to one.
func (b *builder) sites(blk *llama.Block, all ...llama.Site) (s sites, adapted bool) {
	for _, site := range all {
		_, out := b.m.Config.Dims(site)
		l := b.training.At(blk.Index, site)
		s.layers, s.widths, s.stride = append(s.layers, l), append(s.widths, out), s.stride+out
		adapted = adapted || l != nil
	}
	return s, adapted
}

// with returns the inputs of an operation and, where one of its layers is trained, a handle that stands for the rows.
func (b *builder) with(role string, blk *llama.Block, layers []*peer.TrainLayer, in ...*G.Node) []*G.Node {
	if b.err != nil || !slices.ContainsFunc(layers, func(l *peer.TrainLayer) bool { return l != nil && l.Trained() }) {
		return in
	}
	handle := G.NewVector(b.eg, tensor.Float32, G.WithShape(1), G.WithName(tagOf(role+" handle", blk.Index)))
	b.err = G.Let(handle, b.arena.dense(tensor.Shape{1}))
	b.handles, b.live[handle] = append(b.handles, handle), true
	return append(in, handle)
}

func (b *builder) block(blk *llama.Block, x *G.Node) *G.Node {
	c := b.m.Config
	kept := func(adapted bool) func(k kernel, width int, in ...*G.Node) *G.Node {
		if adapted { // the adapters' backward reads it
			return b.apply
		}
		return b.transient
	}
	attn, adapted := b.sites(blk, llama.Query, llama.Key, llama.Value)
	h := kept(adapted)(&attnNorm{b.node("attnNorm", blk, x), b.rows(1)}, c.Hidden, x)
	in := b.with("qkv", blk, attn.layers, h)
	q := b.apply(&qkv{b.node("qkv", blk, in...), attn, b.rows(c.HeadsWidth()), b.shared("qkv", c.QKVWidth())}, c.QKVWidth(), in...)
	o := b.apply(&attention{b.node("attention", blk, q), b.rows(c.Heads)}, c.AttnWidth(), q)
	x = b.outer("attnOut", blk, llama.Out, blk.AttnOut, blk.AttnOutBackward, b.post(blk.AttnPost, blk.AttnPostBackward), b.apply, x, o)

	ffn, adapted := b.sites(blk, c.UpSites()...)
	h = kept(adapted)(&ffnNorm{b.node("ffnNorm", blk, x), b.rows(1)}, c.Hidden, x)
	in = b.with("gateUp", blk, ffn.layers, h)
	up := &gateUp{b.node("gateUp", blk, in...), ffn, b.training, b.rows(c.UpWidth()), b.shared("gateUp", c.UpWidth())}
	a := kept(b.training.At(blk.Index, llama.Down) != nil)(up, c.FFN, in...)
	add := b.apply
	if b.training.Layer(blk.Index) != nil { // which then hands the stream on
		add = b.transient
	}
	x = b.outer("down", blk, llama.Down, blk.Down, blk.DownBackward, b.post(blk.FFNPost, blk.FFNPostBackward), add, x, a)
	return b.peer(blk, x, h)
}

// post returns the norm of what a layer adds to the stream, or nil for families that have none.
func (b *builder) post(add, back func(y, x, own, rstd []float32, tokens int)) *post {
	if !b.m.Config.PostNorms() {
		return nil
	}
	return &post{add, back, b.rows(1), b.shared("down", b.m.Config.Hidden)}
}

// outer adds a linear layer's output to the stream.
func (b *builder) outer(role string, blk *llama.Block, s llama.Site, mul func(y, x, in []float32, tokens int), mulBack func(din, dy []float32, tokens int),
	p *post, add func(k kernel, width int, in ...*G.Node) *G.Node, x, in *G.Node) *G.Node {
	l := b.training.At(blk.Index, s)
	ins := b.with(role, blk, []*peer.TrainLayer{l}, x, in)
	n := &outer{node: b.node(role, blk, ins...), layer: l, mul: mul, mulBack: mulBack, post: p}
	if l != nil {
		width, hidden := b.m.Config.Dims(s)
		n.own, n.back = b.shared("own", hidden), b.shared(role, width)
	}
	if p != nil {
		n.own = b.rows(b.m.Config.Hidden)
	}
	return add(n, b.m.Config.Hidden, ins...)
}

// peer adds a block's PEER layer, if it has one.
func (b *builder) peer(blk *llama.Block, x, h *G.Node) *G.Node {
	l := b.training.Layer(blk.Index)
	if l == nil || b.err != nil {
		return x
	}
	in := b.with("peer", blk, []*peer.TrainLayer{l}, x, h)
	return b.apply(&peerAdd{b.node("peer", blk, in...), l}, b.m.Config.Hidden, in...)
}

// run computes the loss and the rows' gradients of one batch, part by part; the gradients last until the next run.
func (g *graph) run(b *Batch) (loss float32, grads []*peer.RowGrad, err error) {
	g.parts = b.parts(g.parts[:0], g.batch)
	grads = g.grads[:0]
	for i := range g.parts {
		if g.part != nil {
			g.part(i, len(g.parts))
		}
		l, err := g.runPart(&g.parts[i])
		if err != nil {
			return 0, nil, err
		}
		loss += l
		for j, t := range g.tables {
			switch rows := t.layer.Grad(); {
			case i > 0:
				t.sum.Add(rows)
			case len(g.parts) == 1:
				grads = append(grads, rows)
				continue
			default:
				t.sum.Set(rows)
			}
			grads = append(grads[:j], &t.sum)
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

// below runs what lies under the graph by inference; sets that are on beside the trained one count there too.
func (g *graph) below(b llama.Batch) (err error) {
	if g.whole {
		if g.low, err = g.m.ForwardToIn(g.low, b, g.training, g.from); err == nil {
			copy(g.x, g.low)
		}
		return err
	}
	g.low, err = g.m.ForwardToIn(g.low, b, &g.lowest, g.from+1)
	return err
}

// lowSeam is the training's layers below the lowest trained one, whose place it takes to fetch the graph's inputs.
type lowSeam struct {
	*peer.Training
	g *graph
}

// Forward implements llama.Seam.
func (s *lowSeam) Forward(block int, y, x []float32, tokens int) error {
	if block < s.g.from {
		return s.Training.Forward(block, y, x, tokens)
	}
	copy(s.g.x, y)
	copy(s.g.h, x)
	return nil
}

// close ends the graph. A tape machine has a finalizer, so that nothing it holds, which is the whole graph, is ever freed
// while that leads back to the machine.
func (g *graph) close() error {
	err := g.vm.Close()
	*g = graph{}
	return err
}
