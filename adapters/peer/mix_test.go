package peer

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gopeft/peft/adapters/ia3"
	"github.com/gopeft/peft/adapters/lora"
	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// mixModel is a small random base that testRouter's layers and testConfig's sites fit.
func mixModel(t testing.TB, f llama.Family, p *kernels.Pool) *llama.Model {
	t.Helper()
	c := testConfig
	c.Family, c.Vocab, c.MaxSeq, c.NormEps, c.RopeTheta, c.Tied = f, 67, 128, 1e-5, 10000, true
	if f == llama.Gemma2 {
		c.Window, c.Windowed, c.AttnCap, c.LogitCap, c.QueryScalar = 6, []bool{true, false, true, false, true, false}, 2, 3, 9
	}
	m, err := llama.New(c, llamatest.Random(c, 3), kernels.F32, p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func stackOf(t testing.TB, r *retrieval.Router, p *kernels.Pool, sets ...*Set) *Stack {
	t.Helper()
	s, err := NewStack(r, p, sets...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mixStacks are stacks of sets of every kind and connection.
func mixStacks(t testing.TB, r *retrieval.Router, p *kernels.Pool) []*Stack {
	neurons, sited := testSet(t, r, "neurons", 1, BF16), siteSet(t, r, "sited", 2, false, places...)
	capped := testSet(t, r, "capped", 3, F32)
	capped.Tables[0].Cap = 0.05
	var qv, scaled []spot
	for b := range testConfig.Layers {
		qv = append(qv, spot{b, llama.Query, testLoRA, false, false}, spot{b, llama.Value, testLoRA, false, false})
		scaled = append(scaled, spot{b, llama.Key, ia3.Output, false, false}, spot{b, llama.Down, ia3.Input, false, false})
	}
	plain := siteSet(t, r, "lora", 4, false, qv...)
	dora := siteSet(t, r, "dora", 5, false, spot{2, llama.Value, testDoRA, false, false}, spot{3, llama.Out, lora.DoRA{Kind: testLoRA}, false, false})
	late := siteSet(t, r, "late", 6, false, spot{3, llama.Out, testLoRA, true, false}, spot{4, llama.Down, neuron.SiLU, true, false}, spot{5, llama.Out, testLoRA, true, false})
	return []*Stack{
		stackOf(t, r, p, neurons), stackOf(t, r, p, sited), stackOf(t, r, p, capped, neurons), stackOf(t, r, p, plain), stackOf(t, r, p, dora, plain),
		stackOf(t, r, p, siteSet(t, r, "ia3", 7, false, scaled...)), stackOf(t, r, p, late), stackOf(t, r, p, sited, neurons, plain),
	}
}

// TestMixBits: whatever sequences share a pass, each has the bits, and each sampler the selections, that it has alone.
func TestMixBits(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	r := testRouter(3)
	stacks := mixStacks(t, r, pool)
	models := []*llama.Model{mixModel(t, llama.Llama, pool), mixModel(t, llama.Qwen2, pool), mixModel(t, llama.Gemma2, pool)}
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(models).Draw(t, "model")
		type sequence struct {
			cache, alone *llama.Cache
			seam, own    llama.Seam
		}
		seqs := make([]sequence, rapid.IntRange(1, 5).Draw(t, "sequences"))
		for i := range seqs {
			s := sequence{cache: m.NewCache(), alone: m.NewCache()}
			switch n := rapid.IntRange(-2, 2*len(stacks)-1).Draw(t, "seam"); {
			case n == -1:
				s.seam, s.own = NewSampler(r, pool), NewSampler(r, pool)
			case n >= len(stacks):
				s.seam, s.own = stacks[n-len(stacks)].Observed(), stacks[n-len(stacks)]
			case n >= 0:
				s.seam, s.own = stacks[n], stacks[n]
			}
			seqs[i] = s
		}
		mix := &Mix{}
		for range 2 {
			var batch llama.Batch
			mix.Parts = mix.Parts[:0]
			for _, s := range seqs {
				n := rapid.SampledFrom([]int{1, 1, 2, 5, 20}).Draw(t, "tokens")
				batch.Seqs = append(batch.Seqs, llama.Seq{Len: n, Cache: s.cache})
				mix.Parts = append(mix.Parts, Part{s.seam, n})
				for range n {
					batch.Tokens = append(batch.Tokens, int32(rapid.IntRange(0, 66).Draw(t, "token")))
				}
			}
			got, err := m.Forward(batch, mix)
			if err != nil {
				t.Fatal(err)
			}
			row := 0
			for i, s := range seqs {
				n := batch.Seqs[i].Len
				want, err := m.Forward(llama.One(batch.Tokens[row:row+n], s.alone), s.own)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got[row*testHidden:(row+n)*testHidden], want) {
					t.Fatalf("sequence %d of %d, %T: other bits than alone", i, len(seqs), s.seam)
				}
				row += n
				if j, ok := s.seam.(*Sampler); ok && (j.Rows() == 0 || !reflect.DeepEqual(j.cells, s.own.(*Sampler).cells)) {
					t.Fatalf("sequence %d: a sampler has other cells than alone", i)
				}
			}
		}
	})
}

// TestMixRoutesOnce: adjacent stacks share a selection, and usage counts each routed row once, none of the base's.
func TestMixRoutesOnce(t *testing.T) {
	r := testRouter(3)
	a, b := stackOf(t, r, nil, testSet(t, r, "a", 1, BF16)), stackOf(t, r, nil, testSet(t, r, "b", 2, F32))
	m, u := mixModel(t, llama.Llama, nil), NewUsage(r)
	mix := &Mix{Parts: []Part{{a, 3}, {b, 2}, {nil, 4}, {b, 1}}, Usage: u}
	batch := llama.Batch{Tokens: []int32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, Seqs: []llama.Seq{{Len: 3}, {Len: 2}, {Len: 4}, {Len: 1}}}
	c := NewCounter(r, nil)
	if _, err := m.Forward(batch, mix); err != nil {
		t.Fatal(err)
	}
	if n := len(mix.pass.routings); n != 2 {
		t.Errorf("%d selections a block for two runs", n)
	}
	for _, run := range []struct {
		seam   *Stack
		tokens []int32
	}{{a, batch.Tokens[:3]}, {b, batch.Tokens[3:5]}, {b, batch.Tokens[9:]}} {
		c.With = run.seam
		if _, err := m.Forward(llama.One(run.tokens, nil), c); err != nil {
			t.Fatal(err)
		}
	}
	for i, l := range u.Snapshot() {
		if l.Block != r.Layers[i].Block || l.SubKeys != 6 || l.Rows != 6 {
			t.Errorf("%+v", l)
		}
		for cell, n := range c.Counts()[i] {
			if l.Hits[cell] != uint64(n) {
				t.Errorf("block %d, cell %d: %d hits, want %d", l.Block, cell, l.Hits[cell], n)
			}
		}
	}
	mix.Parts = []Part{{nil, 10}}
	if _, err := m.Forward(batch, mix); err != nil || u.Snapshot()[0].Rows != 6 {
		t.Errorf("the base alone was counted: %v", err)
	}
	mix.Parts = []Part{{a, 3}, {nil, 2}}
	if _, err := m.Forward(batch, mix); err == nil || !strings.Contains(err.Error(), "5 rows") {
		t.Errorf("a mix of too few rows: %v", err)
	}
}

func TestMixAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	r := testRouter(3)
	stacks := mixStacks(t, r, nil)
	m, u := mixModel(t, llama.Llama, nil), NewUsage(r)
	mix, batch := &Mix{Usage: u}, llama.Batch{}
	for i := range 2 * len(stacks) {
		mix.Parts = append(mix.Parts, Part{stacks[i/2], 1 + i%2})
		batch.Seqs = append(batch.Seqs, llama.Seq{Len: 1 + i%2})
		batch.Tokens = append(batch.Tokens, []int32{1, 2}[:1+i%2]...)
	}
	mix.Parts = append(mix.Parts, Part{nil, 1})
	batch.Seqs, batch.Tokens = append(batch.Seqs, llama.Seq{Len: 1}), append(batch.Tokens, 3)
	var x []float32
	step := func() {
		var err error
		if x, err = m.ForwardIn(x, batch, mix); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		step()
	}
	if n := testing.AllocsPerRun(50, step); n > 0 {
		t.Errorf("a pass allocates %g times", n)
	}
}

