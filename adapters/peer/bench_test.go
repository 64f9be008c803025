package peer

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// benchRouter returns a router of one layer with random weights in the default shape, for a base as wide as SmolLM2-135M.
func benchRouter(subKeys int) *retrieval.Router {
	const hidden = 576
	rnd := rand.New(rand.NewPCG(1, 1))
	c := retrieval.DefaultConfig(hidden)
	c.SubKeys = subKeys
	l := &retrieval.Layer{Config: c, Hidden: hidden, OutScale: 1, Temp: []float32{1, 1, 1, 1}}
	l.W, l.B = randn(rnd, c.Heads*2*c.HalfDim*hidden), make([]float32, c.Heads*2*c.HalfDim)
	kernels.Scale(1.0/24, l.W)
	for half := range 2 {
		l.Keys[half], l.Bias[half] = randn(rnd, c.Heads*subKeys*c.HalfDim), make([]float32, c.Heads*subKeys)
	}
	l.Mean, l.InvStd = make([]float32, hidden), make([]float32, hidden)
	for i := range l.InvStd {
		l.InvStd[i] = 1
	}
	return &retrieval.Router{Hidden: hidden, Layers: []*retrieval.Layer{l}}
}

func benchSet(b *testing.B, r *retrieval.Router, f Format) *Set {
	b.Helper()
	l := r.Layers[0]
	s, err := NewSet(nil, "bench", neuron.SiLU, r, []Placement{{Occupancy: retrieval.FullGrid(l.Cells())}}, 1, f)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkForward(b *testing.B) {
	sizes := []int{16, 64, 256}
	if os.Getenv("PEFT_SLOW") != "" {
		sizes = append(sizes, 1024) // 2.4 GB
	}
	for _, n := range sizes {
		r := benchRouter(n)
		s := benchSet(b, r, BF16)
		stack, err := NewStack(r, nil, s)
		if err != nil {
			b.Fatal(err)
		}
		for _, tokens := range []int{1, 32, 512} {
			b.Run(fmt.Sprintf("experts=%d/tokens=%d", n*n, tokens), func(b *testing.B) {
				x := randn(rand.New(rand.NewPCG(1, 2)), tokens*r.Hidden)
				y := make([]float32, len(x))
				for b.Loop() {
					if err := stack.Forward(0, y, x, tokens); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*tokens), "ns/token")
			})
		}
	}
}

func BenchmarkCodec(b *testing.B) {
	r := benchRouter(64)
	s := benchSet(b, r, BF16)
	b.Run("encode", func(b *testing.B) {
		b.SetBytes(4096 * 1152 * 2)
		for b.Loop() {
			if err := s.Encode(func(string) (io.Writer, error) { return io.Discard, nil }, BF16); err != nil {
				b.Fatal(err)
			}
		}
	})
	p := Parts{}
	if err := s.Encode(p.Part, BF16); err != nil {
		b.Fatal(err)
	}
	b.Run("decode", func(b *testing.B) {
		b.SetBytes(4096 * 1152 * 2)
		for b.Loop() {
			if _, err := Decode(2, p.Open); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkTraining(b *testing.B) {
	const tokens = 1024
	r := benchRouter(16)
	s := benchSet(b, r, F32)
	tr, err := NewTraining(r, nil, s)
	if err != nil {
		b.Fatal(err)
	}
	l := tr.Layer(0)
	x := randn(rand.New(rand.NewPCG(1, 2)), tokens*r.Hidden)
	y, dx := make([]float32, len(x)), make([]float32, len(x))
	b.Run("forward", func(b *testing.B) {
		for b.Loop() {
			if err := l.Forward(y, x, tokens); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*tokens), "ns/token")
	})
	b.Run("backward", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := l.Backward(dx, x); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*tokens), "ns/token")
	})
}
