package main

import (
	"context"
	"fmt"

	"github.com/gopeft/peft"
)

// row is one line of a table.
type row struct {
	group, name string
	router      peft.InitOptions
	layers      func(n int) []int // of n that get experts; nil: as init does
	place       peft.Placing
	rate        float64 // of learning; 0: as finetune has it
	noAim       bool    // whether new experts stay as they are drawn
	quiet       float64 // weight of the penalty on background text; 0: as finetune has it
	with        bool    // trained with the earlier set on
	both        bool    // measured with the earlier set on too
	measure     func(b *bench, ctx context.Context, r row) (result, error)
}

// The row that all others differ from in one thing.
const asItIs = "as it is"

func rows() []row {
	all := []row{{group: asItIs, name: asItIs}}
	add := func(group, name string, change func(r *row)) {
		r := row{group: group, name: name}
		change(&r)
		all = append(all, r)
	}
	for _, k := range []int{4, 8, 32, 64} {
		add("cells a head selects", fmt.Sprintf("k = %d", k), func(r *row) { r.router.TopK = k })
	}
	add("heads", "1 head", func(r *row) { r.router.Heads = 1 })
	for _, h := range []int{2, 8} {
		add("heads", fmt.Sprintf("%d heads", h), func(r *row) { r.router.Heads = h })
	}
	for _, rate := range []float64{4e-3, 8e-3} { // more heads add more to the output, as a higher rate does
		add("learning rate", fmt.Sprintf("rate %g", rate), func(r *row) { r.rate = rate })
		add("learning rate and heads", fmt.Sprintf("rate %g, 8 heads", rate), func(r *row) { r.rate, r.router.Heads = rate, 8 })
	}
	add("layers", "one layer, in the middle", func(r *row) { r.layers = func(n int) []int { return []int{n / 2} } })
	add("layers", "one layer, the last", func(r *row) { r.layers = func(n int) []int { return []int{n - 1} } })
	add("layers", "all layers", func(r *row) { r.layers = every })
	for _, n := range []int{8, 32, 64, 128} {
		add("cells a layer", fmt.Sprintf("%d × %d cells", n, n), func(r *row) { r.router.SubKeys = n })
	}
	add("new experts", "not aimed", func(r *row) { r.noAim = true })
	for _, w := range []float64{3, 30} {
		add("penalty on background text", fmt.Sprintf("weight %g", w), func(r *row) { r.quiet = w })
	}
	for _, o := range []string{"count", "ratio"} {
		add("where experts live", o, func(r *row) { r.place.Occupancy = o })
	}
	add("where experts live", "full", func(r *row) { r.place.Occupancy = "full" })
	add("router", "trained router", func(r *row) { r.router.Train = true })
	add("earlier set", "alone", func(r *row) { r.both = true })
	add("earlier set", "on top of it", func(r *row) { r.both, r.with = true, true })
	add("gates", "in every cell alone", func(r *row) { r.place.Occupancy, r.both = "full", true })
	add("gate", "sequence and token", func(r *row) { r.measure = (*bench).gates })
	for i := range all {
		if all[i].measure == nil {
			all[i].measure = (*bench).set
		}
	}
	return all
}

// every returns 0 to n - 1.
func every(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
