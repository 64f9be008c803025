package exchange

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
	"github.com/gopeft/peft/kernels"
)

// tiny opens the first base of testdata/make.py.
func tiny(t testing.TB) (*llama.Config, llama.Source) { return baseOf(t, "") }

// baseOf opens the base that an adapter of testdata/make.py is for.
func baseOf(t testing.TB, adapter string) (*llama.Config, llama.Source) {
	t.Helper()
	dir := "base"
	if strings.HasPrefix(adapter, "gpt2") {
		dir = "gpt2-base"
	}
	c, src := llamatest.Open(t, filepath.Join("testdata", dir))
	return &c, src
}

// logits of every position: [len(ids), vocab].
func logits(t testing.TB, c *llama.Config, src llama.Source, ids []int32) []float32 {
	t.Helper()
	m, err := llama.New(*c, src, kernels.F32, nil)
	if err != nil {
		t.Fatal(err)
	}
	x, err := m.Forward(llama.One(ids, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	y := make([]float32, len(ids)*c.Vocab)
	m.Logits(y, x, len(ids))
	return y
}

func largest(a, b []float32) (d float64) {
	for i := range a {
		d = max(d, math.Abs(float64(a[i]-b[i])))
	}
	return d
}

type reference struct {
	IDs    []int32
	Logits []float32
}

func readReference(t testing.TB, name string) (r reference) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name, "reference.json"))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil || len(r.IDs) == 0 || len(r.Logits) == 0 {
		t.Fatal("reference:", err)
	}
	return r
}

// adapters are the directories that testdata/make.py made, and how many modules each changes.
var adapters = map[string]int{"lora-list": 6, "lora-regex": 2, "lora-patterns": 13, "lora-layers": 2, "dora": 14, "ia3": 6, "ia3-regex": 3,
	"gpt2-lora": 12, "gpt2-attn": 4, "gpt2-dora": 12, "gpt2-ia3": 8, "gpt2-ia3-input": 8}

// TestParityPEFT: merged into the base, an adapter gives the logits that PEFT computes with it.
func TestParityPEFT(t *testing.T) {
	for name, modules := range adapters {
		t.Run(name, func(t *testing.T) {
			c, src := baseOf(t, name)
			ref := readReference(t, name)
			a, err := ReadPEFT(filepath.Join("testdata", name), c)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Modules) != modules || a.Base != "tiny" {
				t.Errorf("%d modules for base %q, want %d", len(a.Modules), a.Base, modules)
			}
			with, err := Merge(src, c, Weighted{a, 1})
			if err != nil {
				t.Fatal(err)
			}
			if d := largest(logits(t, c, with, ref.IDs), ref.Logits); !(d < 2e-5) {
				t.Errorf("logits differ by %g", d)
			}
			if d := largest(logits(t, c, src, ref.IDs), ref.Logits); d < 1e-2 {
				t.Errorf("the adapter changes logits by %g only: the test shows nothing", d)
			}
		})
	}
}

// TestReadGGUF: a file as llama.cpp's converter writes it holds the adapter it was made from.
func TestReadGGUF(t *testing.T) {
	c, _ := tiny(t)
	want, err := ReadPEFT(filepath.Join("testdata", "lora-list"), c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadGGUF(filepath.Join("testdata", "lora-list.gguf"), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Modules) != len(want.Modules) {
		t.Fatalf("%d modules, want %d", len(got.Modules), len(want.Modules))
	}
	for i, m := range want.Modules {
		g := got.Modules[i]
		tol := 0.0
		if m.Block == 1 { // in f16
			tol = 1e-3
		}
		if d := max(largest(g.LoRA.A, m.LoRA.A), largest(g.LoRA.B, m.LoRA.B)); g.Name() != m.Name() || g.LoRA.Scale != m.LoRA.Scale || d > tol {
			t.Errorf("module %s, scale %g, values %g away; want %s, %g", g.Name(), g.LoRA.Scale, d, m.Name(), m.LoRA.Scale)
		}
	}
}

// random draws an adapter for a base: "lora", "dora" or "ia3" at some of its layers.
func random(t *rapid.T, c *llama.Config, kind string) *Adapter {
	rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	values := func(n int, mean float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(mean + 0.3*rnd.NormFloat64())
		}
		return x
	}
	a := &Adapter{Base: rapid.SampledFrom([]string{"", "some/base"}).Draw(t, "base")}
	sites := rapid.SliceOfNDistinct(rapid.SampledFrom(llama.LinearSites()), 1, 7, rapid.ID).Draw(t, "sites")
	drop := rapid.IntRange(-1, len(sites)*c.Layers-1).Draw(t, "drop") // one module, so that blocks differ
	for i := range c.Layers * len(sites) {
		if i == drop && c.Layers*len(sites) > 1 {
			continue
		}
		m := Module{Block: i / len(sites), Site: sites[i%len(sites)]}
		in, out := c.Dims(m.Site)
		if kind == "ia3" {
			m.IA3 = &IA3{Vector: values(out, 1)}
			if rapid.Bool().Draw(t, "input") {
				m.IA3 = &IA3{Vector: values(in, 1), Input: true}
			}
		} else {
			r := rapid.IntRange(1, 3).Draw(t, "rank")
			m.LoRA = &LoRA{Rank: r, A: values(r*in, 0), B: values(out*r, 0), Scale: rapid.SampledFrom([]float32{2, 0.1, 16 / 2.828427, -1, 0}).Draw(t, "scale")}
			if kind == "dora" {
				m.LoRA.Magnitude = values(out, 2)
			}
		}
		a.Modules = append(a.Modules, m)
	}
	a.Sort()
	return a
}

