package transfer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gopeft/peft/adapters/bottleneck"
	"github.com/gopeft/peft/adapters/exchange"
	"github.com/gopeft/peft/adapters/lora"
	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/basetest"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// made is where package exchange keeps adapters that Hugging Face PEFT wrote, with the logits it computes.
var made = filepath.Join("..", "exchange", "testdata")

// tiny opens the base that most of those adapters are for.
func tiny(t testing.TB) *llama.Model { return baseOf(t, "") }

// baseOf opens the base that one of those adapters is for.
func baseOf(t testing.TB, adapter string) *llama.Model {
	t.Helper()
	dir := "base"
	if strings.HasPrefix(adapter, "gpt2") {
		dir = "gpt2-base"
	}
	c, src := llamatest.Open(t, filepath.Join(made, dir))
	m, err := llama.New(c, src, kernels.F32, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// router makes one up: 2 heads, 4 of 36 cells each.
func router(hidden int, blocks ...int) *retrieval.Router {
	rnd := rand.New(rand.NewPCG(3, 1))
	r := &retrieval.Router{Base: "base", Hidden: hidden}
	for _, block := range blocks {
		l := &retrieval.Layer{Config: retrieval.Config{Heads: 2, TopK: 4, SubKeys: 6, HalfDim: 8}, Block: block, Hidden: hidden, OutScale: 1.5}
		l.W, l.B, l.Temp = randn(rnd, 2*2*8*hidden), randn(rnd, 2*2*8), []float32{2, 3}
		for half := range 2 {
			l.Keys[half], l.Bias[half] = randn(rnd, 2*6*8), randn(rnd, 2*6)
		}
		r.Layers = append(r.Layers, l)
	}
	return r
}

func randn(rnd *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rnd.NormFloat64())
	}
	return v
}

// logits of every position: [len(ids), vocab], with sets on.
func logits(t testing.TB, m *llama.Model, ids []int32, r *retrieval.Router, sets ...*peer.Set) []float32 {
	t.Helper()
	stack, err := peer.NewStack(r, nil, sets...)
	if err != nil {
		t.Fatal(err)
	}
	x, err := m.Forward(llama.One(ids, nil), stack)
	if err != nil {
		t.Fatal(err)
	}
	y := make([]float32, len(ids)*m.Config.Vocab)
	m.Logits(y, x, len(ids))
	return y
}

func largest(a, b []float32) (d float64) {
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

// TestParityPEFT: as a set, an adapter gives the logits that PEFT computes with it, also after the set was stored; and it
// comes back from the set.
func TestParityPEFT(t *testing.T) {
	for _, name := range []string{"lora-list", "lora-regex", "lora-patterns", "lora-layers", "dora", "ia3", "gpt2-lora", "gpt2-attn", "gpt2-dora", "gpt2-ia3"} {
		t.Run(name, func(t *testing.T) {
			m := baseOf(t, name)
			r := router(m.Config.Hidden, 1)
			var ref struct {
				IDs    []int32
				Logits []float32
			}
			b, err := os.ReadFile(filepath.Join(made, name, "reference.json"))
			if err == nil {
				err = json.Unmarshal(b, &ref)
			}
			if err != nil || len(ref.Logits) == 0 {
				t.Fatal("reference:", err)
			}
			a, err := exchange.ReadPEFT(filepath.Join(made, name), &m.Config)
			if err != nil {
				t.Fatal(err)
			}
			s, err := ToSet("a", a, m, r)
			if err != nil {
				t.Fatal(err)
			}
			parts := peer.Parts{}
			if err := s.Encode(parts.Part, s.Keeps()); err != nil {
				t.Fatal(err)
			}
			stored, err := peer.Decode(1, parts.Open)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []*peer.Set{s, stored} {
				if d := largest(logits(t, m, ref.IDs, r, s), ref.Logits); !(d < 5e-5) {
					t.Errorf("logits differ by %g", d)
				}
			}
			if d := largest(logits(t, m, ref.IDs, r), ref.Logits); d < 1e-2 {
				t.Errorf("the adapter changes logits by %g only: the test shows nothing", d)
			}
			back, err := FromSet(stored, &m.Config, a.Base)
			if err != nil {
				t.Fatal(err)
			}
			same(t, back, a, 1e-7)
		})
	}
}

// fataler is a test or a rapid one.
type fataler interface {
	Helper()
	Fatalf(format string, v ...any)
}

// same compares adapters: matrices and scales to the bit, IA³'s vectors within tol.
func same(t fataler, got, want *exchange.Adapter, tol float64) {
	t.Helper()
	want.Sort()
	if got.Base != want.Base || len(got.Modules) != len(want.Modules) {
		t.Fatalf("%d modules for base %q, want %d for %q", len(got.Modules), got.Base, len(want.Modules), want.Base)
	}
	for i := range want.Modules {
		g, w := &got.Modules[i], &want.Modules[i]
		if g.Name() != w.Name() || (g.LoRA == nil) != (w.LoRA == nil) {
			t.Fatalf("module %s, want %s", g.Name(), w.Name())
		}
		if w.IA3 != nil {
			if g.IA3.Input != w.IA3.Input || len(g.IA3.Vector) != len(w.IA3.Vector) || largest(g.IA3.Vector, w.IA3.Vector) > tol {
				t.Fatalf("module %s: another vector", w.Name())
			}
			continue
		}
		if g.LoRA.Rank != w.LoRA.Rank || g.LoRA.Scale != w.LoRA.Scale || !slices.Equal(g.LoRA.A, w.LoRA.A) || !slices.Equal(g.LoRA.B, w.LoRA.B) || !slices.Equal(g.LoRA.Magnitude, w.LoRA.Magnitude) {
			t.Fatalf("module %s: rank %d, scale %g; want %d, %g; or other values", w.Name(), g.LoRA.Rank, g.LoRA.Scale, w.LoRA.Rank, w.LoRA.Scale)
		}
	}
}

// TestRoundTrip: adapters of any ranks and scales at any layers come back from sets.
func TestRoundTrip(t *testing.T) {
	m := tiny(t)
	c, r := &m.Config, router(m.Config.Hidden, 1)
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		kind := rapid.SampledFrom([]string{"lora", "dora", "ia3"}).Draw(t, "kind")
		a := &exchange.Adapter{Base: "some"}
		for block := range c.Layers {
			for _, site := range c.LinearSites() {
				if rnd.IntN(2) == 0 && len(a.Modules) > 0 {
					continue
				}
				in, out := c.Dims(site)
				mod := exchange.Module{Block: block, Site: site}
				if kind == "ia3" {
					mod.IA3 = &exchange.IA3{Vector: randn(rnd, out)}
					if site == llama.Down {
						mod.IA3 = &exchange.IA3{Vector: randn(rnd, in), Input: true}
					}
				} else {
					rank := 1 + rnd.IntN(5)
					mod.LoRA = &exchange.LoRA{Rank: rank, Scale: 3 * rnd.Float32(), A: randn(rnd, rank*in), B: randn(rnd, out*rank)}
					if kind == "dora" {
						mod.LoRA.Magnitude = randn(rnd, out)
					}
				}
				a.Modules = append(a.Modules, mod)
			}
		}
		s, err := ToSet("a", a, m, r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := FromSet(s, c, "some")
		if err != nil {
			t.Fatal(err)
		}
		same(t, back, a, 1e-6)
	})
}

