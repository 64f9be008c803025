package transfer

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gopeft/peft/adapters/exchange"
	"github.com/gopeft/peft/base/llama"
)

// TestDirections: singular directions add up to the product, stand at right angles and fall in strength.
func TestDirections(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		in, out, rank := 1+rnd.IntN(12), 1+rnd.IntN(12), 1+rnd.IntN(14)
		l := &exchange.LoRA{Rank: rank, Scale: float32(rnd.NormFloat64()), A: randn(rnd, rank*in), B: randn(rnd, out*rank)}
		all, err := directions(l, in, out)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) > min(in, out, rank) {
			t.Fatalf("%d directions of [%d, %d]·[%d, %d]", len(all), out, rank, rank, in)
		}
		for i := range out {
			for j := range in {
				var want, got float64
				for r := range rank {
					want += float64(l.Scale) * float64(l.B[i*rank+r]) * float64(l.A[r*in+j])
				}
				for _, d := range all {
					got += float64(d.b[i]) * float64(d.a[j])
				}
				if math.Abs(want-got) > 1e-4 {
					t.Fatalf("[%d, %d] is %g, want %g", i, j, got, want)
				}
			}
		}
		last := math.Inf(1)
		for i, d := range all {
			strength := dot(d.a, d.a) // as long as b
			if strength > last*(1+1e-5) || math.Abs(strength-dot(d.b, d.b)) > 1e-4*(1+strength) {
				t.Fatalf("strength %g after %g, the other side's %g", strength, last, dot(d.b, d.b))
			}
			last = strength
			for _, e := range all[:i] {
				if math.Abs(dot(d.a, e.a)) > 1e-3*(1+dot(e.a, e.a)) {
					t.Fatalf("directions are %g from a right angle", dot(d.a, e.a))
				}
			}
		}
	})
}

