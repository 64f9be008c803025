package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

// adapterFlags say what the experts of a new set are.
func adapterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "kind", Value: "neuron", Usage: "`KIND` of a new set's experts: neuron, neuron-gelu, lora, ia3 or bottleneck"},
		&cli.IntFlag{Name: "rank", Usage: "`R` of lora and bottleneck", DefaultText: "8, with --routed 1"},
		&cli.Float64Flag{Name: "alpha", Usage: "of lora, whose scale is `A`/R", DefaultText: "twice the rank"},
		&cli.BoolFlag{Name: "rslora", Usage: "lora's scale is alpha/√rank"},
		&cli.BoolFlag{Name: "dora", Usage: "lora learns the norms of the weights' rows too"},
		&cli.StringFlag{Name: "activation", Usage: "of bottleneck: relu, gelu or silu", DefaultText: "relu"},
		&cli.StringFlag{Name: "targets", Usage: "`SITES` of the experts, such as q_proj,v_proj; all-linear; beside, for the feed-forward layer's side", DefaultText: "the kind's"},
		&cli.BoolFlag{Name: "routed", Usage: "experts of lora, ia3 and bottleneck stand in cells, as neurons do, instead of working on every token"},
	}
}

// adapter reads adapterFlags.
func adapter(c *cli.Context) peft.Adapter {
	return peft.Adapter{Kind: c.String("kind"), Rank: c.Int("rank"), Alpha: c.Float64("alpha"), RSLoRA: c.Bool("rslora"), DoRA: c.Bool("dora"),
		Activation: c.String("activation"), Targets: names(c.String("targets")), Routed: c.Bool("routed")}
}

// optimiserFlags are those of peft.Optimiser.
func optimiserFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "warmup", Usage: "`N` steps until the learning rate's peak; -1 for none", DefaultText: "a tenth of the steps, at most 10"},
		&cli.StringFlag{Name: "decay", Value: "cosine", Usage: "how the learning rate falls after that: cosine, linear or constant"},
		&cli.Float64Flag{Name: "floor", Usage: "`SHARE` of the peak at the end; -1 for none", DefaultText: "0.02"},
		&cli.Float64Flag{Name: "lr-ratio", Usage: "`R` times the learning rate for v of neurons and B of LoRA", DefaultText: "4 for neurons, 1 for other kinds"},
		&cli.Float64Flag{Name: "beta1", Usage: "of Adam", DefaultText: "0.5 for neurons, 0.9 for other kinds"},
		&cli.Float64Flag{Name: "beta2", Value: 0.99, Usage: "of Adam"},
		&cli.Float64Flag{Name: "weight-decay", Usage: "of Adam, decoupled"},
		&cli.Float64Flag{Name: "clip", Value: 1, Usage: "largest norm of all gradients together; -1 for any"},
		&cli.BoolFlag{Name: "in-order", Usage: "take the data in its order instead of shuffled"},
	}
}

// optimiser reads optimiserFlags.
func optimiser(c *cli.Context) peft.Optimiser {
	return peft.Optimiser{WarmUp: c.Int("warmup"), Decay: strings.ToLower(c.String("decay")), Floor: c.Float64("floor"), Ratio: c.Float64("lr-ratio"), Beta1: c.Float64("beta1"), Beta2: c.Float64("beta2"),
		WeightDecay: c.Float64("weight-decay"), Clip: c.Float64("clip"), InOrder: c.Bool("in-order")}
}
