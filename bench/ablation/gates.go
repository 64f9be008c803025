package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// gate compares a decision for every token with one for a sequence. Both thresholds lie at the quantile 0.99 of the scores
// that other text reached.
type gate struct {
	Texts []fired `json:"texts"`
}

// fired is how often A's gate fires on a text that set no threshold, in shares.
type fired struct {
	Text      string  `json:"text"`
	Sequences int     `json:"sequences"`
	Tokens    float64 `json:"tokens"`         // single tokens whose own score passes
	AnyToken  float64 `json:"any_token"`      // sequences in which at least one does
	Judged    float64 `json:"judged"`         // sequences whose first tokens together pass
	AnyLong   float64 `json:"any_token_long"` // of longTokens, in which at least one token passes
}

// Tokens of a sequence, of its beginning that is judged, and of a long sequence.
const seqTokens, judgedTokens, longTokens = 256, 64, 512

// Tokens read of each text: for the router, to know a text by, and to set thresholds by or to measure.
const routerTokens, ownTokens, readTokens = 8192, 8192, 24576

func (b *bench) open() (*base.Base, *kernels.Pool, error) {
	pool := kernels.NewPool(b.threads)
	m, err := base.Open(b.base, base.Options{Precision: kernels.Stored, Pool: pool})
	if err != nil {
		pool.Close()
	}
	return m, pool, err
}

// blocks returns how many the base has.
func (b *bench) blocks() (int, error) {
	m, pool, err := b.open()
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	defer m.Close()
	return m.Model.Config.Layers, nil
}

// gates scores every token of A, B and W by how much its cells are A's rather than the background's. The thresholds are set
// on the first half of W, so that the second half is the kind of text they were made for and B is one they were not.
func (b *bench) gates(ctx context.Context) error {
	if b.background == "" {
		return fmt.Errorf("gates: -background is needed, to make a router from")
	}
	_, err := b.do("gates", "tokens and sequences", func() (result, error) {
		m, pool, err := b.open()
		if err != nil {
			return result{}, err
		}
		defer pool.Close()
		defer m.Close()
		g, err := b.compareGates(ctx, m, pool)
		return result{Gate: g}, err
	})
	return err
}

func (b *bench) compareGates(ctx context.Context, m *base.Base, pool *kernels.Pool) (*gate, error) {
	c := m.Model.Config
	blocks := retrieval.DefaultBlocks(c.Layers)
	rec := peer.NewRecorder(blocks, c.Hidden, routerTokens)
	if err := b.read(m, b.background, routerTokens, rec); err != nil {
		return nil, err
	}
	router, _, err := retrieval.Calibrate(ctx, pool, retrieval.Options{Base: b.base, Blocks: blocks, Hidden: c.Hidden, Seed: 1}, rec)
	if err != nil {
		return nil, err
	}
	own := peer.NewCounter(router, pool)
	if err := b.read(m, b.texts["a-train"], ownTokens, own); err != nil {
		return nil, err
	}
	g, err := peer.NewGate(router, own.Counts())
	if err != nil {
		return nil, err
	}
	scores := map[string][]float64{} // of each token
	for _, t := range []string{"a", "b-train", "w-train"} {
		j := peer.NewJudge(router, pool, g)
		if err := b.read(m, b.texts[t], readTokens, j); err != nil {
			return nil, err
		}
		for _, row := range j.Rows(0) {
			scores[t] = append(scores[t], row[0])
		}
	}
	half := len(scores["w-train"]) / 2 / longTokens * longTokens
	made := scores["w-train"][:half]
	token, sequence := quantile(made), quantile(beginnings(made))
	all := &gate{}
	for _, t := range []struct {
		name   string
		scores []float64
	}{{"A, held out", scores["a"]}, {"W, other half", scores["w-train"][half:]}, {"B", scores["b-train"]}} {
		all.Texts = append(all.Texts, fires(t.name, t.scores, token, sequence))
	}
	return all, nil
}

// read lets the base read a text's first tokens with the seam on.
func (b *bench) read(m *base.Base, file string, tokens int, seam llama.Seam) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	ids := m.Tokenizer.Encode(string(text[:min(len(text), 8*tokens)]), false)
	ids = ids[:min(len(ids), tokens)/seqTokens*seqTokens]
	for s := range slices.Chunk(ids, seqTokens) {
		if _, err := m.Model.ForwardTo(llama.Batch{Tokens: s, Seqs: []llama.Seq{{Len: len(s)}}}, seam, m.Model.Config.Layers); err != nil {
			return err
		}
	}
	return nil
}

// beginnings returns the mean scores of the sequences' first tokens.
func beginnings(scores []float64) []float64 {
	var all []float64
	for s := range slices.Chunk(scores, seqTokens) {
		var sum float64
		for _, v := range s[1:judgedTokens] { // the first token of a text says nothing
			sum += v / (judgedTokens - 1)
		}
		all = append(all, sum)
	}
	return all
}

// quantile returns the value that one in a hundred passes.
func quantile(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[min(len(s)-1, len(s)*99/100)]
}

func fires(name string, scores []float64, token, sequence float64) fired {
	f := fired{Text: name, Sequences: len(scores) / seqTokens}
	passes := func(v float64) bool { return v > token }
	share := func(of []float64, pass func(float64) bool) float64 {
		n := 0
		for _, v := range of {
			if pass(v) {
				n++
			}
		}
		return float64(n) / float64(len(of))
	}
	any := func(length int) float64 {
		n, all := 0, 0
		for s := range slices.Chunk(scores, length) {
			all++
			if slices.ContainsFunc(s, passes) {
				n++
			}
		}
		return float64(n) / float64(all)
	}
	f.Tokens, f.AnyToken, f.AnyLong = share(scores, passes), any(seqTokens), any(longTokens)
	f.Judged = share(beginnings(scores), func(v float64) bool { return v > sequence })
	return f
}
