package tune

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/ia3"
	"github.com/gopeft/peft/adapters/lora"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/basetest"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// placed is value number n, from 1, of a weight's first values: those of init in scripts/finetune_parity.py.
func placed(block, site, n int, bound float64) float32 {
	z := (uint64(2*block+site)<<32 + uint64(n)) * 0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	z ^= z >> 31
	return float32((2*float64(z>>11)/(1<<53) - 1) * bound)
}

// noRouter is a router of no use, for sets that are always on.
func noRouter(hidden int) *retrieval.Router {
	l := &retrieval.Layer{Config: retrieval.Config{Heads: 1, TopK: 1, SubKeys: 1, HalfDim: 1}, Hidden: hidden}
	l.W, l.B, l.Temp = make([]float32, 2*hidden), make([]float32, 2), []float32{1}
	for half := range 2 {
		l.Keys[half], l.Bias[half] = make([]float32, 1), make([]float32, 1)
	}
	return &retrieval.Router{Base: "none", Hidden: hidden, Layers: []*retrieval.Layer{l}}
}

// TestParity trains as Hugging Face PEFT did with the same first values, data, order and options: the losses of 20 steps
// are within 1e-4, in f32. It takes minutes: PEFT_SLOW=1.
func TestParity(t *testing.T) {
	if os.Getenv("PEFT_SLOW") == "" {
		t.Skip("set PEFT_SLOW=1 to train beside Hugging Face PEFT's losses")
	}
	path := basetest.Shared(t, "models/SmolLM2-135M-Instruct.Q4_1.gguf")
	var ref struct {
		Beta1, Beta2 float64
		Tokens       [][][]int32
		Runs         map[string]struct {
			LR     float64
			Losses []float64
		}
	}
	j, err := os.ReadFile(filepath.Join("testdata", "finetune_parity.json"))
	if err == nil {
		err = json.Unmarshal(j, &ref)
	}
	if err != nil {
		t.Fatal(err)
	}
	var seqs []Sequence
	for _, step := range ref.Tokens {
		for _, ids := range step {
			seqs = append(seqs, sequence(whole(ids)))
		}
	}
	pool := kernels.NewPool(2)
	defer pool.Close()
	b, err := base.Open(path, base.Options{Precision: kernels.F32, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := &b.Model.Config
	r := noRouter(c.Hidden)
	low := lora.Kind{Rank: 8, Alpha: 16}
	qv := func(k adapters.Kind) map[llama.Site]adapters.Kind {
		return map[llama.Site]adapters.Kind{llama.Query: k, llama.Value: k}
	}
	for name, kinds := range map[string]map[llama.Site]adapters.Kind{
		"lora":   qv(low),
		"rslora": qv(lora.Kind{Rank: 8, Alpha: 16, Stabilised: true}),
		"dora":   qv(lora.DoRA{Kind: low}),
		"ia3":    {llama.Key: ia3.Output, llama.Value: ia3.Output, llama.Down: ia3.Input},
	} {
		t.Run(name, func(t *testing.T) {
			want := ref.Runs[name]
			if len(want.Losses) != len(ref.Tokens) || len(want.Losses) < 20 {
				t.Fatalf("%d losses for %d steps", len(want.Losses), len(ref.Tokens))
			}
			var spots []peer.Spot
			for block := range c.Layers {
				for _, s := range llama.LinearSites() {
					if k := kinds[s]; k != nil {
						spots = append(spots, peer.Spot{Block: block, Site: s, Kind: k, Dims: peer.Widths(c, s, k)})
					}
				}
			}
			set, err := peer.NewSetAt(pool, name, r, spots, 1, peer.F32)
			if err != nil {
				t.Fatal(err)
			}
			for _, tb := range set.Tables {
				if name == "ia3" {
					continue
				}
				site := 0
				if tb.Site == llama.Value {
					site = 1
				}
				in := c.Hidden
				for i := range low.Rank * in {
					tb.Rows.F32[i] = placed(tb.Block, site, i+1, 1/math.Sqrt(float64(in)))
				}
			}
			if err := set.Fit(peer.NewWeights(b.Model), true); err != nil {
				t.Fatal(err)
			}
			tr, err := peer.NewTraining(r, pool, set)
			if err != nil {
				t.Fatal(err)
			}
			res, err := Run(ctx, b.Model, tr, seqs, nil, Options{Steps: len(ref.Tokens), BatchTokens: len(seqs[0].Tokens) * len(ref.Tokens[0]), LearningRate: want.LR,
				Beta1: ref.Beta1, Beta2: ref.Beta2, WarmUp: -1, Decay: Constant, Clip: math.MaxFloat64, InOrder: true})
			if err != nil {
				t.Fatal(err)
			}
			most := 0.0
			for i, p := range res.Losses {
				most = max(most, math.Abs(p.Train-want.Losses[i]))
			}
			t.Logf("losses from %.4f to %.4f, at most %.2g apart", want.Losses[0], want.Losses[len(want.Losses)-1], most)
			if !(most < 1e-4) {
				t.Errorf("losses %v, want %v", res.Losses, want.Losses)
			}
		})
	}
}
