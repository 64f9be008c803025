package peer

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/bottleneck"
	"github.com/gopeft/peft/adapters/ia3"
	"github.com/gopeft/peft/adapters/lora"
	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// testConfig is the shape of the base that testRouter's layers stand in.
var testConfig = llama.Config{Hidden: testHidden, Layers: 6, Heads: 4, KVHeads: 2, HeadDim: 6, FFN: 40}

// spot is where a set of some kind may stand, or may not: refused.
type spot struct {
	block   int
	site    llama.Site
	kind    adapters.Kind
	routed  bool
	refused bool
}

var (
	testLoRA  = lora.Kind{Rank: 3, Alpha: 5}
	testDoRA  = lora.DoRA{Kind: testLoRA}
	testNeck  = bottleneck.Kind{Rank: 2, Act: bottleneck.ReLU}
	testOnOut = bottleneck.Kind{Rank: 2, Act: bottleneck.GELU, Serial: true}
)

// siteSet returns a set with random rows at the given places, in cells that overlap, or in every one.
func siteSet(t interface{ Fatal(...any) }, r *retrieval.Router, name string, seed uint64, everywhere bool, spots ...spot) *Set {
	rnd := rand.New(rand.NewPCG(seed, 4))
	var all []Spot
	for _, s := range spots {
		at := Spot{Block: s.block, Site: s.site, Kind: s.kind, Dims: Widths(&testConfig, s.site, s.kind)}
		if s.routed {
			var posts []retrieval.Post
			for c := range 36 {
				if everywhere || rnd.IntN(3) > 0 {
					posts = append(posts, retrieval.Post{Cell: uint32(c), Expert: uint32(c % 5)})
				}
			}
			if everywhere {
				for i := range posts {
					posts[i].Expert = 0
				}
			}
			experts := 5
			if everywhere {
				experts = 1
			}
			var err error
			if at.Occupancy, err = retrieval.NewOccupancy(36, experts, posts); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, at)
	}
	s, err := NewSetAt(nil, name, r, all, seed, F32)
	if err != nil {
		t.Fatal(err)
	}
	for _, tb := range s.Tables {
		for i := range tb.Rows.F32 {
			tb.Rows.F32[i] = 0.2 * float32(rnd.NormFloat64())
		}
		if w, ok := tb.Kind.(adapters.Weighted); ok {
			lo, hi := w.Constant(tb.Dims)
			for i := lo; i < hi; i++ {
				tb.Rows.F32[i] = 1 + rnd.Float32()
			}
		}
	}
	return s
}

// run is a pass over blocks of made-up linear layers, each a copy of its input's values: what every layer gives, and
// the stream beside the feed-forward layers.
func run(t interface{ Fatal(...any) }, p *kernels.Pool, r *retrieval.Router, tokens int, sets ...*Set) []float32 {
	stack, err := NewStack(r, p, sets...)
	if err != nil {
		t.Fatal(err)
	}
	pass := stack.Begin()
	defer pass.End()
	sited := pass.(llama.Sited)
	rnd := rand.New(rand.NewPCG(6, 6))
	var all []float32
	linear := func(block int, s llama.Site) {
		in, out := testConfig.Dims(s)
		x := randn(rnd, tokens*in)
		y := make([]float32, tokens*(out+3)) // rows with gaps
		l := sited.Linear(block, s)
		read := x
		if l != nil {
			read = l.Before(x, tokens)
		}
		for i := range tokens {
			for j := range out {
				y[i*(out+3)+j] = read[i*in+j%in]
			}
		}
		if l != nil {
			if err := l.After(y, out+3, x, tokens); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, y...)
	}
	for block := range testConfig.Layers {
		for _, s := range llama.LinearSites() {
			if s == llama.Gate {
				x := randn(rnd, tokens*testHidden)
				if err := sited.FFNInput(block, x, tokens); err != nil {
					t.Fatal(err)
				}
				for _, s := range []llama.Site{llama.Gate, llama.Up, llama.Down} {
					linear(block, s)
				}
				y := randn(rnd, tokens*testHidden)
				if err := pass.Forward(block, y, x, tokens); err != nil {
					t.Fatal(err)
				}
				all = append(all, y...)
				break
			}
			linear(block, s)
		}
	}
	return all
}

