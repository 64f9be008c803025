package peer

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// TestTrainingGradients compares rows' and input's gradients to finite differences, with another set on. The router is
// frozen: routing is held, so x only moves where no selection and no gate moves, which needs a constant gate: one head
// with k = 1.
func TestTrainingGradients(t *testing.T) {
	r := testRouter(5)
	for _, l := range r.Layers {
		l.TopK = 1 // gate 1 whatever the score
	}
	rnd := rand.New(rand.NewPCG(6, 6))
	const tokens = 9
	x, dy := randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden)
	a, b := testSet(t, r, "a", 7, F32), testSet(t, r, "b", 8, BF16)
	tr, err := NewTraining(r, nil, a, b)
	if err != nil {
		t.Fatal(err)
	}
	l := tr.Layer(4)
	cells := func() []uint32 {
		var route retrieval.Routing
		l.Router.Route(nil, &route, x, tokens)
		return route.Cells
	}
	loss := func() float64 {
		y := make([]float32, len(x))
		if err := l.Forward(y, x, tokens); err != nil {
			t.Fatal(err)
		}
		var sum float64
		for i, v := range y {
			sum += float64(v) * float64(dy[i])
		}
		return sum
	}
	loss()
	dx := make([]float32, len(x))
	g, err := l.Backward(dx, dy)
	if err != nil {
		t.Fatal(err)
	}
	rows := l.Table().Rows
	drow := dense(g, rows.Len())
	home := cells()
	check := func(what string, v, grad []float32) {
		t.Helper()
		checked := 0
		for i := range v {
			const h = 4e-3
			old := v[i]
			v[i] = old + h
			up, same := loss(), slices.Equal(home, cells())
			v[i] = old - h
			down := loss()
			same = same && slices.Equal(home, cells())
			v[i] = old
			if !same {
				continue
			}
			checked++
			if want := (up - down) / (2 * h); math.Abs(want-float64(grad[i])) > 1e-2*(1+math.Abs(want)) {
				t.Fatalf("%s[%d]: %g, finite differences %g", what, i, grad[i], want)
			}
		}
		if checked < len(v)*2/3 {
			t.Fatalf("%s: %d of %d values checked", what, checked, len(v))
		}
	}
	check("rows", rows.F32, drow)
	check("x", x, dx)
}

// TestTrainingSameBits: the stack's output but for the order of its sums, and bits that do not depend on the number of
// threads, twice over.
func TestTrainingSameBits(t *testing.T) {
	r := testRouter(5)
	rnd := rand.New(rand.NewPCG(6, 6))
	const tokens = 333
	x, dy, y0 := randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden)
	var first []float32
	for _, threads := range []int{1, 2, 3} {
		pool := kernels.NewPool(threads)
		a, b := testSet(t, r, "b", 7, F32), testSet(t, r, "a", 8, BF16)
		tr, err := NewTraining(r, pool, a, b)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			var all []float32
			want := output(t, pool, r, y0, x, tokens, a, b)
			y := slices.Clone(y0)
			for _, block := range r.Blocks() {
				if err := tr.Forward(block, y, x, tokens); err != nil {
					t.Fatal(err)
				}
				dx := make([]float32, len(x))
				g, err := tr.Layer(block).Backward(dx, dy)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.IsSorted(g.Rows) || len(g.Rows) == 0 {
					t.Fatal("rows", g.Rows)
				}
				all = append(append(all, dx...), dense(g, tr.Layer(block).Table().Rows.Len())...)
				all = append(all, float32(RowNorm(g)))
			}
			near(t, "training's forward against the stack's", y, want, 3e-5)
			all = append(all, y...)
			if first == nil {
				first = all
			}
			if !slices.Equal(all, first) {
				t.Fatalf("%d threads: other bits", threads)
			}
		}
		pool.Close()
	}
}

func TestTrainingWithoutTableHere(t *testing.T) {
	r := testRouter(2)
	a, b := testSet(t, r, "a", 1, F32), testSet(t, r, "b", 2, F32)
	a.Tables = a.Tables[1:] // only block 4
	tr, err := NewTraining(r, nil, a, b)
	if err != nil {
		t.Fatal(err)
	}
	l := tr.Layer(1)
	x := randn(rand.New(rand.NewPCG(1, 2)), 4*testHidden)
	dx := make([]float32, len(x))
	if err := l.Forward(make([]float32, len(x)), x, 4); err != nil {
		t.Fatal(err)
	}
	g, err := l.Backward(dx, x)
	if err != nil || g != nil || l.Trained() || l.Table() != nil {
		t.Error("gradient of rows that are not trained", g, err)
	}
	if kernels.Norm2(dx) == 0 {
		t.Error("the frozen set passes no gradient on")
	}
	if !slices.Equal(tr.Blocks(), []int{4}) {
		t.Error(tr.Blocks())
	}
}

// TestRowGradAdd adds gradients of the same rows and of others.
func TestRowGradAdd(t *testing.T) {
	grad := func(rows ...uint32) *RowGrad {
		g := &RowGrad{Width: 2, Rows: rows}
		for _, r := range rows {
			g.Values = append(g.Values, float32(r), -float32(r))
		}
		return g
	}
	for _, rows := range [][]uint32{{1, 4, 9}, {0, 4, 7, 12}, {20}, {}, {1}} {
		g := grad(1, 4, 9)
		g.Add(grad(rows...))
		want := map[uint32]float32{1: 1, 4: 4, 9: 9}
		for _, r := range rows {
			want[r] += float32(r)
		}
		if len(g.Rows) != len(want) || !slices.IsSorted(g.Rows) {
			t.Errorf("rows %v with %v make %v", []int{1, 4, 9}, rows, g.Rows)
		}
		for i, r := range g.Rows {
			if g.Row(i)[0] != want[r] || g.Row(i)[1] != -want[r] {
				t.Errorf("row %d is %v, want %g", r, g.Row(i), want[r])
			}
		}
	}
}

// TestBeside: the sets beside the trained one can be off, forward and backward, and come on again.
func TestBeside(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 3))
	r := testRouter(11)
	const tokens = 60
	x, y0, dy := randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden), randn(rnd, tokens*testHidden)
	a, b := testSet(t, r, "a", 1, F32), testSet(t, r, "b", 2, F32)
	both, err := NewTraining(r, nil, a, b)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := NewTraining(r, nil, a)
	if err != nil {
		t.Fatal(err)
	}
	pass := func(tr *Training) (y, dx []float32) {
		y, dx = slices.Clone(y0), make([]float32, len(x))
		for _, block := range r.Blocks() {
			if err := tr.Forward(block, y, x, tokens); err != nil {
				t.Fatal(err)
			}
			if _, err := tr.Layer(block).Backward(dx, dy); err != nil {
				t.Fatal(err)
			}
		}
		return y, dx
	}
	yBoth, dxBoth := pass(both)
	yAlone, dxAlone := pass(alone)
	if slices.Equal(yBoth, yAlone) || slices.Equal(dxBoth, dxAlone) {
		t.Fatal("the set beside it adds nothing, so that the test says nothing")
	}
	both.Beside(nil)
	if y, dx := pass(both); !slices.Equal(y, yAlone) || !slices.Equal(dx, dxAlone) {
		t.Error("a set that is switched off still adds something")
	}
	both.Beside(both.With)
	if y, dx := pass(both); !slices.Equal(y, yBoth) || !slices.Equal(dx, dxBoth) {
		t.Error("a set that is on again adds something else")
	}
}
