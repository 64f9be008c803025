// Package retrieval finds, for each token, the cells of a grid whose keys score best: product keys (arXiv 1907.05242,
// section 3.1; arXiv 2407.04153, section 2) with a router that is made once for a base and then frozen.
//
// # Words
//
// A [Layer] stands beside one block of the base. A head's query has two halves; each half is scored against n sub-keys.
// Cell (i, j) of the head's n × n grid, numbered i·n + j, has the sum of the two scores. [Layer.Route] selects exactly the
// k best of the n² cells in O(n + k log k) and weighs them by a softmax over those k scores alone, so the gates never
// depend on which experts exist.
//
// A [Router] holds the layers of one base. [Calibrate] makes one from the inputs that the base's blocks see on background
// text, without training: standardised, projected on principal components, whitened, rotated differently for each head,
// and clustered. [Layer.RouteBackward] and [BatchNorm] serve to train one, from scratch or from there; [Refit] then makes it
// what is frozen.
//
// An [Occupancy] says which experts of a set live in which cells; [Place] fills cells in the order that an [Ordering]
// gives, and [Layer.Spread] lets experts be reached from neighbouring cells too.
package retrieval
