package main

import (
	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft/adapters/pretrain"
)

// insteadFlags choose what stands in the place of dense feed-forward layers.
func insteadFlags() []cli.Flag {
	d := pretrain.Defaults()
	peer, moe := pretrain.DefaultInstead(pretrain.PEER, d.Shape), pretrain.DefaultInstead(pretrain.MoE, d.Shape)
	return []cli.Flag{
		&cli.StringFlag{Name: "ffn", Value: string(pretrain.Dense), Usage: "the feed-forward layers: dense, peer (single neurons retrieved by product keys), pkm (values so retrieved) or moe (a mixture)"},
		&cli.StringFlag{Name: "ffn-layers", Usage: "`BLOCKS` whose layers they are, such as 1,3; the others stay dense", DefaultText: "all"},
		&cli.IntFlag{Name: "ffn-heads", Value: peer.Heads, Usage: "query networks `N` of peer and pkm"},
		&cli.IntFlag{Name: "ffn-topk", Value: peer.TopK, Usage: "experts `K` that a head selects"},
		&cli.IntFlag{Name: "ffn-subkeys", Value: peer.SubKeys, Usage: "`N` sub-keys of each half: N·N experts"},
		&cli.IntFlag{Name: "ffn-half-dim", Usage: "dimensions `N` of half a query", DefaultText: "32, or half the width"},
		&cli.IntFlag{Name: "ffn-experts", Value: moe.Experts, Usage: "experts `N` of moe"},
		&cli.IntFlag{Name: "ffn-active", Value: moe.Active, Usage: "of them, those that a token chooses, `N`"},
		&cli.IntFlag{Name: "ffn-expert-width", Usage: "width `N` of one", DefaultText: "half of --ffn-width"},
		&cli.Float64Flag{Name: "ffn-balance", Value: widen(moe.Balance), Usage: "weight `X` of the loss that keeps the experts' loads alike"},
		&cli.Float64Flag{Name: "expert-lr", Value: widen(d.Optimizer.ExpertLR), Usage: "AdamW's learning rate `X` for retrieved experts, sub-keys and moe's scores"},
	}
}

// instead reads insteadFlags into o, whose shape is known otherwise.
func instead(c *cli.Context, o *pretrain.Options) error {
	kind := pretrain.Kind(c.String("ffn"))
	switch kind {
	case pretrain.Dense, pretrain.PEER, pretrain.MoE, pretrain.PKM:
	default:
		return usagef("--ffn %q: want dense, peer, moe or pkm; the width of dense layers is --ffn-width", kind)
	}
	f := pretrain.DefaultInstead(kind, o.Shape)
	var err error
	if f.Blocks, err = ints(c.String("ffn-layers")); err != nil {
		return err
	}
	switch kind {
	case pretrain.Dense:
	case pretrain.MoE:
		f.Experts, f.Active, f.Balance = c.Int("ffn-experts"), c.Int("ffn-active"), float32(c.Float64("ffn-balance"))
		if w := c.Int("ffn-expert-width"); w != 0 {
			f.Width = w
		}
	default:
		f.Heads, f.TopK, f.SubKeys = c.Int("ffn-heads"), c.Int("ffn-topk"), c.Int("ffn-subkeys")
		if d := c.Int("ffn-half-dim"); d != 0 {
			f.HalfDim = d
		}
	}
	o.Shape.Instead, o.Optimizer.ExpertLR = f, float32(c.Float64("expert-lr"))
	return nil
}
