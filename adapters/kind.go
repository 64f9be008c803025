package adapters

import (
	"math/rand/v2"

	"github.com/gopeft/peft/kernels"
)

// Dims are the widths of what an expert reads and of what it adds to.
type Dims struct{ In, Out int }

// Kind is a family of experts. A kind with options (an activation, a rank) is one Kind for each choice, with a name of
// its own; kinds are comparable. Its methods keep nothing and may be called from several goroutines at once.
//
// Forward, Backward and BackwardInput work on one expert and the tokens of a group. x and dx: [tokens, In], y and dy:
// [tokens, Out].
type Kind interface {
	// Name identifies the kind in stored sets.
	Name() string
	// Port says what the kind reads and adds to where it works at a linear layer.
	Port() Port
	// Width returns the number of parameters of one expert.
	Width(d Dims) int
	// State returns how many values a (token, expert) pair keeps from Forward to Backward.
	State(d Dims) int
	// Init writes the first values of a row: an expert that contributes nothing yet and can learn.
	Init(row []float32, d Dims, rnd *rand.Rand)
	// Forward adds gate·f(x) to y for each token of g.
	Forward(g Group, row []float32, y, x kernels.Matrix)
	// Backward adds the row's gradient to grad, unless grad is nil, and writes to dGates: [g.Len()] the gradient with
	// respect to the gates, unless that is nil. g.State is as Forward left it; Backward leaves there what BackwardInput
	// needs.
	Backward(g Group, row, grad, dGates []float32, dy, x kernels.Matrix)
	// BackwardInput adds the gradient with respect to x to dx. It comes after Backward, with the same dy.
	BackwardInput(g Group, row []float32, dx, dy kernels.Matrix)
}

// Gatherer is a Kind that can also take one token and the experts it selected together, from rows in bf16. That suits
// large tables, where few tokens share an expert, and inference, which keeps no state.
type Gatherer interface {
	Kind
	// Gather adds Σ gates[i]·f_i(x) to y, where f_i is the expert rows[i] of table: [·, Width]; the sum is formed before it
	// is added. x: [In], y: [Out]; state: [len(rows)·State()] is scratch. While it works it asks the memory for the
	// experts in next, which are as many as rows, or nil.
	Gather(y, x []float32, table []uint16, rows, next []uint32, gates, state []float32)
}

// Writing is a Kind of whose rows a part writes: it begins at 0, and where experts add up the output is linear in it. It may
// learn at another rate than what reads.
type Writing interface {
	Kind
	// Writes returns which of a row's values [lo, hi) that is.
	Writes(d Dims) (lo, hi int)
}

// Aiming is a Kind whose new experts can be turned towards what they will see.
type Aiming interface {
	Kind
	// Aim turns a new row towards mean: [In], of the standardised inputs of the tokens that select the expert. It still
	// contributes nothing.
	Aim(row, mean []float32, d Dims)
}

// Port is what a kind is connected to at a linear layer.
type Port uint8

// The ports.
const (
	InOut   Port = iota // reads the layer's input, adds to its output
	OutOut              // reads the layer's own output, adds to it
	InIn                // reads the layer's input, adds to it
	BothOut             // reads the layer's input and, behind it, its own output; adds to its output, which is no sum of sets then
)

// Dims returns those of an expert at a linear layer of those widths.
func (p Port) Dims(in, out int) Dims {
	switch p {
	case OutOut:
		return Dims{out, out}
	case InIn:
		return Dims{in, in}
	case BothOut:
		return Dims{in + out, out}
	}
	return Dims{in, out}
}

// ReadsOutput reports whether the layer's own output is needed.
func (p Port) ReadsOutput() bool { return p == OutOut || p == BothOut }

// Additive reports whether what experts contribute adds up, so that they may stand in cells and beside others.
func (p Port) Additive() bool { return p != BothOut }

// Weighted is a Kind whose rows hold what follows from the frozen weight of the layer they work at.
type Weighted interface {
	Kind
	// Fit brings that up to date with the row; fresh tells that the row is new.
	Fit(row []float32, d Dims, w Weight, fresh bool)
	// Constant returns which of a row's values [lo, hi) only Fit changes: their gradient is 0.
	Constant(d Dims) (lo, hi int)
}

// Weight is a frozen linear layer W: [out, in].
type Weight struct {
	Squares []float64                        // [out] the squared norms of its rows
	Bias    []float32                        // [out] what the layer adds to the product; nil where it adds nothing
	Mul     func(y, x []float32, tokens int) // y: [tokens, out] = x·Wᵀ, x: [tokens, in]
	Memory  *Memory                          // scratch
}
