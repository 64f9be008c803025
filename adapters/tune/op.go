package tune

import (
	"fmt"
	"hash"
	"hash/fnv"

	"github.com/chewxy/hm"
	G "gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/gopeft/peft/kernels"
)

// kernel is a coarse differentiable operation on row-major f32. It reads how many rows are in use beside the graph.
type kernel interface {
	name() string                                                        // unique within a graph
	diff() []bool                                                        // which inputs get a gradient
	forward(in [][]float32, out []float32) error                         // overwrites out
	backward(in [][]float32, out, dout []float32, din [][]float32) error // overwrites din, nil where !diff
}

// core is what the roles of one operation share.
type core struct {
	k      kernel
	shapes []tensor.Shape
	out    tensor.Shape // empty for a scalar
	y      *tensor.Dense
	d      []*tensor.Dense
	arena  *arena

	// What a call needs, kept for the next one.
	in, din [][]float32
	scalar  [2]float32 // operands that are scalars
	result  G.F32      // a scalar's place
	token   G.F32
}

// op is an operation in one of three roles, following Gorgonia's SDOp: the forward; one backward, which fills the
// gradients of all inputs and returns a scalar as token; and picks, which hand one gradient on and depend on the token.
type op struct {
	*core
	tag     string // Gorgonia merges nodes by a hash of this
	dims    []int  // of the inputs
	result  tensor.Shape
	do      func([]G.Value) (G.Value, error)
	forward bool
}

func typeOf(dims int) hm.Type {
	if dims == 0 {
		return tensor.Float32
	}
	return G.TensorType{Dims: dims, Of: tensor.Float32}
}

func (o *op) Arity() int            { return len(o.dims) }
func (o *op) ReturnsPtr() bool      { return true }
func (o *op) CallsExtern() bool     { return false }
func (o *op) OverwritesInput() int  { return -1 }
func (o *op) String() string        { return o.tag }
func (o *op) WriteHash(h hash.Hash) { _, _ = h.Write([]byte(o.tag)) } // a hash never fails
func (o *op) Hashcode() uint32      { h := fnv.New32a(); o.WriteHash(h); return h.Sum32() }

// Type returns a fresh type at each call, because Gorgonia gives it back to a pool.
func (o *op) Type() hm.Type {
	var t []hm.Type
	for _, n := range o.dims {
		t = append(t, typeOf(n))
	}
	return hm.NewFnType(append(t, typeOf(len(o.result)))...)
}

func (o *op) InferShape(...G.DimSizer) (tensor.Shape, error) { return o.result, nil }

// Do runs the operation; a panic within would otherwise end the process.
func (o *op) Do(v ...G.Value) (r G.Value, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("tune: %s: %v", o.tag, p)
		}
	}()
	return o.do(v)
}

func (o *op) DiffWRT(n int) []bool {
	if o.forward {
		return o.k.diff()
	}
	return make([]bool, n) // not nil, which Gorgonia takes for an operation without derivatives on the path
}

func data(v G.Value) ([]float32, error) {
	if d, ok := v.(*tensor.Dense); ok {
		if x, ok := d.Data().([]float32); ok {
			return x, nil
		}
	}
	return nil, fmt.Errorf("tune: a value of type %T in the graph, want f32", v)
}

// operands sets c.in.
func (c *core) operands(v []G.Value) (err error) {
	c.in = c.in[:0]
	scalars := 0
	for _, v := range v {
		var x []float32
		if s, ok := v.(*G.F32); ok && scalars < len(c.scalar) {
			c.scalar[scalars] = float32(*s)
			x = c.scalar[scalars : scalars+1]
			scalars++
		} else if x, err = data(v); err != nil {
			return err
		}
		c.in = append(c.in, x)
	}
	return nil
}

// apply adds an operation to the graph. y is where its result goes; nil for a scalar.
func apply(a *arena, k kernel, y *tensor.Dense, in ...*G.Node) (*G.Node, error) {
	var out tensor.Shape
	if y != nil {
		out = y.Shape()
	}
	c := &core{k: k, out: out, y: y, d: make([]*tensor.Dense, len(in)), arena: a, in: make([][]float32, 0, len(in)+2), din: make([][]float32, len(in))}
	dims := make([]int, len(in))
	for i, n := range in {
		c.shapes, dims[i] = append(c.shapes, n.Shape()), n.Dims()
	}
	return G.ApplyOp(&op{c, k.name(), dims, out, c.forward, true}, in...)
}