// TestScales: an adapter whose scale no kind has, and sets at another strength, are the same changes.
func TestScales(t *testing.T) {
	m := tiny(t)
	r := router(m.Config.Hidden, 1)
	for _, scale := range []float32{-0.75, 0} {
		a := oneLoRA(m, llama.Query, scale)
		s, err := ToSet("a", a, m, r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := FromSet(s.Scaled(2), &m.Config, "")
		if err != nil {
			t.Fatal(err)
		}
		was, is := a.Modules[0].LoRA, back.Modules[0].LoRA
		for i, b := range was.B {
			if d := float64(2*scale*b - is.Scale*is.B[i]); math.Abs(d) > 1e-6 {
				t.Fatalf("scale %g: element %d of B is %g away", scale, i, d)
			}
		}
	}
}

// oneLoRA returns a LoRA of rank 2 at one layer of block 1.
func oneLoRA(m *llama.Model, site llama.Site, scale float32) *exchange.Adapter {
	rnd := rand.New(rand.NewPCG(8, 8))
	in, out := m.Config.Dims(site)
	return &exchange.Adapter{Modules: []exchange.Module{{Block: 1, Site: site, LoRA: &exchange.LoRA{Rank: 2, Scale: scale, A: randn(rnd, 2*in), B: randn(rnd, out*2)}}}}
}

// TestRefusals: what cannot be a set, or an adapter, is refused with its place and the reason.
func TestRefusals(t *testing.T) {
	m := tiny(t)
	c, r := &m.Config, router(m.Config.Hidden, 1)
	shapes := oneLoRA(m, llama.Query, 1)
	shapes.Modules[0].LoRA.A = shapes.Modules[0].LoRA.A[1:]
	if _, err := ToSet("a", shapes, m, r); !errors.Is(err, exchange.ErrMismatch) || !strings.Contains(err.Error(), "layers.1.self_attn.q_proj") {
		t.Errorf("shapes: %v", err)
	}
	in, _ := c.Dims(llama.Gate)
	shared := &exchange.Adapter{Modules: []exchange.Module{{Block: 1, Site: llama.Gate, IA3: &exchange.IA3{Input: true, Vector: make([]float32, in)}}}}
	if _, err := ToSet("a", shared, m, r); !errors.Is(err, peer.ErrPlace) || !strings.Contains(err.Error(), "gate_proj") {
		t.Errorf("a shared input: %v", err)
	}
	low := lora.Kind{Rank: 2, Alpha: 4}
	for what, s := range map[string]peer.Spot{
		"beside":   {Kind: low},
		"no LoRA":  {Site: llama.Down, Kind: bottleneck.Kind{Rank: 2, Act: bottleneck.ReLU, Serial: true}},
		"in cells": {Kind: neuron.SiLU, Placement: peer.Placement{Occupancy: retrieval.FullGrid(36)}},
	} {
		s.Block, s.Dims = 1, peer.Widths(c, s.Site, s.Kind)
		set, err := peer.NewSetAt(nil, "some", r, []peer.Spot{s}, 1, peer.F32)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := FromSet(set, c, ""); !errors.Is(err, exchange.ErrUnsupported) || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), fmt.Sprintf("some: block 1, %s", s.Site)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	dora := oneLoRA(m, llama.Query, 1)
	dora.Modules[0].LoRA.Magnitude = make([]float32, len(dora.Modules[0].LoRA.B)/2)
	set, err := ToSet("a", dora, m, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FromSet(set.Scaled(0.5), c, ""); !errors.Is(err, exchange.ErrUnsupported) {
		t.Errorf("half a DoRA: %v", err)
	}
}

// TestParitySmolLM: adapters that Hugging Face PEFT trained on SmolLM2 give, as sets, the logits that PEFT computes.
func TestParitySmolLM(t *testing.T) {
	pool := kernels.NewPool(2)
	defer pool.Close()
	b, err := base.Open(basetest.Shared(t, "models/SmolLM2-135M-Instruct.Q4_1.gguf"), base.Options{Precision: kernels.F32, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := &b.Model.Config
	r := router(c.Hidden, 1)
	for name, tables := range map[string]int{"hf-lora-qv-r8": 60, "hf-ia3": 90} {
		dir := basetest.Shared(t, "fixtures/"+name)
		var texts []struct {
			Text   string    `json:"text"`
			IDs    []int32   `json:"last_top10_ids"`
			Logits []float32 `json:"last_top10_logits"`
		}
		j, err := os.ReadFile(filepath.Join(dir, "reference.json"))
		if err == nil {
			err = json.Unmarshal(j, &texts)
		}
		if err != nil || len(texts) == 0 {
			t.Fatal("reference:", err)
		}
		a, err := exchange.ReadPEFT(dir, c)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ToSet("a", a, b.Model, r)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Tables) != tables {
			t.Errorf("%s: %d tables, want %d", name, len(s.Tables), tables)
		}
		for _, ref := range texts {
			ids := b.Tokenizer.Encode(ref.Text, true)
			y := logits(t, b.Model, ids, r, s)[(len(ids)-1)*c.Vocab:]
			var worst float64
			for i, id := range ref.IDs {
				worst = max(worst, math.Abs(float64(y[id]-ref.Logits[i])))
			}
			if len(ref.IDs) == 0 || !(worst < 2e-3) {
				t.Errorf("%s, %q: logits %g away", name, ref.Text, worst)
			}
			t.Logf("%s, %q: logits at most %.2g away", name, ref.Text, worst)
		}
	}
}

// TestDoRAOfFamilies: as a set, a DoRA is the one that is merged into the weights, also where a layer has a bias, which it
// leaves as it is.
func TestDoRAOfFamilies(t *testing.T) {
	ids := []int32{3, 1, 4, 1, 5, 9, 2, 6}
	for name, c := range llamatest.Families() {
		t.Run(name, func(t *testing.T) {
			src := llamatest.Random(c, 5)
			m, err := llama.New(c, src, kernels.F32, nil)
			if err != nil {
				t.Fatal(err)
			}
			a := &exchange.Adapter{}
			for _, site := range []llama.Site{llama.Query, llama.Value} {
				one := oneLoRA(m, site, 0.1).Modules[0]
				rnd := rand.New(rand.NewPCG(2, 9))
				one.LoRA.Magnitude = randn(rnd, len(one.LoRA.B)/2)
				for i, v := range one.LoRA.Magnitude {
					one.LoRA.Magnitude[i] = 1 + v*v
				}
				a.Modules = append(a.Modules, one)
			}
			r := router(c.Hidden, 1)
			set, err := ToSet("a", a, m, r)
			if err != nil {
				t.Fatal(err)
			}
			with, err := exchange.Merge(src, &c, exchange.Weighted{Adapter: a, Strength: 1})
			if err != nil {
				t.Fatal(err)
			}
			merged, err := llama.New(c, with, kernels.F32, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := logits(t, merged, ids, r)
			if d := largest(logits(t, m, ids, r, set), want); d > 1e-3 {
				t.Errorf("logits differ by %g", d)
			}
			if d := largest(logits(t, m, ids, r), want); d < 1e-2 {
				t.Errorf("the DoRA changes logits by %g only: the test shows nothing", d)
			}
		})
	}
}
