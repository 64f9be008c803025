// Package llama is the decoder of Llama and of families that differ from it in parts ([Family]): norms and attention with
// grouped queries, rotary embedding and sliding windows, a feed-forward layer, a tied or untied head. Weights are frozen:
// the backward goes to the inputs only.
//
// A block is a handful of operations, each a forward and a backward on plain slices that the caller owns; Model.Forward
// composes them for inference, package tune wraps each as one node of its training graph.
//
// Rows of several sequences stand one after the other in a [Batch]; attention stays within a sequence.
package llama