func TestRoundTripPEFT(t *testing.T) {
	c, _ := tiny(t)
	dir := filepath.Join(t.TempDir(), "adapter")
	rapid.Check(t, func(t *rapid.T) {
		want := random(t, c, rapid.SampledFrom([]string{"lora", "dora", "ia3"}).Draw(t, "kind"))
		if err := WritePEFT(dir, want, c); err != nil {
			t.Fatal(err)
		}
		got, err := ReadPEFT(dir, c)
		if err != nil {
			t.Fatal(err)
		}
		if got.Base != want.Base || len(got.Modules) != len(want.Modules) {
			t.Fatalf("%d modules of %q, want %d of %q", len(got.Modules), got.Base, len(want.Modules), want.Base)
		}
		for i, m := range want.Modules {
			g := got.Modules[i]
			if g.Name() != m.Name() {
				t.Fatalf("module %s, want %s", g.Name(), m.Name())
			}
			if m.IA3 != nil {
				if g.IA3 == nil || g.IA3.Input != m.IA3.Input || !slices.Equal(g.IA3.Vector, m.IA3.Vector) {
					t.Fatalf("%s: %v, want %v", m.Name(), g.IA3, m.IA3)
				}
				continue
			}
			l, w := g.LoRA, m.LoRA
			if l.Rank != w.Rank || !slices.Equal(l.A, w.A) || !slices.Equal(l.B, w.B) || !slices.Equal(l.Magnitude, w.Magnitude) || math.Abs(float64(l.Scale-w.Scale)) > 1e-6 {
				t.Fatalf("%s: rank %d, scale %g, want %d, %g, or other values", m.Name(), l.Rank, l.Scale, w.Rank, w.Scale)
			}
		}
	})
}

// product is a LoRA's change of its weight.
func product(c *llama.Config, m *Module) []float32 {
	in, out := c.Dims(m.Site)
	w := make([]float32, in*out)
	m.addToWeight(w, w, in, 1)
	return w
}

func TestRoundTripGGUF(t *testing.T) {
	c, _ := tiny(t)
	rapid.Check(t, func(t *rapid.T) {
		want := random(t, c, "lora")
		typ := rapid.SampledFrom([]gguf.Type{gguf.F32, gguf.F16}).Draw(t, "type")
		var b bytes.Buffer
		if err := WriteGGUF(&b, want, c, typ); err != nil {
			t.Fatal(err)
		}
		f, err := gguf.Parse(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		got, err := fromGGUF(f, c)
		if err != nil {
			t.Fatal(err)
		}
		if got.Base != want.Base || len(got.Modules) != len(want.Modules) {
			t.Fatalf("%d modules of %q, want %d of %q", len(got.Modules), got.Base, len(want.Modules), want.Base)
		}
		for i := range want.Modules {
			x, y := product(c, &got.Modules[i]), product(c, &want.Modules[i])
			tol := map[gguf.Type]float64{gguf.F32: 1e-5, gguf.F16: 1e-2}[typ]
			if d := largest(x, y); got.Modules[i].Name() != want.Modules[i].Name() || !(d < tol) {
				t.Fatalf("%s is %g away from %s", got.Modules[i].Name(), d, want.Modules[i].Name())
			}
		}
	})
}

// TestMergeAdds: the order of adapters does not matter, and what each changes is its own.
func TestMergeAdds(t *testing.T) {
	c, src := tiny(t)
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]string{"lora", "dora", "ia3"})
		a, b := Weighted{random(t, c, kind.Draw(t, "a")), 0.5}, Weighted{random(t, c, kind.Draw(t, "b")), -2}
		var w [4][]float32
		name := a.Modules[0].Name() + ".weight"
		for i, list := range [][]Weighted{{a, b}, {b, a}, {a}, {b}} {
			m, err := Merge(src, c, list...)
			if err == nil {
				w[i], _, err = m.Tensor(name)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		base, _, err := src.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range base {
			sum := float64(w[2][i]) + float64(w[3][i]) - float64(base[i])
			if d := max(math.Abs(float64(w[0][i]-w[1][i])), math.Abs(float64(w[0][i])-sum)); d > 1e-5*(1+math.Abs(sum)) {
				t.Fatalf("%s[%d]: %g and %g in turn, %g as a sum", name, i, w[0][i], w[1][i], sum)
			}
		}
	})
}

