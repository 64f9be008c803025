// Package tune trains one expert set beside a frozen base.
//
// Gorgonia owns the graph, its gradient and the order of execution; every node is one coarse operation on package
// kernels, with its own buffers. The graph begins at the lowest PEER layer: what lies below runs as plain inference, and
// the backward ends there. Frozen weights live inside the operations; the only trainables are the rows of the set that a
// step touched, whose gradients stay sparse and feed a sparse Adam.
//
// A run is a function of its data, options and seed: stopped at any step and resumed from a checkpoint it gives the same
// rows, to the bit, as one that was never stopped.
package tune
