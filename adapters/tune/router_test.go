package tune

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// source samples inputs of the fixture's blocks again.
func (f *fixture) recorder(t *testing.T) *peer.Recorder {
	t.Helper()
	rec := peer.NewRecorder(f.router.Blocks(), f.router.Hidden, 400)
	for i := range 4 {
		if _, err := f.m.Forward(llama.One(ids(uint64(i), 100, f.m.Config.Vocab), nil), rec); err != nil {
			t.Fatal(err)
		}
	}
	return rec
}

// general returns a set of one expert in each cell, to train with its router.
func (f *fixture) general(t *testing.T) *peer.Training {
	t.Helper()
	var places []peer.Placement
	for _, l := range f.router.Layers {
		places = append(places, peer.Placement{Occupancy: retrieval.FullGrid(l.Cells())})
	}
	set, err := peer.NewSet(f.pool, "general", neuron.SiLU, f.router, places, 1, peer.F32)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := peer.NewTraining(f.router, f.pool, set)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestTrainRouter: the loss falls, the router changes, its biases stay tied, the same seed gives the same bits and another
// seed does not.
func TestTrainRouter(t *testing.T) {
	var first []byte
	for i, seed := range []uint64{1, 1, 2} {
		f := newFixture(t)
		before, err := f.router.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		var losses []float64
		tr := f.general(t)
		err = TrainRouter(ctx, f.m, tr, f.sequences(6), Options{Steps: 30, BatchTokens: 80, LearningRate: 1e-2, Seed: seed,
			Progress: func(p Progress) { losses = append(losses, p.Loss) }}, RouterRate)
		if err != nil {
			t.Fatal(err)
		}
		if len(losses) != 30 || !(losses[29] < losses[0]) {
			t.Errorf("losses %v, want 30 that fall", losses)
		}
		router, rep, err := retrieval.Refit(f.pool, f.router, 0.2, f.recorder(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(rep.Layers) != 2 || rep.HeldOut != 80 || rep.Tokens != 320 {
			t.Errorf("report %+v", rep)
		}
		l := router.Layers[0]
		if k := l.Keys[1][:l.HalfDim]; l.Bias[1][0] != -kernels.Dot(k, k)/2 {
			t.Errorf("bias %g of sub-key %v", l.Bias[1][0], k)
		}
		got, err := router.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case bytes.Equal(got, before):
			t.Error("the router is as it was")
		case i == 0:
			first = got
		case bytes.Equal(got, first) != (seed == 1):
			t.Errorf("seed %d: same router %v", seed, seed != 1)
		}
	}
}

// TestRouterGradient compares the gradient of the router's parts with differences of the loss of the whole model, at the
// lowest layer, whose input has no gradient of its own, and at the next.
func TestRouterGradient(t *testing.T) {
	f := newFixture(t)
	tr := f.general(t)
	for _, tb := range tr.Set.Tables {
		for i := range tb.Rows.F32 {
			tb.Rows.F32[i] = float32(math.Sin(float64(i))) * 0.3
		}
	}
	g, err := newGraph(f.m, tr, 40)
	if err != nil {
		t.Fatal(err)
	}
	b := newBatch(f.sequences(1))
	var layers []*routerLayer
	for _, blk := range tr.Blocks() {
		layers = append(layers, newRouterLayer(tr.Layer(blk), 1))
	}
	run := func() (float64, []uint32) {
		loss, _, err := g.run(b)
		if err != nil {
			t.Fatal(err)
		}
		var cells []uint32
		for _, l := range layers {
			cells = append(cells, l.train.Routing().Cells...)
		}
		return float64(loss), cells
	}
	_, cells := run()
	grads := make([][][]float32, len(layers)) // each further run adds to the layers' own
	for i, l := range layers {
		l.tieBias()
		for _, p := range l.params {
			grads[i] = append(grads[i], slices.Clone(p.g))
		}
	}
	for i, l := range layers {
		grads := grads[i]
		for j, p := range l.params {
			norm := math.Sqrt(float64(kernels.Dot(grads[j], grads[j])))
			old := slices.Clone(p.w)
			shift := func(h float64) (float64, bool) {
				copy(p.w, old)
				kernels.Axpy(float32(h/norm), grads[j], p.w)
				l.train.Router.TieBias()
				loss, c := run()
				return loss, slices.Equal(c, cells)
			}
			h, ok := 8e-3, false
			for ; h > 1e-4 && !ok; h /= 2 { // as far as no other cell is selected
				up, same := shift(h)
				down, too := shift(-h)
				if ok = same && too; ok {
					if got := (up - down) / (2 * h); math.Abs(got-norm) > 0.02*norm+3e-7/h {
						t.Errorf("layer %d, part %d: derivative %g by differences, %g by backward", i, j, got, norm)
					}
				}
			}
			if !ok {
				t.Errorf("layer %d, part %d: another cell is selected at every distance", i, j)
			}
			copy(p.w, old)
			l.train.Router.TieBias()
		}
	}
}

func TestTrainRouterRefusals(t *testing.T) {
	f := newFixture(t)
	o := Options{Steps: 2, BatchTokens: 80}
	if err := TrainRouter(ctx, f.m, f.general(t), nil, o, RouterRate); !errors.Is(err, ErrData) {
		t.Errorf("no text: %v", err)
	}
	if err := TrainRouter(ctx, f.m, f.general(t), f.sequences(2), o, 0); err == nil {
		t.Error("no rate: no error")
	}
	if err := TrainRouter(ctx, f.m, f.general(t), f.sequences(2), Options{Steps: 2, BatchTokens: 3}, RouterRate); err == nil {
		t.Error("long sequences: no error")
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := TrainRouter(done, f.m, f.general(t), f.sequences(2), o, RouterRate); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
