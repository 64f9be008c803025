package main

import (
	"context"
	"fmt"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// fires is how often gates of own text fire on sequences of some text.
type fires struct {
	Text      string  `json:"text"`
	Sequences int     `json:"sequences"`
	Sequence  float64 `json:"sequence"`   // share in which a gate that decides for the sequence fires
	Token     float64 `json:"token"`      // share of the tokens for which a gate that decides for each fires
	AnyToken  float64 `json:"any_token"`  // share of the sequences in which that one fires at least once
	HalfToken float64 `json:"half_token"` // and for at least half of the tokens
}

// What gates are made and judged by.
const (
	judgedTokens   = 64   // of a sequence
	countedTokens  = 8192 // of the own text, that are counted
	sampled        = 64   // sequences of a text that a gate is made from
	judgedOf       = 96   // sequences of a text that are judged
	alpha          = 0.01 // share of the background's sequences, or tokens, that may fire
	calibrateOn    = 8192 // tokens that the router is made from
	thresholdsFrom = 256  // sequences of background text that set the thresholds
)

// judged is what the gate scores a sequence, and each of its tokens by itself.
type judged struct {
	sequence float64
	tokens   []float64
}

// gates compares a gate that judges a sequence's 64 tokens together with one that judges each token by itself, by the same
// weights of the same cells, each with its threshold at the same quantile of background text. What is background
// are the first three quarters of other, of which the first half makes the gate and the second its threshold; its last quarter and the earlier set's text are foreign.
func (b *bench) gates(ctx context.Context, r row) (result, error) {
	res := result{Base: b.name, Group: r.group, Row: r.name, Steps: b.steps, Seed: b.seed}
	pool := kernels.NewPool(b.threads)
	defer pool.Close()
	m, err := base.Open(b.ref, base.Options{Pool: pool, Precision: kernels.F32})
	if err != nil {
		return res, err
	}
	defer m.Close()
	texts := map[string][]tune.Sequence{}
	for name, file := range map[string]string{"own-train": b.texts["own-train"], "own": b.texts["own-rest"], "earlier": b.texts["earlier-train"], "other": b.texts["other"]} {
		d, err := tune.ReadFiles(m.Tokenizer, []string{file}, true)
		if err != nil {
			return res, err
		}
		for _, s := range d.Sequences(judgedTokens) {
			if len(s.Tokens) >= judgedTokens {
				texts[name] = append(texts[name], tune.Sequence{Tokens: s.Tokens[:judgedTokens]})
			}
		}
	}
	n := len(texts["other"]) * 3 / 4
	background, foreign := texts["other"][:n], texts["other"][n:]
	router, err := b.calibrated(ctx, m, pool, background)
	if err != nil {
		return res, err
	}
	counter := peer.NewCounter(router, pool)
	if err := read(ctx, m, tune.Limit(texts["own-train"], countedTokens), counter); err != nil {
		return res, err
	}
	selected := func(x tune.Sequence) (*peer.Sampler, error) {
		sampler := peer.NewSampler(router, pool)
		sampler.From = 1 // a text's first token says nothing: a transformer uses it as a sink of attention
		return sampler, read(ctx, m, []tune.Sequence{x}, sampler)
	}
	sample := func(s []tune.Sequence) ([]peer.Sample, error) {
		var all []peer.Sample
		for _, x := range tune.Spread(s, sampled*judgedTokens) {
			sampler, err := selected(x)
			if err != nil {
				return nil, err
			}
			all = append(all, sampler.Sample(0, sampler.Rows()))
		}
		return all, nil
	}
	own, err := sample(texts["own-train"])
	if err != nil {
		return res, err
	}
	unlike, err := sample(background[:n/2])
	if err != nil {
		return res, err
	}
	gate, err := peer.NewGate(router, counter.Counts(), own, unlike)
	if err != nil {
		return res, err
	}
	judge := func(s []tune.Sequence, most int) ([]judged, error) {
		var all []judged
		for _, x := range tune.Spread(s, most*judgedTokens) {
			j, err := selected(x)
			if err != nil {
				return nil, err
			}
			one := judged{sequence: gate.Score(j.Sample(0, j.Rows()))}
			for i := range j.Rows() {
				one.tokens = append(one.tokens, gate.Score(j.Sample(i, i+1)))
			}
			all = append(all, one)
		}
		return all, nil
	}
	rows, err := judge(background[n/2:], thresholdsFrom)
	if err != nil {
		return res, err
	}
	var sequences, tokens []float64
	for _, s := range rows {
		sequences, tokens = append(sequences, s.sequence), append(tokens, s.tokens...)
	}
	ofSequence, _ := retrieval.Conformal(sequences, alpha)
	ofToken, _ := retrieval.Conformal(tokens, alpha)
	for _, t := range []struct {
		name string
		seqs []tune.Sequence
	}{{"own", texts["own"]}, {"earlier", texts["earlier"]}, {"other", foreign}} {
		rows, err := judge(t.seqs, judgedOf)
		if err != nil {
			return res, err
		}
		f := fires{Text: t.name, Sequences: len(rows)}
		each := 1 / float64(len(rows))
		for _, s := range rows {
			fired := 0
			for _, v := range s.tokens {
				if v > ofToken {
					fired++
				}
			}
			f.Token += each * float64(fired) / float64(len(s.tokens))
			if s.sequence > ofSequence {
				f.Sequence += each
			}
			if fired > 0 {
				f.AnyToken += each
			}
			if 2*fired >= len(s.tokens) {
				f.HalfToken += each
			}
		}
		res.Fires = append(res.Fires, f)
	}
	return res, nil
}

// calibrated makes a router as init does, from that text.
func (b *bench) calibrated(ctx context.Context, m *base.Base, pool *kernels.Pool, background []tune.Sequence) (*retrieval.Router, error) {
	c := m.Model.Config
	rec := peer.NewRecorder(retrieval.DefaultBlocks(c.Layers), c.Hidden, calibrateOn)
	if err := read(ctx, m, tune.Limit(background, calibrateOn), rec); err != nil {
		return nil, err
	}
	router, _, err := retrieval.Calibrate(ctx, pool, retrieval.Options{Blocks: retrieval.DefaultBlocks(c.Layers), Hidden: c.Hidden, Seed: b.seed}, rec)
	return router, err
}

// read runs sequences through the base alone with something in its seam.
func read(ctx context.Context, m *base.Base, seqs []tune.Sequence, seam llama.Seam) error {
	for _, s := range seqs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := m.Model.Forward(llama.One(s.Tokens, nil), seam); err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
	return nil
}