func dot(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// TestEverywhere: experts that stand in every cell are the adapter, at layers of which the router knows nothing too.
func TestEverywhere(t *testing.T) {
	m := tiny(t)
	r := router(m.Config.Hidden, 0)
	a, err := exchange.ReadPEFT(made+"/lora-patterns", &m.Config)
	if err != nil {
		t.Fatal(err)
	}
	always, err := ToSet("a", a, m, r)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewProbe(a, m, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	routed, err := p.Set("a", Routing{Cover: 1}) // nothing was probed
	if err != nil {
		t.Fatal(err)
	}
	in, on := 0, 0
	for _, tb := range routed.Tables {
		if tb.AlwaysOn() {
			on++
		} else {
			in++
		}
	}
	if in == 0 || on == 0 || routed.AlwaysOn() {
		t.Errorf("%d tables in cells, %d always on", in, on)
	}
	ids := []int32{3, 9, 4, 1, 17, 8}
	want := logits(t, m, ids, r, always)
	if d := largest(logits(t, m, ids, r, routed), want); !(d < 1e-4) {
		t.Errorf("logits %g away", d)
	}
	if d := largest(logits(t, m, ids, r), want); d < 1e-2 {
		t.Errorf("the adapter changes logits by %g only: the test shows nothing", d)
	}
}

// watch keeps what a block's feed-forward layer reads.
type watch struct {
	block int
	x     []float32
}

func (w *watch) Forward(block int, _, x []float32, tokens int) error {
	if block == w.block {
		w.x = append([]float32(nil), x...)
	}
	return nil
}

// TestProbe: over all cells a direction's response is the sum of |a·x| over the tokens but the first, once a head, and what
// it makes of a sample leaves the base as it is.
func TestProbe(t *testing.T) {
	m := tiny(t)
	r := router(m.Config.Hidden, 1)
	a := oneLoRA(m, llama.Up, 0.5)
	p, err := NewProbe(a, m, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	ids := []int32{3, 9, 4, 1, 17, 8, 2}
	w := &watch{block: 1}
	bare, err := m.ForwardTo(llama.One(ids, nil), w, p.Blocks())
	if err != nil {
		t.Fatal(err)
	}
	probed, err := m.ForwardTo(llama.One(ids, nil), p, p.Blocks())
	if err != nil {
		t.Fatal(err)
	}
	if d := largest(probed, bare); d != 0 {
		t.Errorf("the probe changes the stream by %g", d)
	}
	res := p.layers[layer{1, llama.Up}]
	cells, hid := 36, m.Config.Hidden
	for e, d := range res.parts {
		var want, got float64
		for tok := 1; tok < len(ids); tok++ {
			want += 2 * math.Abs(dot(d.a, w.x[tok*hid:(tok+1)*hid]))
		}
		for _, s := range res.sums[e*cells : (e+1)*cells] {
			got += s
		}
		if math.Abs(want-got) > 1e-3*want || want == 0 {
			t.Errorf("direction %d responds by %g, want %g", e, got, want)
		}
	}
	s, err := p.Set("a", Routing{Cover: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	if n := s.Tables[0].Occupancy.Occupied(); n < 1 || n >= cells {
		t.Errorf("half the response is in %d of %d cells", n, cells)
	}
	for _, cover := range []float64{0, 1.5, math.NaN()} {
		if _, err := p.Set("a", Routing{Cover: cover}); err == nil {
			t.Errorf("a share of %g passes", cover)
		}
	}
}

// TestCells: of a response the cells are taken that cover a share of it, first those that other texts do not select or,
// where there is no other text, those whose tokens respond most.
func TestCells(t *testing.T) {
	r := &response{mass: []float64{10, 1, 5, 1}}
	sums := []float64{50, 20, 25, 5}
	for _, c := range []struct {
		cover   float64
		against [][]uint32
		want    []uint32
	}{
		{0.15, nil, []uint32{1}},                               // 20 a token
		{0.9, nil, []uint32{1, 0, 2}},                          // 5 a token in the others
		{1, nil, []uint32{1, 0, 2, 3}},                         // all
		{0.4, [][]uint32{{97, 1, 1, 1}}, []uint32{2, 1}},       // the first cell is the background's
		{0.4, [][]uint32{{1, 1, 1, 1}}, []uint32{0}},           // and here it is not
		{0.9, [][]uint32{{97, 1, 1, 1}}, []uint32{2, 1, 3, 0}}, // most of its response is there all the same
	} {
		got, err := r.cells(sums, c.cover, c.against)
		if err != nil || len(got) != len(c.want) {
			t.Fatalf("%+v: %v, %v", c, got, err)
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%+v: %v", c, got)
			}
		}
	}
	if got, err := r.cells(make([]float64, 4), 0.5, nil); err != nil || len(got) != 4 {
		t.Errorf("no response: %v, %v", got, err)
	}
}

// TestRoutedRefusals: what has no ranks that add up cannot be taken apart.
func TestRoutedRefusals(t *testing.T) {
	m := tiny(t)
	r := router(m.Config.Hidden, 1)
	dora := oneLoRA(m, llama.Query, 1)
	dora.Modules[0].LoRA.Magnitude = make([]float32, len(dora.Modules[0].LoRA.B)/2)
	scaling := &exchange.Adapter{Modules: []exchange.Module{{Block: 1, Site: llama.Up, IA3: &exchange.IA3{Vector: make([]float32, m.Config.FFN)}}}}
	for _, a := range []*exchange.Adapter{dora, scaling} {
		if _, err := NewProbe(a, m, r, nil); !errors.Is(err, exchange.ErrUnsupported) || !strings.Contains(err.Error(), a.Modules[0].Name()) {
			t.Errorf("%s: %v", a.Modules[0].Name(), err)
		}
	}
	p, err := NewProbe(oneLoRA(m, llama.Query, 1), m, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Set("a", Routing{Cover: 1})
	if err != nil || !s.AlwaysOn() {
		t.Errorf("below block 1 nothing selects cells, and yet: %v, %v", s, err)
	}
}
