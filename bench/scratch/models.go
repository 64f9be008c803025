package main

import (
	"fmt"

	"github.com/gopeft/peft/adapters/pretrain"
)

// model is one that an experiment trains.
type model struct {
	name    string
	shape   pretrain.Shape
	experts int // of a layer
}

// options returns those that all models of a shape share.
func options(shape string) (pretrain.Options, error) {
	o := pretrain.Defaults()
	switch shape {
	case "base":
	case "small":
		o.Shape = pretrain.Shape{Vocab: 2048, Hidden: 128, Layers: 4, Heads: 2, KVHeads: 1, HeadDim: 64, FFN: 256, Context: 256, NormEps: 1e-5, RopeTheta: 10000}
		o.BatchTokens = 2048
	default:
		return o, fmt.Errorf("--shape %q: want small or base", shape)
	}
	return o, nil
}

// models returns those of an experiment.
func (b *bench) models(experiment string) ([]model, error) {
	with := func(f pretrain.Instead) pretrain.Shape {
		s := b.base.Shape
		s.Instead = f
		return s
	}
	peer := pretrain.DefaultInstead(pretrain.PEER, b.base.Shape)
	if experiment == "experts" {
		var all []model
		for n := 32; n <= 256; n *= 2 {
			peer.SubKeys = n
			all = append(all, model{fmt.Sprintf("peer-%d", n*n), with(peer), n * n})
		}
		return all, nil
	}
	peer.SubKeys = b.subKeys
	target := with(peer).FLOPs()
	dense, err := fit(target, 1, func(n int) pretrain.Shape {
		s := b.base.Shape
		s.FFN = 32 * n
		return s
	})
	if err != nil {
		return nil, fmt.Errorf("dense: %w", err)
	}
	moe := pretrain.DefaultInstead(pretrain.MoE, b.base.Shape)
	mixture, err := fit(target, 1, func(n int) pretrain.Shape {
		moe.Width = n
		return with(moe)
	})
	if err != nil {
		return nil, fmt.Errorf("moe: %w", err)
	}
	pkm := pretrain.DefaultInstead(pretrain.PKM, b.base.Shape)
	pkm.SubKeys = b.subKeys
	memory, err := fit(target, 1, func(n int) pretrain.Shape {
		pkm.TopK = n
		return with(pkm)
	})
	if err != nil {
		return nil, fmt.Errorf("pkm: %w", err)
	}
	return []model{{"dense", dense, 0}, {"peer", with(peer), peer.SubKeys * peer.SubKeys}, {"moe", mixture, moe.Experts}, {"pkm", memory, pkm.SubKeys * pkm.SubKeys}}, nil
}

// fit returns the shape for the n from least on whose FLOPs a token come nearest to the target. They must grow with n.
func fit(target, least int, shape func(n int) pretrain.Shape) (pretrain.Shape, error) {
	n := least
	for shape(n+1).FLOPs() <= target {
		n++
	}
	below, above := shape(n), shape(n+1)
	best := below
	if above.FLOPs()-target < target-below.FLOPs() {
		best = above
	}
	if off := float64(best.FLOPs())/float64(target) - 1; off > 0.02 || off < -0.02 {
		return best, fmt.Errorf("no width comes nearer than %.1f %% to %d FLOPs a token", 100*off, target)
	}
	return best, nil
}
