// Package adapters defines what an expert is: a [Kind], a family of tiny adapters that each turn a token's standardised
// input x̂ into a contribution to the residual stream, from one row of parameters.
//
// The kinds are in the packages below; package peer runs sets of experts beside a base's feed-forward layers, and package
// adaptertest holds the tests every kind must pass.
package adapters
