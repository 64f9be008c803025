package adapters

import "math/rand/v2"

// Kind is a family of experts. A kind with options (an activation, a rank) is one Kind for each choice, with a name of
// its own. Its methods keep nothing and may be called from several goroutines at once.
//
// Forward, Backward and BackwardInput work on one expert and the tokens that selected it; width is the row's length and
// hidden that of x, y and their gradients, which are matrices [·, hidden] whose rows Group.Tokens names.
type Kind interface {
	// Name identifies the kind in stored sets.
	Name() string
	// Width returns the number of parameters of one expert.
	Width(hidden int) int
	// State returns how many values a (token, expert) pair keeps from Forward to Backward.
	State() int
	// Init writes the first values of a row: an expert that contributes nothing yet and can learn.
	Init(row []float32, hidden int, rnd *rand.Rand)
	// Forward adds gate·f(x) to y for each token of g.
	Forward(g Group, row, y, x []float32, hidden int)
	// Backward adds the row's gradient to grad, unless grad is nil, and writes to dGates: [len(g.Tokens)] the gradient
	// with respect to the gates, unless that is nil. g.State is as Forward left it; Backward leaves there what
	// BackwardInput needs.
	Backward(g Group, row, grad, dGates, dy, x []float32, hidden int)
	// BackwardInput adds the gradient with respect to x to dx. It comes after Backward.
	BackwardInput(g Group, row, dx []float32, hidden int)
}

// Gatherer is a Kind that can also take one token and the experts it selected together, from rows in bf16. That suits
// large tables, where few tokens share an expert, and inference, which keeps no state.
type Gatherer interface {
	Kind
	// Gather adds Σ gates[i]·f_i(x) to y, where f_i is the expert rows[i] of table: [·, Width]; the sum is formed before it
	// is added. x and y: [hidden]; state: [len(rows)·State()] is scratch. While it works it asks the memory for the
	// experts in next, which are as many as rows, or nil.
	Gather(y, x []float32, table []uint16, rows, next []uint32, gates, state []float32)
}

// Group is one expert's work: the tokens that selected it, ascending, and with what gates. A token that selected the
// expert through two heads is there twice.
type Group struct {
	Tokens []uint32
	Gates  []float32
	State  []float32 // [len(Tokens)·Kind.State()]; the kind chooses the layout
}
