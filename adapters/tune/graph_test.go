package tune

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
	"github.com/gopeft/peft/kernels"
)

// chain computes loss and row gradients without a graph: every operation in a buffer of its own.
func chain(t *testing.T, m *llama.Model, tr *peer.Training, b *Batch) (float64, map[int]*peer.RowGrad) {
	t.Helper()
	if err := m.PrepareBackward(0); err != nil {
		t.Fatal(err)
	}
	c, n := m.Config, len(b.Tokens)
	batch := llama.Batch{Tokens: b.Tokens}
	for _, l := range b.Lens {
		batch.Seqs = append(batch.Seqs, llama.Seq{Len: l})
	}
	l, err := m.Layout(batch)
	if err != nil {
		t.Fatal(err)
	}
	rows := func(width int) []float32 { return make([]float32, n*width) }
	type saved struct{ x, rstd, qkv, heads, o, lse, own, rown, mid, rstd2, gu, own2, rown2 []float32 }
	keep := make([]saved, c.Layers)
	x := rows(c.Hidden)
	m.Embed(x, b.Tokens, l)
	for i, blk := range m.Blocks {
		s := saved{x, rows(1), rows(c.QKVWidth()), rows(c.HeadsWidth()), rows(c.AttnWidth()), rows(c.Heads), rows(c.Hidden), rows(1), rows(c.Hidden), rows(1), rows(c.UpWidth()), rows(c.Hidden), rows(1)}
		h, act := rows(c.Hidden), rows(c.FFN)
		blk.AttnNorm(h, x, s.rstd, n)
		blk.Project(s.qkv, h, l.Tokens)
		blk.Rotate(s.qkv, s.heads, l)
		blk.Attention(s.o, s.lse, s.qkv, l)
		if c.PostNorms() {
			blk.AttnOut(s.own, nil, s.o, n)
			blk.AttnPost(s.mid, x, s.own, s.rown, n)
		} else {
			blk.AttnOut(s.mid, x, s.o, n)
		}
		h = rows(c.Hidden)
		blk.FFNNorm(h, s.mid, s.rstd2, n)
		blk.GateUp(s.gu, h, n)
		blk.Activate(act, s.gu, n)
		x = rows(c.Hidden)
		if c.PostNorms() {
			blk.Down(s.own2, nil, act, n)
			blk.FFNPost(x, s.mid, s.own2, s.rown2, n)
		} else {
			blk.Down(x, s.mid, act, n)
		}
		if err := tr.Forward(i, x, h, n); err != nil {
			t.Fatal(err)
		}
		keep[i] = s
	}
	h, rstd, dh, loss := rows(c.Hidden), rows(1), rows(c.Hidden), rows(1)
	m.FinalNorm(h, x, rstd, n)
	m.HeadLoss(loss, dh, h, b.Targets, b.Weights)
	var sum float64
	for _, v := range loss {
		sum += float64(v)
	}
	dx := rows(c.Hidden)
	m.FinalNormBackward(dx, dh, x, rstd, n)
	grads := map[int]*peer.RowGrad{}
	for i, blk := range slices.Backward(m.Blocks) {
		s := keep[i]
		dact, dgu, dh, dp := rows(c.FFN), rows(c.UpWidth()), rows(c.Hidden), rows(c.Hidden)
		if layer := tr.Layer(i); layer != nil {
			g, err := layer.Backward(dp, dx)
			if err != nil {
				t.Fatal(err)
			}
			grads[i] = g
		}
		down := dx
		if c.PostNorms() {
			down = rows(c.Hidden)
			blk.FFNPostBackward(down, dx, s.own2, s.rown2, n)
		}
		blk.DownBackward(dact, down, n)
		blk.ActivateBackward(dgu, dact, s.gu, n)
		blk.GateUpBackward(dh, dgu, n)
		for j, v := range dp {
			dh[j] += v
		}
		blk.FFNNormBackward(dx, dh, s.mid, s.rstd2, n, true)
		do, dqkv, da := rows(c.AttnWidth()), rows(c.QKVWidth()), rows(c.Hidden)
		if down = dx; c.PostNorms() {
			down = rows(c.Hidden)
			blk.AttnPostBackward(down, dx, s.own, s.rown, n)
		}
		blk.AttnOutBackward(do, down, n)
		blk.AttentionBackward(dqkv, do, s.o, s.lse, s.qkv, l)
		blk.RotateBackward(dqkv, s.heads, l)
		blk.ProjectBackward(da, dqkv, n)
		blk.AttnNormBackward(dx, da, s.x, s.rstd, n, true)
	}
	return sum, grads
}

// TestGraphMatchesChain compares the graph, whose blocks share buffers, with the operations called one by one, on a base
// deep enough for every buffer to be shared, with batches of different sizes one after the other.
func TestGraphMatchesChain(t *testing.T) {
	for name, c := range llamatest.Families() {
		t.Run(name, func(t *testing.T) { graphMatchesChain(t, c) })
	}
}

