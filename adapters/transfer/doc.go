// Package transfer turns other programs' adapters, as package exchange reads them, into sets of experts, and sets into
// adapters.
//
// ToSet keeps an adapter what it is: an expert at each of its layers that works on every token. Route takes a LoRA apart
// instead: each singular direction of its product becomes an expert that stands in the cells where it responds.
package transfer
