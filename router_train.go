package peft

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/retrieval"
)

// RouterTraining says how a router was trained. The experts that learned with it, one in each cell, are discarded: what
// they know is the background text, which the base knows already, and a set that every other one would have to be placed
// against is not worth its room.
type RouterTraining struct {
	Steps      int               `json:"steps"`
	TextTokens int               `json:"text_tokens"` // of the text, which the steps go through again and again
	First      float64           `json:"first_loss"`  // of the first tenth of the steps, nats a token
	Last       float64           `json:"last_loss"`   // of the last tenth
	Seconds    float64           `json:"seconds"`
	Calibrated *retrieval.Report `json:"calibrated"` // use of the cells before, on the same text as InitResult.Report
}

const (
	routerSteps     = 200
	routerBatch     = 1024  // tokens a step
	routerSeq       = 256   // tokens of a sequence
	routerText      = 16384 // tokens sampled at most to train on
	routerRowsRate  = 2e-3  // learning rate of the experts that learn along
	routerHeldShare = 0.2   // of the sample that the report is measured on, as in calibration
)

// trainRouter trains a calibrated router on background text together with one expert in each cell, and returns the router
// that is to be frozen.
func (e *Engine) trainRouter(ctx context.Context, b *base.Base, o InitOptions, calibrated *retrieval.Router, before *retrieval.Report, rec *peer.Recorder, seen []int32) (*retrieval.Router, *retrieval.Report, *RouterTraining, error) {
	start := time.Now()
	fail := func(err error) (*retrieval.Router, *retrieval.Report, *RouterTraining, error) {
		return nil, nil, nil, fmt.Errorf("peft: init: train the router: %w", err)
	}
	res := &RouterTraining{Steps: o.Steps, Calibrated: before}
	if res.Steps == 0 {
		res.Steps = routerSteps
	}
	text, err := e.routerText(ctx, b, o, rec, seen[0], res.Steps*routerBatch)
	if err != nil {
		return fail(err)
	}
	for _, s := range text {
		res.TextTokens += len(s.Tokens)
	}
	places := make([]peer.Placement, len(calibrated.Layers))
	for i, l := range calibrated.Layers {
		places[i].Occupancy = retrieval.FullGrid(l.Cells())
	}
	set, err := peer.NewSet(e.pool, "general", neuron.SiLU, calibrated, places, o.Seed, peer.F32)
	if err != nil {
		return fail(err)
	}
	t, err := peer.NewTraining(calibrated, e.pool, set)
	if err != nil {
		return fail(err)
	}
	prec, err := (&FinetuneOptions{}).precision(b.Model.Coded())
	if err != nil {
		return fail(err)
	}
	m, err := b.Model.WithPrecision(prec)
	if err != nil {
		return fail(err)
	}
	tenth := max(1, res.Steps/10)
	err = tune.TrainRouter(ctx, m, t, text, tune.Options{Steps: res.Steps, BatchTokens: routerBatch, LearningRate: routerRowsRate, Seed: o.Seed,
		Progress: func(p tune.Progress) {
			if p.Step <= tenth {
				res.First += p.Loss / float64(tenth)
			}
			if p.Step > p.Steps-tenth {
				res.Last += p.Loss / float64(tenth)
			}
			e.progress(Progress{Task: "train the router", Done: p.Step, Total: p.Steps, Unit: "steps", Note: fmt.Sprintf("loss %.3f", p.Loss)})
		}}, tune.RouterRate)
	if err != nil {
		return fail(err)
	}
	router, report, err := retrieval.Refit(e.pool, calibrated, routerHeldShare, rec)
	if err != nil {
		return fail(err)
	}
	res.Seconds = time.Since(start).Seconds()
	return router, report, res, nil
}

// routerText returns background text of up to so many tokens on which nothing is measured: of a file, all but its end and
// what the report is about; otherwise text sampled anew.
func (e *Engine) routerText(ctx context.Context, b *base.Base, o InitOptions, rec *peer.Recorder, begin int32, want int) ([]tune.Sequence, error) {
	if o.Background != "" && o.Background != selfBackground {
		d, err := tune.ReadFiles(b.Tokenizer, []string{o.Background}, true)
		if err != nil {
			return nil, err
		}
		s, err := rec.Sample(rec.Blocks()[0])
		if err != nil {
			return nil, err
		}
		reported := s.Tokens - int(float64(s.Tokens)*routerHeldShare) // the first token that is
		seqs, held := d.Sequences(min(routerSeq, b.Model.Config.MaxSeq)), 0
		for len(seqs) > 1 && held < heldBackground {
			held += len(seqs[len(seqs)-1].Tokens)
			seqs = seqs[:len(seqs)-1]
		}
		at := 0
		seqs = slices.DeleteFunc(seqs, func(q tune.Sequence) bool {
			from := at
			at += len(q.Tokens)
			return at > reported && from < s.Tokens
		})
		if len(seqs) == 0 {
			return nil, fmt.Errorf("%s has no text beside what is measured; give more", o.Background)
		}
		return tune.Limit(seqs, want), nil
	}
	steps, want := min(backgroundSeq, b.Model.Config.MaxSeq), min(want, routerText)
	var seqs []tune.Sequence
	for done := 0; done < want; {
		texts, err := sampleTexts(ctx, b, begin, min(backgroundBatch, (want-done+steps-1)/steps), steps, o.Seed+backgroundTokens+heldBackground+uint64(done), nil, func(n int) {
			e.progress(Progress{Task: "sample text to train on", Done: min(done+n, want), Total: want, Unit: "tokens"})
		})
		if err != nil {
			return nil, err
		}
		for _, t := range texts {
			done += len(t)
			seqs = append(seqs, tune.Cut(t, steps)...)
		}
	}
	return seqs, nil
}
