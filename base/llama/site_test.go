package llama_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
	"github.com/gopeft/peft/kernels"
)

// delta adds a matrix to one linear layer: [out, in].
type delta struct {
	w       []float32
	in, out int
	whole   bool
	before  float32 // factor of the product's input
}

func (d *delta) Whole() bool { return d.whole }

func (d *delta) Before(x []float32, tokens int) []float32 {
	y := slices.Clone(x[:tokens*d.in])
	for i := range y {
		y[i] *= d.before
	}
	return y
}

func (d *delta) After(y []float32, stride int, x []float32, tokens int) error {
	for t := range tokens {
		for o := range d.out {
			for i := range d.in {
				y[t*stride+o] += d.w[o*d.in+i] * x[t*d.in+i]
			}
		}
	}
	return nil
}

// at is a seam that changes one linear layer.
type at struct {
	block   int
	site    llama.Site
	l       llama.Linear
	fail    error
	inputs  int // calls of FFNInput
	running int // passes
}

func (a *at) Forward(int, []float32, []float32, int) error { return nil }
func (a *at) FFNInput(int, []float32, int) error           { a.inputs++; return a.fail }
func (a *at) Begin() llama.Pass                            { a.running++; return a }
func (a *at) End()                                         { a.running-- }

func (a *at) Linear(block int, s llama.Site) llama.Linear {
	if block != a.block || s != a.site {
		return nil
	}
	return a.l
}

// TestSites: what adds ΔW·x at a site, or scales its input, is as good as a base with other weights.
func TestSites(t *testing.T) {
	for name, c := range llamatest.Families() {
		t.Run(name, func(t *testing.T) { sites(t, c) })
	}
}

func sites(t *testing.T, c llama.Config) {
	batch := llama.One(tokens(9, c.Vocab), nil)
	for _, site := range c.LinearSites() {
		in, out := c.Dims(site)
		for _, whole := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/whole %v", site, whole), func(t *testing.T) {
				own := site == llama.Out || site == llama.Down // has its input for itself
				d := &delta{make([]float32, in*out), in, out, whole, 1}
				if own {
					d.before = 0.5
				}
				for i := range d.w {
					d.w[i] = float32(i%7-3) / 40
				}
				w := llamatest.Random(c, 3)
				m, err := llama.New(c, w, kernels.F32, nil)
				if err != nil {
					t.Fatal(err)
				}
				seam := &at{block: 1, site: site, l: d}
				got, err := m.Forward(batch, seam)
				if err != nil {
					t.Fatal(err)
				}
				if seam.inputs != c.Layers || seam.running != 0 {
					t.Errorf("%d calls of FFNInput, %d passes not ended", seam.inputs, seam.running)
				}
				data := w["model.layers.1."+llamatest.Part(site)+".weight"].Data
				for i, v := range data {
					data[i] = d.before*v + d.w[i]
				}
				if m, err = llama.New(c, w, kernels.F32, nil); err != nil {
					t.Fatal(err)
				}
				want, err := m.Forward(batch, nil)
				if err != nil {
					t.Fatal(err)
				}
				if diff := maxDiff(got, want); diff > 1e-4 {
					t.Errorf("hidden states differ by %g from a base with the weights changed", diff)
				}
			})
		}
	}
}

func TestSitesThatFail(t *testing.T) {
	c := llamatest.Config()
	m := random(t, c, kernels.F32, nil)
	seam := &at{fail: errors.New("no room")}
	if _, err := m.Forward(llama.One(tokens(4, c.Vocab), nil), seam); !errors.Is(err, seam.fail) || seam.running != 0 {
		t.Errorf("error %v, %d passes not ended", err, seam.running)
	}
}

func TestParseSite(t *testing.T) {
	for _, s := range append(llama.LinearSites(), llama.Beside) {
		if got, err := llama.ParseSite(s.String()); err != nil || got != s {
			t.Errorf("ParseSite(%q) = %v, %v", s, got, err)
		}
	}
	if _, err := llama.ParseSite("lm_head"); !errors.Is(err, llama.ErrUnsupported) {
		t.Errorf("lm_head: %v", err)
	}
}
