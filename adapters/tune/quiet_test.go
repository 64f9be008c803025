package tune

import (
	"math"
	"slices"
	"testing"

	"github.com/gopeft/peft/adapters/peer"
)

// TestQuietGradient compares the penalty's gradient with central differences, for values of some rows of each layer.
func TestQuietGradient(t *testing.T) {
	f := newFixture(t)
	tr := f.training(t, f.set(t, "a", 0.3), f.set(t, "b", 0.3))
	q, err := newQuiet(ctx, f.m, tr, [][]Sequence{f.sequences(6), f.sequences(2)}, [][]Sequence{f.sequences(3), f.sequences(9)[6:]}, 0.7, 3)
	if err != nil {
		t.Fatal(err)
	}
	penalty := func() (float64, []*peer.RowGrad) {
		grads := []*peer.RowGrad{{}, {}}
		for i, tb := range tr.Set.Tables {
			grads[i].Width = tb.Rows.Width
		}
		loss, err := q.add(4, grads)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range grads { // of the layers, which use it again
			g.Values = slices.Clone(g.Values)
		}
		return loss, grads
	}
	_, grads := penalty()
	const h = 1e-2
	for i, tb := range tr.Set.Tables {
		for j := 0; j < len(grads[i].Rows); j += 3 {
			row := int(grads[i].Rows[j])
			for _, at := range []int{0, tb.Rows.Width / 2, tb.Rows.Width - 1} {
				v := &tb.Rows.F32[row*tb.Rows.Width+at]
				old := *v
				*v = old + h
				up, _ := penalty()
				*v = old - h
				down, _ := penalty()
				*v = old
				want, got := (up-down)/(2*h), float64(grads[i].Row(j)[at])
				if math.Abs(got-want) > 1e-3*math.Abs(want)+2e-5 {
					t.Errorf("layer %d, row %d, value %d: gradient %g, differences %g", i, row, at, got, want)
				}
			}
		}
	}
}

// TestQuiet trains with and without the penalty: with it the loss on background text stays nearer to the base's, and what
// is to be learned is learned all the same.
func TestQuiet(t *testing.T) {
	f := newFixture(t)
	seqs, background := f.sequences(4), f.sequences(40)[4:]
	nll := func(tr *peer.Training, s []Sequence) float64 {
		v, _, err := Evaluate(ctx, f.m, s, tr, 40, nil)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	o := options()
	o.Steps, o.EvalEvery, o.LearningRate, o.Background = 150, 0, 3e-2, [][]Sequence{background[:30]}
	var learned, harm [2]float64
	for i, weight := range []float64{0, 0.3} {
		tr := f.training(t, f.set(t, "a", 0))
		bare := nll(tr, background[30:])
		o.Quiet = weight
		if _, err := Run(ctx, f.m, tr, seqs, seqs, o); err != nil {
			t.Fatal(err)
		}
		learned[i], harm[i] = nll(tr, seqs), nll(tr, background[30:])-bare
	}
	t.Log(learned, harm)
	if harm[1] > 0.8*harm[0] || learned[1] > 2 {
		t.Errorf("without and with the penalty: loss %v on the data, %v more on other text", learned, harm)
	}
}

// TestQuietTexts: every text weighs as much as one of the background, but many others together no more than four of them.
func TestQuietTexts(t *testing.T) {
	f := newFixture(t)
	tr := f.training(t, f.set(t, "a", 0.3))
	text := f.sequences(6) // so short that a step looks at all of it
	texts := func(n int) [][]Sequence { return slices.Repeat([][]Sequence{text}, n) }
	penalty := func(background, others int) float64 {
		t.Helper()
		q, err := newQuiet(ctx, f.m, tr, texts(background), texts(others), 0.7, 3)
		if err != nil {
			t.Fatal(err)
		}
		grads := []*peer.RowGrad{{Width: tr.Set.Tables[0].Rows.Width}, {Width: tr.Set.Tables[1].Rows.Width}}
		loss, err := q.add(4, grads)
		if err != nil {
			t.Fatal(err)
		}
		return loss
	}
	one := penalty(1, 0)
	if one <= 0 {
		t.Fatalf("the penalty on the background is %g", one)
	}
	for _, c := range []struct {
		background, others int
		want               float64
	}{{1, 1, 2}, {0, 1, 1}, {1, 4, 5}, {1, 8, 5}, {6, 0, 6}, {2, 8, 6}} {
		if got := penalty(c.background, c.others) / one; math.Abs(got-c.want) > 1e-4 {
			t.Errorf("background of %d texts and %d more: %g times the penalty on one, want %g", c.background, c.others, got, c.want)
		}
	}
	if q, err := newQuiet(ctx, f.m, tr, nil, [][]Sequence{nil}, 1, 0); q != nil || err != nil {
		t.Errorf("without text: %v, %v", q, err)
	}
}

// TestQuietBeside: another text's sequences are read in turn by the base alone and with each set that is beside the trained
// one; the background is read by the base alone.
func TestQuietBeside(t *testing.T) {
	f := newFixture(t)
	tr := f.training(t, f.set(t, "a", 0), f.set(t, "b", 0.3), f.set(t, "c", 0.6))
	one := f.sequences(1)
	text := slices.Repeat(one, 4)
	q, err := newQuiet(ctx, f.m, tr, [][]Sequence{text}, [][]Sequence{text}, 0.7, 3)
	if err != nil {
		t.Fatal(err)
	}
	last := q.blocks[len(q.blocks)-1]
	read := func(text, sequence int) []uint16 {
		n := len(one[0].Tokens) * q.hidden
		return q.texts[text].inputs[last][sequence*n:][:n]
	}
	alone := read(0, 0)
	for i, same := range []bool{true, false, false, true} { // alone, with b, with c, alone
		if !slices.Equal(read(0, i), alone) {
			t.Errorf("sequence %d of the background is not read as by the base alone", i)
		}
		if slices.Equal(read(1, i), alone) != same {
			t.Errorf("sequence %d of another text is read as by the base alone: %v", i, !same)
		}
	}
	if slices.Equal(read(1, 1), read(1, 2)) {
		t.Error("two sets are read as one")
	}
}