// places are those of a set that has every kind at every kind of site.
var places = []spot{
	{0, llama.Query, testLoRA, false, false}, {0, llama.Key, ia3.Output, false, false}, {0, llama.Out, testOnOut, false, false}, {0, llama.Down, ia3.Input, false, false},
	{1, llama.Beside, testLoRA, true, false}, {1, llama.Gate, testLoRA, true, false}, {1, llama.Up, neuron.SiLU, true, false}, {1, llama.Down, ia3.Input, true, false},
	{3, llama.Query, testLoRA, true, false}, {3, llama.Value, ia3.Output, true, false}, {3, llama.Out, testOnOut, true, false},
	{4, llama.Beside, testNeck, false, false}, {4, llama.Query, testNeck, false, false}, {4, llama.Value, lora.Kind{Rank: 1, Alpha: 1}, false, false}, {4, llama.Down, testLoRA, true, false},
	{5, llama.Query, testLoRA, true, false},
}

// TestSitesAlgebra: at every site and for every kind, untrained sets change nothing, sets add up in any order, and a set
// gives the same bits whoever else is in the registry and however many threads there are.
func TestSitesAlgebra(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	r := testRouter(3)
	rapid.Check(t, func(t *rapid.T) {
		tokens := rapid.SampledFrom([]int{1, 2, 9, 150}).Draw(t, "tokens")
		seed := rapid.Uint64().Draw(t, "seed")
		a, b := siteSet(t, r, "a", seed, false, places...), siteSet(t, r, "b", seed+1, false, places...)
		none, ya, yb := run(t, nil, r, tokens), run(t, nil, r, tokens, a), run(t, pool, r, tokens, b)
		ab := run(t, pool, r, tokens, a, b)
		if !slices.Equal(ab, run(t, nil, r, tokens, b, a)) {
			t.Fatal("the order, or the threads, change bits")
		}
		for i, v := range ab {
			want := ya[i] + yb[i] - none[i]
			if math.Abs(float64(v-want)) > 1e-4*(1+math.Abs(float64(want))) {
				t.Fatalf("value %d: %g with both, %g and %g alone, %g with none", i, v, ya[i], yb[i], none[i])
			}
		}
		for _, tb := range b.Tables {
			for e := range tb.Experts() {
				tb.Kind.Init(tb.Rows.Row(e, nil), tb.Dims, rand.New(rand.NewPCG(1, uint64(e))))
			}
		}
		if !slices.Equal(none, run(t, nil, r, tokens, b)) || !slices.Equal(ya, run(t, pool, r, tokens, a, b)) {
			t.Fatal("an untrained set changes something")
		}
		if slices.Equal(none, ya) {
			t.Fatal("nothing contributes")
		}
	})
}

// TestShare: at linear layers an expert that stands in every cell is as strong as one that is always on.
func TestShare(t *testing.T) {
	r := testRouter(3)
	var on, routed []spot
	for _, k := range []adapters.Kind{testLoRA, ia3.Output, testNeck, testOnOut, neuron.SiLU} {
		for _, s := range llama.LinearSites() {
			on, routed = []spot{{4, s, k, false, false}}, []spot{{4, s, k, true, false}}
			a, b := siteSet(t, r, "a", 5, true, on...), siteSet(t, r, "a", 5, true, routed...)
			copy(b.Tables[0].Rows.F32, a.Tables[0].Rows.F32)
			want := run(t, nil, r, 7, a)
			for i, v := range run(t, nil, r, 7, b) {
				if math.Abs(float64(v-want[i])) > 2e-5*(1+math.Abs(float64(v))) {
					t.Fatalf("%s at %s: value %d is %g in every cell, %g always on", k.Name(), s, i, v, want[i])
				}
			}
		}
	}
}