func graphMatchesChain(t *testing.T, c llama.Config) {
	c.Layers = 8
	if c.Windowed != nil {
		c.Windowed = []bool{true, true, false, true, false, true, true, false}
	}
	f := newFixtureOf(t, c, []int{1, 2, 4, 6})
	tr := f.training(t, f.set(t, "a", 0.1, 1, 4, 6), f.set(t, "b", 0.1, 2, 4))
	g, err := newGraph(f.m, tr, 60)
	if err != nil {
		t.Fatal(err)
	}
	half, err := f.m.WithPrecision(kernels.BF16)
	if err != nil {
		t.Fatal(err)
	}
	gh, err := newGraph(half, f.training(t, f.set(t, "a", 0.1, 1, 4, 6), f.set(t, "b", 0.1, 2, 4)), 60)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{2, 5, 1, 3} {
		b := newBatch(f.sequences(size))
		halfLoss, halfGrads, err := gh.run(b)
		if err != nil {
			t.Fatal(err)
		}
		loss, grads, err := g.run(b)
		if err != nil {
			t.Fatal(err)
		}
		var got []*peer.RowGrad
		for _, x := range grads { // they last until the layers run again
			got = append(got, &peer.RowGrad{Width: x.Width, Rows: slices.Clone(x.Rows), Values: slices.Clone(x.Values)})
		}
		wantLoss, want := chain(t, f.m, tr, b)
		if math.Abs(float64(loss)-wantLoss) > 1e-6 {
			t.Errorf("loss %v, want %v", loss, wantLoss)
		}
		if math.Abs(float64(halfLoss)-wantLoss) > 0.05 {
			t.Errorf("loss in bf16 %v, want about %v", halfLoss, wantLoss)
		}
		for i, block := range tr.Blocks() {
			w := want[block]
			if !slices.Equal(got[i].Rows, w.Rows) {
				t.Fatalf("%d sequences, block %d: rows %v, want %v", size, block, got[i].Rows, w.Rows)
			}
			if off := distance(got[i], w); !(off < 1e-5) {
				t.Errorf("%d sequences, block %d: the gradient is off by %.3g of its size", size, block, off)
			}
			if off := distance(halfGrads[i], w); !(off < 0.15) {
				t.Errorf("%d sequences, block %d: the gradient in bf16 is off by %.3g of its size", size, block, off)
			}
		}
	}
}

// distance returns how far got is from want, relative to want's size. Rows that only one has count as zeros in the other.
func distance(got, want *peer.RowGrad) float64 {
	values := map[uint32][]float32{}
	for i, r := range got.Rows {
		values[r] = got.Row(i)
	}
	var wrong, total float64
	for i, r := range want.Rows {
		for j, v := range want.Row(i) {
			d := float64(v)
			if x := values[r]; x != nil {
				d -= float64(x[j])
			}
			wrong, total = wrong+d*d, total+float64(v)*float64(v)
		}
		delete(values, r)
	}
	for _, x := range values {
		for _, v := range x {
			wrong += float64(v) * float64(v)
		}
	}
	return math.Sqrt(wrong / total)
}

// TestRunsSideBySide trains two sets on one base at once; each must get the rows it gets alone.
func TestRunsSideBySide(t *testing.T) {
	f := newFixture(t)
	seqs := f.sequences(6)
	alone := f.training(t, f.set(t, "a", 0))
	if _, err := Run(ctx, f.m, alone, seqs, seqs[:2], options()); err != nil {
		t.Fatal(err)
	}
	f = newFixture(t) // whose weights are not prepared for the backward yet
	var wg sync.WaitGroup
	for range 2 {
		tr := f.training(t, f.set(t, "a", 0))
		wg.Go(func() {
			if _, err := Run(ctx, f.m, tr, seqs, seqs[:2], options()); err != nil {
				t.Error(err)
			}
			if !slices.Equal(rows(tr), rows(alone)) {
				t.Error("a run beside it changes the rows")
			}
		})
	}
	wg.Wait()
}

// TestParts: a graph that has room for fewer tokens than a batch gives the same loss and gradients, part by part.
func TestParts(t *testing.T) {
	f := newFixture(t)
	tr := f.training(t, f.set(t, "a", 0.1, 1, 4, 6))
	whole, err := newGraph(f.m, tr, 200)
	if err != nil {
		t.Fatal(err)
	}
	b := newBatch(f.sequences(6))
	longest := slices.Max(b.Lens)
	parts, err := newGraph(f.m, tr, longest)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(b.parts(nil, longest)); n < 2 {
		t.Fatalf("%d parts of %v", n, b.Lens)
	}
	loss, grads, err := parts.run(b)
	if err != nil {
		t.Fatal(err)
	}
	wantLoss, want, err := whole.run(b)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(float64(loss-wantLoss)) > 1e-6 {
		t.Errorf("loss %v, want %v", loss, wantLoss)
	}
	for i := range want {
		if off := distance(grads[i], want[i]); !slices.Equal(grads[i].Rows, want[i].Rows) || !(off < 1e-5) {
			t.Errorf("layer %d: %d rows, want %d; off by %.3g", i, len(grads[i].Rows), len(want[i].Rows), off)
		}
	}
}

// TestCloseFrees: what a graph kept for the backward is collected after its end.
func TestCloseFrees(t *testing.T) {
	f := newFixture(t)
	buffer := func() weak.Pointer[float32] {
		g, err := newGraph(f.m, f.training(t, f.set(t, "a", 0.1, 1)), 60)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := g.run(newBatch(f.sequences(1))); err != nil {
			t.Fatal(err)
		}
		p := weak.Make(&g.x[0])
		if err := g.close(); err != nil {
			t.Fatal(err)
		}
		return p
	}()
	for range 10 {
		if runtime.GC(); buffer.Value() == nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // finalizers run beside
	}
	t.Error("the graph's input is still there")
}

// TestPartsInTurn: what is to happen before each part of a batch happens before each.
func TestPartsInTurn(t *testing.T) {
	f := newFixture(t)
	seqs := f.sequences(3)
	g, err := newGraph(f.m, f.training(t, f.set(t, "a", 0.3)), longest(seqs))
	if err != nil {
		t.Fatal(err)
	}
	var calls []int
	g.part = func(i, of int) { calls = append(calls, i, of) }
	if _, _, err := g.run(newBatch(seqs)); err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 3, 1, 3, 2, 3}; !slices.Equal(calls, want) {
		t.Errorf("called with %v, want %v", calls, want)
	}
	if err := g.close(); err != nil {
		t.Error(err)
	}
}
