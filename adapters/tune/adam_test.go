package tune

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/adapters/peer"
)

// TestAdamIsDense: rows touched at every step move as under dense Adam, checked against the definition in float64.
func TestAdamIsDense(t *testing.T) {
	const width = 5
	tb := &peer.Table{Rows: peer.NewRows(2, width, peer.F32)}
	for i := range tb.Rows.F32 {
		tb.Rows.F32[i] = float32(i)
	}
	a := newAdam(&Options{Beta1: 0.9, Beta2: 0.99}, []*peer.Table{tb})
	w, m, v := float64(tb.Rows.F32[1]), 0.0, 0.0
	for step := 1; step <= 20; step++ {
		g := &peer.RowGrad{Width: width, Rows: []uint32{0}, Values: make([]float32, width)}
		d := math.Sin(float64(step))
		g.Values[1] = float32(d)
		a.update(nil, []*peer.Table{tb}, []*peer.RowGrad{g}, 0.01, 0.5)
		d *= 0.5
		m, v = 0.9*m+0.1*d, 0.99*v+0.01*d*d
		w -= 0.01 * (m / (1 - math.Pow(0.9, float64(step)))) / (math.Sqrt(v/(1-math.Pow(0.99, float64(step)))) + 1e-8)
	}
	if got := float64(tb.Rows.F32[1]); math.Abs(got-w) > 1e-4 {
		t.Errorf("%v, want %v", got, w)
	}
	if tb.Rows.F32[width+1] != width+1 {
		t.Error("a row without gradient moved")
	}
}

// TestRatio: what writes moves at its own rate, everything else as without one.
func TestRatio(t *testing.T) {
	const in = 3
	var rows [][]float32
	for _, o := range []Options{{Ratio: 1, LearningRate: 0.01}, {Ratio: 4, LearningRate: 0.01}, {Ratio: 1, LearningRate: 0.04}} {
		tb := &peer.Table{Kind: neuron.SiLU, Dims: adapters.Dims{In: in, Out: in}, Rows: peer.NewRows(1, 2*in, peer.F32)}
		o.Beta1, o.Beta2 = 0.9, 0.99
		a := newAdam(&o, []*peer.Table{tb})
		for step := range 5 {
			g := &peer.RowGrad{Width: 2 * in, Rows: []uint32{0}}
			for i := range 2 * in {
				g.Values = append(g.Values, float32(math.Sin(float64(step+i))))
			}
			a.update(nil, []*peer.Table{tb}, []*peer.RowGrad{g}, float32(o.LearningRate), 1)
		}
		rows = append(rows, tb.Rows.F32)
	}
	slow, both, fast := rows[0], rows[1], rows[2]
	if !slices.Equal(both[:in], slow[:in]) || !slices.Equal(both[in:], fast[in:]) || slices.Equal(slow, fast) {
		t.Errorf("%v at ratio 4, %v at 1, %v at four times the rate", both, slow, fast)
	}
}

func TestSchedule(t *testing.T) {
	s := Schedule{Peak: 1, WarmUp: 4, Steps: 104, Floor: 0.1}
	for step, want := range map[int]float64{0: 0.2, 3: 0.8, 4: 1, 54: 0.55, 104: 0.1, 500: 0.1} {
		if got := s.At(step); math.Abs(got-want) > 1e-9 {
			t.Errorf("step %d: %v, want %v", step, got, want)
		}
	}
	s.Decay = Linear
	for step, want := range map[int]float64{0: 0.2, 4: 1, 29: 0.775, 104: 0.1, 500: 0.1} {
		if got := s.At(step); math.Abs(got-want) > 1e-9 {
			t.Errorf("step %d: %v, want %v", step, got, want)
		}
	}
}

// TestClip: after one step Adam's first moments are (1-β1) times the clipped gradient, whose norm is Clip and no more.
func TestClip(t *testing.T) {
	const clip = 0.01
	f := newFixture(t)
	tr := f.training(t, f.set(t, "a", 0.1))
	var saved bytes.Buffer
	norm := 0.0
	o := Options{
		Steps: 2, BatchTokens: 40, Clip: clip, CheckpointEvery: 1,
		Checkpoint: func(write func(io.Writer) error) error { return write(&saved) },
		Progress: func(p Progress) {
			if p.Step == 1 {
				norm = p.GradNorm
			}
		},
	}
	if _, err := Run(ctx, f.m, tr, f.sequences(6), nil, o); err != nil {
		t.Fatal(err)
	}
	o.Defaults()
	r := run{t: tr, tables: tr.Set.Tables}
	r.adam = newAdam(&o, r.tables)
	b := saved.Bytes()
	src := bytes.NewReader(b[8+binary.LittleEndian.Uint64(b):])
	for _, x := range r.arrays() {
		if err := binary.Read(src, binary.LittleEndian, x); err != nil {
			t.Fatal(err)
		}
	}
	var sum float64
	for _, a := range r.adam.tables {
		for _, m := range a.M {
			sum += float64(m) * float64(m)
		}
	}
	if got := math.Sqrt(sum) / (1 - o.Beta1); norm < 2*clip || math.Abs(got-clip) > 1e-3*clip {
		t.Errorf("a gradient of norm %v counts as one of %v, want %v", norm, got, clip)
	}
}
