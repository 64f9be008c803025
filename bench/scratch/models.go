package main

import (
	"fmt"

	"github.com/gopeft/peft/adapters/pretrain"
)

// shape is the size of all models here: small enough that thousands of steps take minutes on one thread. Width 192 of the
// feed-forward layers is that of the blocks which a variant leaves dense.
var shape = pretrain.Shape{Vocab: 1024, Hidden: 64, Layers: 4, Heads: 2, KVHeads: 1, HeadDim: 32, FFN: 192, Context: 128, NormEps: 1e-5, RopeTheta: 10000}

// replaced are the blocks whose feed-forward layer differs, the middle ones.
var replaced = []int{1, 2}

// variant is a kind of model, and the learning rates that are tried for it.
type variant struct {
	name        string
	shape       pretrain.Shape
	muon, adamw []float32 // the middle one of Muon's is where AdamW's are tried
	denseAdam   bool      // AdamW trains the dense feed-forward layers, not Muon
}

// rates are the learning rates of a model that are chosen: Muon's of matrices, and AdamW's of what it trains in the
// feed-forward layers, if anything.
type rates struct{ Muon, AdamW float32 }

// ratesOf returns those that a model was trained at.
func ratesOf(o pretrain.Optimizer) rates { return rates{o.MatrixLR, o.ExpertLR} }

// optimizer returns how the variant is trained at those rates.
func (v *variant) optimizer(r rates) pretrain.Optimizer {
	o := pretrain.Defaults().Optimizer
	o.MatrixLR, o.ExpertLR, o.DenseAdam, o.Beta1 = r.Muon, r.AdamW, v.denseAdam, beta1
	return o
}

// beta1 is AdamW's in all models.
const beta1 = 0.5

// Rates tried. A memory's values may want a lower one.
var muonRates, adamRates, valueRates, none = []float32{0.005, 0.01, 0.02}, []float32{1e-3, 3e-3, 1e-2}, []float32{3e-4, 1e-3, 3e-3, 1e-2}, []float32{0}

// with returns the shape with other feed-forward layers.
func with(f pretrain.Instead) pretrain.Shape {
	s := shape
	f.Blocks = replaced
	s.Instead = f
	return s
}

// peer is the PEER layer as pretrain makes it, with 4,096 experts.
func peer() pretrain.Instead {
	f := pretrain.DefaultInstead(pretrain.PEER, shape)
	f.SubKeys = 64
	return f
}

// dense returns the dense model of so many FLOPs a token.
func dense(flops int) (pretrain.Shape, error) {
	return fit(flops, func(n int) pretrain.Shape {
		s := shape
		s.FFN = 32 * n
		return s
	})
}

// variants returns the models of about as many FLOPs a token as PEER's. A last dense one has as many as PEER has without
// its router.
func variants() ([]variant, error) {
	p := with(peer())
	target := p.FLOPs()
	same, err := dense(target)
	if err != nil {
		return nil, fmt.Errorf("dense: %w", err)
	}
	f := p.Instead
	router := 2 * len(replaced) * (f.Heads*2*f.HalfDim*shape.Hidden + f.Heads*2*f.SubKeys*f.HalfDim)
	narrow, err := dense(target - router)
	if err != nil {
		return nil, fmt.Errorf("dense without the router's share: %w", err)
	}
	mixture, err := fit(target, func(n int) pretrain.Shape {
		f := pretrain.DefaultInstead(pretrain.MoE, shape)
		f.Width = 2 * n
		return with(f)
	})
	if err != nil {
		return nil, fmt.Errorf("moe: %w", err)
	}
	memory, err := fit(target, func(n int) pretrain.Shape {
		f := pretrain.DefaultInstead(pretrain.PKM, shape)
		f.SubKeys, f.TopK = peer().SubKeys, n
		return with(f)
	})
	if err != nil {
		return nil, fmt.Errorf("pkm: %w", err)
	}
	return []variant{
		{"dense", same, muonRates, none, false},
		{"dense, AdamW", same, muonRates, adamRates, true},
		{"dense, no router's share", narrow, muonRates, none, false},
		{"moe", mixture, muonRates, adamRates, false},
		{"pkm", memory, muonRates, valueRates, false},
		{"peer", p, muonRates, adamRates, false},
	}, nil
}

// fit returns the shape for the n from 1 on whose FLOPs a token come nearest to the target. They must grow with n.
func fit(target int, shape func(n int) pretrain.Shape) (pretrain.Shape, error) {
	n := 1
	for shape(n+1).FLOPs() <= target {
		n++
	}
	below, above := shape(n), shape(n+1)
	best := below
	if above.FLOPs()-target < target-below.FLOPs() {
		best = above
	}
	if off := float64(best.FLOPs())/float64(target) - 1; off > 0.05 || off < -0.05 {
		return best, fmt.Errorf("no width comes nearer than %.1f %% to %d FLOPs a token", 100*off, target)
	}
	return best, nil
}

// recipe is a change of PEER's layer or of how it is trained.
type recipe struct {
	name string
	set  func(f *pretrain.Instead, o *pretrain.Optimizer)
}

// recipes are what arXiv 2407.04153 and the PEER-pytorch package do otherwise, or leave open.
func recipes() []recipe {
	layer := func(set func(f *pretrain.Instead)) func(*pretrain.Instead, *pretrain.Optimizer) {
		return func(f *pretrain.Instead, _ *pretrain.Optimizer) { set(f) }
	}
	return []recipe{
		{"as pretrain has it", layer(func(*pretrain.Instead) {})},
		{"output × 4", layer(func(f *pretrain.Instead) { f.OutScale = 4 })},
		{"output × 16", layer(func(f *pretrain.Instead) { f.OutScale = 16 })},
		{"v drawn like u", layer(func(f *pretrain.Instead) { f.ValueStd = 1 })},
		{"v drawn like u, output × 4", layer(func(f *pretrain.Instead) { f.ValueStd, f.OutScale = 1, 4 })},
		{"no normalisation of queries", layer(func(f *pretrain.Instead) { f.RawQuery = true })},
		{"sigmoid gates", layer(func(f *pretrain.Instead) { f.Sigmoid = true })},
		{"sub-keys at a tenth of the rate", func(_ *pretrain.Instead, o *pretrain.Optimizer) { o.KeyLR = o.ExpertLR / 10 }},
		{"4 heads, k = 32", layer(func(f *pretrain.Instead) { f.Heads, f.TopK = 4, 32 })},
		{"16 heads, k = 8", layer(func(f *pretrain.Instead) { f.Heads, f.TopK = 16, 8 })},
		{"half queries of 16", layer(func(f *pretrain.Instead) { f.HalfDim = 16 })},
		{"all blocks", layer(func(f *pretrain.Instead) { f.Blocks = []int{0, 1, 2, 3} })},
	}
}
