package llama_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
	"github.com/gopeft/peft/kernels"
)

func random(t testing.TB, c llama.Config, prec kernels.Precision, pool *kernels.Pool) *llama.Model {
	t.Helper()
	m, err := llama.New(c, llamatest.Random(c, 1), prec, pool)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tokens(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*i*7 + i*3 + 5) % vocab)
	}
	return ids
}

func maxDiff(a, b []float32) (d float64) {
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

// TestCacheContinues: a text in pieces through a cache gives the logits of the whole text.
func TestCacheContinues(t *testing.T) {
	for name, c := range llamatest.Families() {
		t.Run(name, func(t *testing.T) { cacheContinues(t, c) })
	}
}

func cacheContinues(t *testing.T, c llama.Config) {
	m := random(t, c, kernels.F32, nil)
	ids := tokens(40, c.Vocab)
	whole, err := m.Forward(llama.One(ids, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	cache := m.NewCache()
	at := 0
	for _, n := range []int{1, 17, 1, 1, 3, 17} {
		x, err := m.Forward(llama.One(ids[at:at+n], cache), nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := maxDiff(x, whole[at*c.Hidden:(at+n)*c.Hidden]); d > 1e-4 {
			t.Fatalf("tokens %d to %d differ by %g", at, at+n, d)
		}
		at += n
	}
	cache.Truncate(5)
	x, err := m.Forward(llama.One(ids[5:9], cache), nil)
	if err != nil || maxDiff(x, whole[5*c.Hidden:9*c.Hidden]) > 1e-4 {
		t.Errorf("after Truncate: %v", err)
	}
}

// TestSequencesApart: a sequence's rows do not depend on what else is in the batch, to the bit.
func TestSequencesApart(t *testing.T) {
	for name, c := range llamatest.Families() {
		t.Run(name, func(t *testing.T) { sequencesApart(t, c) })
	}
}

func sequencesApart(t *testing.T, c llama.Config) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	m := random(t, c, kernels.F32, pool)
	ids := tokens(50, c.Vocab)
	lens := []int{7, 30, 13}
	b := llama.Batch{Tokens: ids}
	for _, n := range lens {
		b.Seqs = append(b.Seqs, llama.Seq{Len: n})
	}
	all, err := m.Forward(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, n := range lens {
		one, err := m.Forward(llama.One(ids[at:at+n], nil), nil)
		if err != nil || !slices.Equal(one, all[at*c.Hidden:(at+n)*c.Hidden]) {
			t.Errorf("sequence at %d differs: %v", at, err)
		}
		at += n
	}
}

// TestOpGradients runs the whole backward, composed of the operations, against central differences with respect to the
// input of the first block.
func TestOpGradients(t *testing.T) {
	all := llamatest.Families()
	untied := llamatest.Config()
	untied.Tied = false
	all["untied"] = untied
	for name, c := range all {
		m := random(t, c, kernels.F32, nil)
		if err := m.PrepareBackward(0); err != nil {
			t.Fatal(err)
		}
		ids, n := tokens(13, c.Vocab), 12
		l, err := m.Layout(llama.Batch{Tokens: ids[:n], Seqs: []llama.Seq{{Len: 9}, {Len: 3}}})
		if err != nil {
			t.Fatal(err)
		}
		weights := []float32{1, 1, 0, 1, 0.5, 1, 1, 1, 1, 1, 1, 1}
		x0 := make([]float32, n*c.Hidden)
		m.Embed(x0, ids[:n], l)
		r := &run{m: m, l: l, targets: ids[1:], weights: weights}
		r.forward(x0)
		dx := r.backward()
		const eps = 3e-3
		for i := 0; i < len(x0); i += 5 {
			v := x0[i]
			x0[i] = v + eps
			up := r.forward(x0)
			x0[i] = v - eps
			down := r.forward(x0)
			x0[i] = v
			num := (up - down) / (2 * eps)
			if math.Abs(num-float64(dx[i])) > 4e-3*max(1, math.Abs(num)) {
				t.Fatalf("%s: d loss/d x[%d] = %v, by differences %v", name, i, dx[i], num)
			}
		}
	}
}

// run composes the operations with saved activations.
type run struct {
	m       *llama.Model
	l       *llama.Layout
	targets []int32
	weights []float32
	saved   []saved
	xf, hf  []float32
	rf, dh  []float32
}

type saved struct {
	x, rn, h, qkv, heads, o, lse, x2, rn2, h2, gu, act []float32
	own, rp, own2, rp2                                 []float32 // of families with norms after the layers
}

func (r *run) forward(x []float32) float64 {
	c, n := r.m.Config, r.l.Tokens
	mk := func(w int) []float32 { return make([]float32, n*w) }
	r.saved = nil
	for _, b := range r.m.Blocks {
		s := saved{x: x, rn: mk(1), h: mk(c.Hidden), qkv: mk(c.QKVWidth()), heads: mk(c.HeadsWidth()), o: mk(c.AttnWidth()), lse: mk(c.Heads), x2: mk(c.Hidden), rn2: mk(1), h2: mk(c.Hidden), gu: mk(c.UpWidth()), act: mk(c.FFN),
			own: mk(c.Hidden), rp: mk(1), own2: mk(c.Hidden), rp2: mk(1)}
		b.AttnNorm(s.h, s.x, s.rn, n)
		b.Project(s.qkv, s.h, n)
		b.Rotate(s.qkv, s.heads, r.l)
		b.Attention(s.o, s.lse, s.qkv, r.l)
		if c.PostNorms() {
			b.AttnOut(s.own, nil, s.o, n)
			b.AttnPost(s.x2, s.x, s.own, s.rp, n)
		} else {
			b.AttnOut(s.x2, s.x, s.o, n)
		}
		b.FFNNorm(s.h2, s.x2, s.rn2, n)
		b.GateUp(s.gu, s.h2, n)
		b.Activate(s.act, s.gu, n)
		y := mk(c.Hidden)
		if c.PostNorms() {
			b.Down(s.own2, nil, s.act, n)
			b.FFNPost(y, s.x2, s.own2, s.rp2, n)
		} else {
			b.Down(y, s.x2, s.act, n)
		}
		r.saved = append(r.saved, s)
		x = y
	}
	r.xf, r.hf, r.rf, r.dh = x, mk(c.Hidden), mk(1), mk(c.Hidden)
	r.m.FinalNorm(r.hf, r.xf, r.rf, n)
	loss := mk(1)
	r.m.HeadLoss(loss, r.dh, r.hf, r.targets, r.weights)
	var sum float64
	for _, v := range loss {
		sum += float64(v)
	}
	return sum
}

func (r *run) backward() []float32 {
	c, n := r.m.Config, r.l.Tokens
	mk := func(w int) []float32 { return make([]float32, n*w) }
	dx := mk(c.Hidden)
	r.m.FinalNormBackward(dx, r.dh, r.xf, r.rf, n)
	for i := len(r.saved) - 1; i >= 0; i-- {
		b, s := r.m.Blocks[i], r.saved[i]
		dact, dh := mk(c.FFN), mk(c.Hidden)
		down := dx
		if c.PostNorms() {
			down = mk(c.Hidden)
			b.FFNPostBackward(down, dx, s.own2, s.rp2, n)
		}
		b.DownBackward(dact, down, n)
		dgu := mk(c.UpWidth())
		b.ActivateBackward(dgu, dact, s.gu, n)
		b.GateUpBackward(dh, dgu, n)
		b.FFNNormBackward(dx, dh, s.x2, s.rn2, n, true)
		do, dqkv := mk(c.AttnWidth()), mk(c.QKVWidth())
		if down = dx; c.PostNorms() {
			down = mk(c.Hidden)
			b.AttnPostBackward(down, dx, s.own, s.rp, n)
		}
		b.AttnOutBackward(do, down, n)
		b.AttentionBackward(dqkv, do, s.o, s.lse, s.qkv, r.l)
		b.RotateBackward(dqkv, s.heads, r.l)
		b.ProjectBackward(dh, dqkv, n)
		b.AttnNormBackward(dx, dh, s.x, s.rn, n, true)
	}
	return dx
}

type nan struct{ llamatest.Weights }

func (w nan) Tensor(name string) ([]float32, []int, error) {
	x, s, err := w.Weights.Tensor(name)
	if strings.Contains(name, "1.mlp.up") {
		x = slices.Clone(x)
		x[7] = float32(math.NaN())
	}
	return x, s, err
}

func TestBadWeights(t *testing.T) {
	c := llamatest.Config()
	missing := llamatest.Random(c, 1)
	delete(missing, "model.layers.2.self_attn.o_proj.weight")
	shape := llamatest.Random(c, 1)
	shape["model.norm.weight"] = llamatest.Tensor{Data: make([]float32, 5), Shape: []int{5}}
	for want, src := range map[string]llama.Source{
		"model.layers.2.self_attn.o_proj.weight": missing, "has shape [5]": shape, "element 7 is NaN": nan{llamatest.Random(c, 1)},
	} {
		if _, err := llama.New(c, src, kernels.F32, nil); !errors.Is(err, llama.ErrWeights) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	for _, f := range []func(*llama.Config){
		func(c *llama.Config) { c.Hidden = 0 }, func(c *llama.Config) { c.KVHeads = 3 }, func(c *llama.Config) { c.HeadDim = 5 },
		func(c *llama.Config) { c.Layers = 1 << 30 }, func(c *llama.Config) { c.NormEps = float32(math.NaN()) },
	} {
		bad := c
		f(&bad)
		if _, err := llama.New(bad, llamatest.Random(c, 1), kernels.F32, nil); !errors.Is(err, llama.ErrConfig) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	m := random(t, c, kernels.F32, nil)
	for _, ids := range [][]int32{nil, {67}, {-1}, make([]int32, 200)} {
		if _, err := m.Forward(llama.One(ids, nil), nil); !errors.Is(err, llama.ErrInput) {
			t.Errorf("%d tokens: %v", len(ids), err)
		}
	}
}

func TestUnpermuteInverts(t *testing.T) {
	w := tokens(12*3, 1000)
	x := make([]float32, len(w))
	for i, v := range w {
		x[i] = float32(v)
	}
	p, err := llama.Permute(x, []int{12, 3}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := llama.Unpermute(p, []int{12, 3}, 2); err != nil || !slices.Equal(u, x) {
		t.Error("Unpermute does not undo Permute", err)
	}
	if p[3] != x[3*3] { // the second row of a head of six is the first of its second half
		t.Error("not llama.cpp's order")
	}
}

// TestSteadyState: a token that continues a cache allocates nothing.
func TestSteadyState(t *testing.T) {
	for name, c := range llamatest.Families() {
		t.Run(name, func(t *testing.T) { steadyState(t, c) })
	}
}

func steadyState(t *testing.T, c llama.Config) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	m := random(t, c, kernels.F32, pool)
	var err error
	cache, logits := m.NewCache(), make([]float32, m.Config.Vocab)
	b := llama.Batch{Tokens: []int32{3}, Seqs: []llama.Seq{{Len: 1, Cache: cache}}}
	var x []float32
	step := func() {
		if x, err = m.ForwardIn(x, b, nil); err != nil {
			t.Fatal(err)
		}
		m.Logits(logits, x, 1)
	}
	for range 100 { // the cache grows to its room
		step()
	}
	cache.Truncate(10)
	if n := testing.AllocsPerRun(50, step); n > 0 {
		t.Errorf("a token makes %v allocations", n)
	}
}
