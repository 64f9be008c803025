package lora

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/kernels"
)

// BenchmarkForward times one LoRA of rank 8 on a layer of SmolLM2, for a token that is generated and for a prompt.
func BenchmarkForward(b *testing.B) {
	k, d := Kind{Rank: 8, Alpha: 16}, adapters.Dims{In: 576, Out: 576}
	row := make([]float32, k.Width(d))
	k.Init(row, d, rand.New(rand.NewPCG(1, 1)))
	for _, tokens := range []int{1, 512} {
		b.Run(fmt.Sprintf("tokens %d", tokens), func(b *testing.B) {
			g := adapters.Group{Gates: make([]float32, tokens), State: make([]float32, tokens*k.State(d)), Memory: new(adapters.Memory)}
			x, y := kernels.Dense(make([]float32, tokens*d.In), tokens, d.In), kernels.Dense(make([]float32, tokens*d.Out), tokens, d.Out)
			for b.Loop() {
				k.Forward(g, row, y, x)
			}
		})
	}
}
