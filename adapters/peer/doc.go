// Package peer runs sets of experts beside the feed-forward layers of a frozen base: parameter-efficient expert retrieval
// (PEER, arXiv 2407.04153) with a frozen router.
//
// A [Set] is experts of one kind, trained together, as one [Table] a layer. A [Stack] is what a base calls while it runs
// (its Seam): it routes a layer's input once for all sets and adds what each contributes,
//
//	y += Σ_sets s · Σ_heads Σ_cells g · Σ_experts f(x̂)
//
// where f is the kind's function and s the set's scale times the layer's output scale. Each set sums in an accumulator of
// its own, and sets are added in order of their names, so that neither the order in which sets came nor what else is in
// the registry changes a bit of what a set contributes. A set none of whose experts a token selects adds nothing to it. A
// table's cap bounds what it adds to a token, as a share of the stream before any set; [Strength] measures and fits it.
//
// [Training] runs the same layers forward and backward for one set, and gives gradients of the touched rows only.
//
// [Recorder] and [Counter] stand in the seam to observe: the one keeps inputs to calibrate a router from, the other counts
// which cells a text selects, to [Place] experts by. By the same counts a [Gate] tells whose text a sequence is.
package peer
