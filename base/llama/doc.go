// Package llama is the decoder of the Llama family (arXiv 2302.13971, 2407.21783): RMSNorm, grouped-query attention with
// rotary embedding, SwiGLU, tied or untied head. Weights are frozen: the backward goes to the inputs only.
//
// A block is a handful of operations, each a forward and a backward on plain slices that the caller owns; Model.Forward
// composes them for inference, package tune wraps each as one node of its training graph.
//
// Rows of several sequences stand one after the other in a [Batch]; attention stays within a sequence.
package llama