func (c *core) forward(v []G.Value) (G.Value, error) {
	for i := range v {
		if !v[i].Shape().Eq(c.shapes[i]) { // Gorgonia does not look at run time
			return nil, fmt.Errorf("tune: %s: input %d has shape %v, want %v", c.k.name(), i, v[i].Shape(), c.shapes[i])
		}
	}
	if err := c.operands(v); err != nil {
		return nil, err
	}
	if c.y == nil {
		err := c.k.forward(c.in, c.scalar[:1])
		c.result = G.F32(c.scalar[0])
		return &c.result, err
	}
	out, err := data(c.y)
	if err != nil {
		return nil, err
	}
	return c.y, c.k.forward(c.in, out)
}

// SymDiff returns the gradients of the inputs: one backward, whose children keep its operands alive, and a pick each.
func (o *op) SymDiff(in G.Nodes, out, grad *G.Node) (G.Nodes, error) {
	dims := append(append([]int{}, o.dims...), len(o.result), len(o.result))
	back := &op{o.core, o.tag + ".backward", dims, tensor.ScalarShape(), o.backward, false}
	token, err := G.ApplyOp(back, append(append(G.Nodes{}, in...), out, grad)...)
	if err != nil {
		return nil, err
	}
	grads := make(G.Nodes, len(in))
	for i, d := range o.k.diff() {
		if !d {
			continue
		}
		o.d[i] = o.arena.gradient(o.tag, i, o.shapes[i])
		pick := func([]G.Value) (G.Value, error) { return o.d[i], nil }
		if grads[i], err = G.ApplyOp(&op{o.core, fmt.Sprintf("%s.d%d", o.tag, i), []int{0}, o.shapes[i], pick, false}, token); err != nil {
			return nil, err
		}
	}
	return grads, nil
}

func (c *core) backward(v []G.Value) (G.Value, error) {
	err := c.operands(v)
	if err != nil {
		return nil, err
	}
	for i, d := range c.k.diff() {
		if d {
			if c.din[i], err = data(c.d[i]); err != nil {
				return nil, err
			}
		}
	}
	n := len(c.shapes)
	return &c.token, c.k.backward(c.in[:n], c.in[n], c.in[n+1], c.din)
}

// arena is the graph's memory; it shares buffers between blocks.
type arena struct {
	memory kernels.Arena
	shared map[string]*tensor.Dense
}

// dense returns a buffer of its own.
func (a *arena) dense(s tensor.Shape) *tensor.Dense {
	return tensor.New(tensor.WithShape(s.Clone()...), tensor.WithBacking(a.memory.F32(s.TotalSize())))
}

// gradient returns the buffer of an operation's gradient. When a backward runs in one block, every gradient of the block
// two above has been read: the gradients of the block between depend on all of them. So two sets of buffers serve all
// blocks.
func (a *arena) gradient(tag string, input int, s tensor.Shape) *tensor.Dense {
	role, block := splitTag(tag)
	return a.get(fmt.Sprintf("%s.d%d/%d", role, input, block%2), s)
}

// transient returns the buffer of a result that only its own block reads, and no backward: one serves all blocks.
func (a *arena) transient(tag string, s tensor.Shape) *tensor.Dense {
	role, _ := splitTag(tag)
	return a.get(role, s)
}

func (a *arena) get(key string, s tensor.Shape) *tensor.Dense {
	key = fmt.Sprintf("%s %v", key, s)
	if a.shared[key] == nil {
		a.shared[key] = a.dense(s)
	}
	return a.shared[key]
}

// tagOf names an operation of a block; splitTag goes back.
func tagOf(role string, block int) string { return fmt.Sprintf("%s#%d", role, block) }

func splitTag(tag string) (role string, block int) {
	for i := len(tag) - 1; i >= 0; i-- {
		if tag[i] == '#' {
			if _, err := fmt.Sscanf(tag[i+1:], "%d", &block); err == nil {
				return tag[:i], block
			}
			break
		}
	}
	return tag, 0
}