// TestSitesCodec: what is stored of such a set comes back.
func TestSitesCodec(t *testing.T) {
	r := testRouter(3)
	s := siteSet(t, r, "a", 8, false, append(slices.Clone(places), spot{5, llama.Value, testDoRA, false, false})...)
	s.Tables[4].Hits, s.Tables[4].Counts, s.Tables[4].Fresh = make([]uint32, 5), make([]uint32, 36), 2
	for _, f := range []Format{F32, BF16} {
		p := encoded(t, s, f)
		back, err := Decode(2, p.Open)
		if err != nil {
			t.Fatal(err)
		}
		back.Name = s.Name
		if err := errors.Join(back.Check(r), back.CheckBase(&testConfig)); err != nil {
			t.Fatal(err)
		}
		if back.Kind() != s.Kind() || back.Parameters() != s.Parameters() || f == F32 && !slices.Equal(run(t, nil, r, 9, back), run(t, nil, r, 9, s)) {
			t.Errorf("another set came back: %s, %d parameters", back.Kind(), back.Parameters())
		}
		for name, b := range encoded(t, back, f) {
			if !bytes.Equal(p[name].Bytes(), b.Bytes()) {
				t.Errorf("part %s differs after a round trip", name)
			}
		}
	}
	for name, damage := range map[string]func(p Parts){
		"kind":    func(p Parts) { replace(p, `"kind":"lora-r3-a5"`, `"kind":"lora-r4-a5"`) },
		"widths":  func(p Parts) { replace(p, `"in":32`, `"in":0`) },
		"site":    func(p Parts) { replace(p, `"site":"q_proj"`, `"site":"p_proj"`) },
		"order":   func(p Parts) { replace(p, `"site":"q_proj"`, `"site":"v_proj"`) },
		"format":  func(p Parts) { replace(p, `"format":2`, `"format":1`) },
		"no rows": func(p Parts) { delete(p, "000.q_proj/rows") },
	} {
		p := encoded(t, s, F32)
		damage(p)
		if _, err := Decode(2, p.Open); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPlaces: kinds stand only where they can.
func TestPlaces(t *testing.T) {
	r := testRouter(3)
	for _, s := range []spot{
		{1, llama.Beside, ia3.Output, false, true},
		{1, llama.Beside, testOnOut, false, true},
		{0, llama.Beside, testLoRA, false, true},
		{0, llama.Query, ia3.Input, false, true},
		{0, llama.Out, ia3.Input, false, false},
		{1, llama.Query, testLoRA, true, true},
		{2, llama.Query, testLoRA, true, false},
		{2, llama.Gate, testLoRA, true, true},
		{2, llama.Value, testDoRA, true, true},
		{2, llama.Value, testDoRA, false, false},
	} {
		at := Spot{Block: s.block, Site: s.site, Kind: s.kind, Dims: Widths(&testConfig, s.site, s.kind)}
		if s.routed {
			at.Occupancy = retrieval.FullGrid(36)
		}
		if _, err := NewSetAt(nil, "a", r, []Spot{at}, 1, F32); errors.Is(err, ErrPlace) != s.refused || err != nil && !s.refused {
			t.Errorf("block %d, %s, %s, routed %t: %v", s.block, s.site, s.kind.Name(), s.routed, err)
		}
	}
	two := []*Set{siteSet(t, r, "a", 1, false, spot{2, llama.Value, testDoRA, false, false}), siteSet(t, r, "b", 2, false, spot{2, llama.Value, testDoRA, false, false})}
	if _, err := NewStack(r, nil, two...); !errors.Is(err, ErrPlace) {
		t.Errorf("two sets of DoRA at one layer: %v", err)
	}
	wide := siteSet(t, r, "a", 1, false, spot{2, llama.Value, testLoRA, false, false})
	wide.Tables[0].Dims.In++
	if err := wide.CheckBase(&testConfig); !errors.Is(err, ErrPlace) {
		t.Errorf("widths that are not the base's: %v", err)
	}
}

// TestDoRAKeepsOutputs: beside a DoRA, another set at the same layer still reads what the frozen layer gave.
func TestDoRAKeepsOutputs(t *testing.T) {
	r := testRouter(3)
	d := siteSet(t, r, "d", 1, false, spot{2, llama.Value, testDoRA, false, false})
	v := siteSet(t, r, "v", 2, false, spot{2, llama.Value, ia3.Output, false, false})
	none, yd, yv, both := run(t, nil, r, 5), run(t, nil, r, 5, d), run(t, nil, r, 5, v), run(t, nil, r, 5, d, v)
	for i := range both {
		if want := yd[i] + yv[i] - none[i]; math.Abs(float64(both[i]-want)) > 1e-4*(1+math.Abs(float64(want))) {
			t.Fatalf("value %d: %g, want %g", i, both[i], want)
		}
	}
}