// TestUnmerge: taking an adapter out again leaves the base's weights up to rounding.
func TestUnmerge(t *testing.T) {
	for name := range adapters {
		c, src := baseOf(t, name)
		a, err := ReadPEFT(filepath.Join("testdata", name), c)
		if err != nil {
			t.Fatal(err)
		}
		with, err := Merge(src, c, Weighted{a, 1})
		if err != nil {
			t.Fatal(err)
		}
		without, err := Unmerge(with, c, a)
		if strings.HasSuffix(name, "dora") {
			if err == nil || !strings.Contains(err.Error(), "forgets") {
				t.Errorf("a DoRA is taken out: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range a.Modules {
			n := a.Modules[i].Name() + ".weight"
			base, _, _ := src.Tensor(n)
			merged, _, _ := with.Tensor(n)
			got, _, err := without.Tensor(n)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Equal(base, merged) {
				t.Errorf("%s: %s is not changed", name, n)
			}
			for j := range base {
				was, now := math.Abs(float64(base[j])), math.Abs(float64(merged[j]))
				// what merging rounds is as much larger afterwards as IA³ made the value smaller
				if d := math.Abs(float64(got[j] - base[j])); d > 4e-7*(now+was)*max(1, was/now) {
					t.Fatalf("%s: %s[%d] is %g, was %g", name, n, j, got[j], base[j])
				}
			}
		}
	}
	c, src := tiny(t)
	zero := &Adapter{Modules: []Module{{Site: llama.Value, IA3: &IA3{Vector: make([]float32, 8)}}}}
	if _, err := Unmerge(src, c, zero); err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("an IA3 of zeros is taken out: %v", err)
	}
}

// biased is a source with a bias at one layer.
type biased struct{ llama.Source }

func (b biased) Tensor(name string) ([]float32, []int, error) {
	if name == "model.layers.0.self_attn.v_proj.bias" {
		return []float32{1, 2, 3, 4, 5, 6, 7, 8}, []int{8}, nil
	}
	return b.Source.Tensor(name)
}

// TestMergeBias: an IA3 multiplies a layer's whole output.
func TestMergeBias(t *testing.T) {
	c, src := tiny(t)
	a := &Adapter{Modules: []Module{{Site: llama.Value, IA3: &IA3{Vector: []float32{2, 2, 2, 2, 0, 1, 1, 1}}}}}
	m, err := Merge(biased{src}, c, Weighted{a, 1})
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := m.Tensor("model.layers.0.self_attn.v_proj.bias")
	if err != nil || !slices.Equal(got, []float32{2, 4, 6, 8, 0, 6, 7, 8}) {
		t.Error(got, err)
	}
}

// TestMergeNotFinite: a merge that overflows is an error, not a model of infinities.
func TestMergeNotFinite(t *testing.T) {
	c, src := tiny(t)
	l := &LoRA{Rank: 1, A: make([]float32, 16), B: make([]float32, 16), Scale: math.MaxFloat32}
	l.A[3], l.B[5] = 4, 4
	m, err := Merge(src, c, Weighted{&Adapter{Modules: []Module{{Site: llama.Query, LoRA: l}}}, 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.Tensor("model.layers.0.self_attn.q_proj.weight"); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("element %d", 5*16+3)) {
		t.Error(err)
	}
}
