package retrieval

import (
	"fmt"

	"github.com/gopeft/peft/kernels"
)

// TieBias sets the bias of each sub-key to -½‖key‖², which makes the score a nearest-key search, after the sub-keys were
// changed.
func (l *Layer) TieBias() {
	for half, keys := range l.Keys {
		l.Bias[half] = halfNorms(keys, l.Heads*l.SubKeys, l.HalfDim)
	}
	l.Changed()
}

// Refit returns the router of r's layers after their query networks and sub-keys were trained: rounded as Calibrate does,
// with temperatures and background counts taken anew from the samples Calibrate saw, and the report on the same held-out
// share. The layers are r's own; r itself, whose hash may be known already, is not to be used any more.
func Refit(p *kernels.Pool, r *Router, heldOut float64, src Source) (*Router, *Report, error) {
	o := Options{HeldOut: heldOut, Hidden: r.Hidden, Blocks: r.Blocks(), Config: r.Layers[0].Config}
	if err := o.complete(); err != nil {
		return nil, nil, err
	}
	out, rep := &Router{Base: r.Base, Seed: r.Seed, Hidden: r.Hidden, Layers: r.Layers}, &Report{}
	for _, l := range r.Layers {
		s, err := src.Sample(l.Block)
		if err == nil {
			err = o.checkSample(l.Block, s)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("retrieval: refit: %w", err)
		}
		l.round(l.W)
		for _, keys := range l.Keys {
			l.round(keys)
		}
		l.TieBias()
		rows := s.Tokens - o.held(s.Tokens)
		u := l.measure(p, s, rows)
		rep.Tokens, rep.HeldOut = rows, u.Tokens
		rep.Layers = append(rep.Layers, u)
	}
	return out, rep, out.Check()
}