// TestProvenance: a set's norm is that of what it adds, found by taking it away, and a share is of all sets' and the base's.
func TestProvenance(t *testing.T) {
	r := testRouter(3)
	a, b := testSet(t, r, "a", 1, F32), testSet(t, r, "b", 2, F32)
	const tokens = 5
	rnd := rand.New(rand.NewPCG(1, 9))
	x, y := randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden)
	p := stackOf(t, r, nil, a, b).Observed()
	if err := p.Forward(1, slices.Clone(y), x, tokens); err != nil {
		t.Fatal(err)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-4*(1+want) {
			t.Errorf("%s: %g, want %g", what, got, want)
		}
	}
	added := func(s *Set, row int) float64 {
		with := slices.Clone(y)
		if err := stackOf(t, r, nil, s).Forward(1, with, x, tokens); err != nil {
			t.Fatal(err)
		}
		var sum float64
		for i := row * testHidden; i < (row+1)*testHidden; i++ {
			sum += math.Pow(float64(with[i])-float64(y[i]), 2)
		}
		return math.Sqrt(sum)
	}
	var sumA, sum float64
	for row := range tokens {
		na, nb := added(a, row), added(b, row)
		sumA, sum = sumA+na, sum+na+nb
		if s := p.Row(row, nil); na+nb > 0 {
			near("share of a", s[0], na/(na+nb))
			near("share of b", s[1], nb/(na+nb))
		}
	}
	near("share of all rows", p.All(nil)[0], sumA/sum)

	m := mixModel(t, llama.Llama, nil)
	batch := llama.One([]int32{3, 1, 4, 1, 5}, nil)
	one := stackOf(t, r, nil, siteSet(t, r, "one", 3, false, spot{5, llama.Value, testLoRA, false, false})).Observed()
	if _, err := m.Forward(batch, one); err != nil {
		t.Fatal(err)
	}
	var base float64 // what the first five blocks add, which the set has no part in
	var before []float32
	for n := range 6 {
		stream, err := m.ForwardTo(batch, nil, n)
		if err != nil {
			t.Fatal(err)
		}
		if last := stream[4*testHidden:]; n == 0 {
			before = slices.Clone(last)
		} else {
			base += distance(last, before)
			before = slices.Clone(last)
		}
	}
	if got := one.base[4]; got < base*(1-1e-5) || one.sets[4] <= 0 {
		t.Errorf("the base's norm is %g, that of five of six blocks %g; the set's %g", got, base, one.sets[4])
	}
	near("share of the last row", one.Row(4, nil)[0], one.sets[4]/(one.sets[4]+one.base[4]))
}
