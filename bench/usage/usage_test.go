package main

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// TestPoint compares the figures with ones worked out by hand.
func TestPoint(t *testing.T) {
	u := use{hits: make([]uint32, 4), gates: make([]float64, 4)}
	for _, c := range []uint32{0, 0, 0, 1} {
		u.add(c, 0.5)
	}
	u.add(1, 0.5)
	u.add(1, 0.5)
	p := u.point(3, 6)
	want := point{Tokens: 3, Selections: 6, Hit: 0.5, KL: math.Ln2, GateKL: math.Ln2, Max: 0.5}
	if math.Abs(p.KL-want.KL) > 1e-12 || math.Abs(p.GateKL-want.GateKL) > 1e-12 {
		t.Errorf("%+v, want %+v", p, want)
	}
	if p.KL, p.GateKL = want.KL, want.GateKL; p != want {
		t.Errorf("%+v, want %+v", p, want)
	}
}

// TestRouters makes every kind of router from inputs whose dimensions differ a thousandfold, and wants those with
// normalised queries to use the cells more evenly than those without, and temperatures that fit the scores.
func TestRouters(t *testing.T) {
	m, err := base.Open(base.Builtin, base.Options{Precision: kernels.F32})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	hidden := m.Model.Config.Hidden
	rng := rand.New(rand.NewPCG(1, 1))
	b := &bench{base: m, config: retrieval.Config{Heads: 2, TopK: 4, SubKeys: 16, HalfDim: 8}, calibrate: 1024, tokens: 2048, seed: 3, pool: kernels.NewPool(1)}
	defer b.pool.Close()
	x := make([]float32, (b.calibrate+b.tokens)*hidden)
	for i := range x {
		x[i] = float32(rng.NormFloat64() * math.Pow(1000, float64(i%hidden)/float64(hidden)))
		if i%hidden == hidden-1 {
			x[i] += 5000
		}
	}
	kl := map[string]float64{}
	for _, how := range makes {
		r, err := b.route(context.Background(), how, x)
		if err != nil {
			t.Fatalf("%s: %v", how.name, err)
		}
		last := r.Curve[len(r.Curve)-1]
		kl[how.name] = last.KL
		if last.Tokens != b.tokens || last.Selections != b.tokens*8 || !(last.GateKL >= 0) {
			t.Errorf("%s: %+v", how.name, last)
		}
	}
	if !(kl[uniformName] < kl["unit, random"] && kl["unit, random"] < kl["raw, random"] && kl["whitened, random"] < kl["raw, random"]) {
		t.Errorf("divergence from uniform: %v", kl)
	}
	l, err := b.layer(context.Background(), made{queries: unit, keys: random}, x[:b.calibrate*hidden])
	if err != nil {
		t.Fatal(err)
	}
	var r retrieval.Routing
	l.Route(b.pool, &r, x, 512)
	var std float64
	for i := 0; i < len(r.Gates); i += l.TopK {
		std += deviation(r.Gates[i:i+l.TopK]) * float64(l.TopK) / float64(len(r.Gates))
	}
	if math.Abs(std-1) > 0.1 {
		t.Errorf("selected scores have a standard deviation of %g temperatures, want 1", std)
	}
}

func TestFloats(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.f32")
	if v, err := readFloats(file, 2); v != nil || err != nil {
		t.Errorf("no file: %v, %v", v, err)
	}
	want := []float32{1.5, float32(math.Inf(-1))}
	if err := writeFloats(file, want); err != nil {
		t.Fatal(err)
	}
	if v, err := readFloats(file, 2); !slices.Equal(v, want) || err != nil {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := readFloats(file, 3); err == nil {
		t.Error("half a file passes")
	}
}
