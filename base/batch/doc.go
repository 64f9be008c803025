// Package batch computes many sequences at once: every pass over the base takes a token of each sequence that is being written
// and parts of the prompts that are still to be read, each sequence with its own seam, so that a weight is read once for all.
// What a sequence gets has the bits that it gets alone.
package batch
