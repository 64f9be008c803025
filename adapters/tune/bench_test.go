package tune

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopeft/peft/adapters/lora"
	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// BenchmarkStep times steps of 1,024 tokens on SmolLM2, in 8 bits and in bf16: of the default set's shape, and of LoRA.
func BenchmarkStep(b *testing.B) {
	for _, prec := range []kernels.Precision{kernels.Int8, kernels.BF16} {
		b.Run(prec.String(), func(b *testing.B) { benchmarkStep(b, prec) })
	}
}

func benchmarkStep(b *testing.B, prec kernels.Precision) {
	path := filepath.Join("..", "..", "..", "shared", "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
	if _, err := os.Stat(path); err != nil {
		b.Skip(err)
	}
	pool := kernels.NewPool(2)
	defer pool.Close()
	model, err := base.Open(path, base.Options{Precision: prec, Pool: pool})
	if err != nil {
		b.Fatal(err)
	}
	defer model.Close()
	m, r := model.Model, &retrieval.Router{Hidden: model.Model.Config.Hidden}
	rnd := rand.New(rand.NewPCG(1, 1))
	randn := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rnd.NormFloat64())
		}
		return v
	}
	for _, block := range retrieval.DefaultBlocks(m.Config.Layers) {
		c := retrieval.DefaultConfig(r.Hidden)
		l := &retrieval.Layer{Config: c, Block: block, Hidden: r.Hidden, OutScale: 1, Temp: []float32{1, 1, 1, 1}}
		l.W, l.B = randn(c.Heads*2*c.HalfDim*r.Hidden), make([]float32, c.Heads*2*c.HalfDim)
		for half := range 2 {
			l.Keys[half], l.Bias[half] = randn(c.Heads*c.SubKeys*c.HalfDim), make([]float32, c.Heads*c.SubKeys)
		}
		r.Layers = append(r.Layers, l)
	}
	spots := func(k lora.Kind, sites ...llama.Site) (all []peer.Spot) {
		for block := range m.Config.Layers {
			for _, s := range sites {
				all = append(all, peer.Spot{Block: block, Site: s, Kind: k, Dims: peer.Widths(&m.Config, s, k)})
			}
		}
		return all
	}
	var cells []peer.Spot
	for _, l := range r.Layers {
		k := neuron.SiLU
		cells = append(cells, peer.Spot{Block: l.Block, Kind: k, Dims: peer.Widths(&m.Config, llama.Beside, k), Placement: peer.Placement{Occupancy: retrieval.FullGrid(l.Cells())}})
	}
	for name, s := range map[string][]peer.Spot{
		"neuron": cells, "lora-qv": spots(lora.Kind{Rank: 8, Alpha: 16}, llama.Query, llama.Value), "lora-all": spots(lora.Kind{Rank: 16, Alpha: 32}, llama.LinearSites()...),
	} {
		b.Run(name, func(b *testing.B) {
			set, err := peer.NewSetAt(pool, "a", r, s, 1, peer.F32)
			if err != nil {
				b.Fatal(err)
			}
			tr, err := peer.NewTraining(r, pool, set)
			if err != nil {
				b.Fatal(err)
			}
			seqs := make([]Sequence, 4)
			for i := range seqs {
				seqs[i] = sequence(whole(ids(uint64(i), 257, m.Config.Vocab)))
			}
			res, err := Run(ctx, m, tr, seqs, nil, Options{Steps: b.N + 1, BatchTokens: 1024})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(res.Rate, "tokens/s")
		})
	}
}
