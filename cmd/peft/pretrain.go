package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/adapters/pretrain"
	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/kernels"
)

func pretrainCommand() *cli.Command {
	d := pretrain.Defaults()
	return &cli.Command{
		Name: "pretrain", Usage: "train a small base from scratch and write it to a file", ArgsUsage: "FILE",
		Description: "Trains on the documentation and sources of the Go distribution, or on text files, and writes the model with its\n" +
			"tokenizer to FILE, as GGUF. An interrupted run with --checkpoint goes on where it was when the command is given again.\n" +
			"With --ffn peer, moe or pkm the feed-forward layers are experts, to compare such models with dense ones: GGUF has no\n" +
			"form for them, so that FILE gets the checkpoint after the last step. Such a model cannot be used as a base.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "goroot", Usage: "`DIR` of the Go distribution to read", DefaultText: "go env GOROOT"},
			&cli.StringSliceFlag{Name: "text", Usage: "text `FILE` to read instead of the Go distribution; may be repeated"},
			&cli.StringFlag{Name: "checkpoint", Usage: "`FILE` that keeps the state of the run"},
			&cli.IntFlag{Name: "steps", Value: d.Steps, Usage: "steps `N`"},
			&cli.IntFlag{Name: "decay", Value: d.Optimizer.Decay, Usage: "last `N` steps in which the learning rates fall to zero"},
			&cli.IntFlag{Name: "warmup", Value: d.Optimizer.Warmup, Usage: "first `N` steps in which they grow"},
			&cli.IntFlag{Name: "batch-tokens", Value: d.BatchTokens, Usage: "tokens `N` of a step"},
			&cli.Float64Flag{Name: "matrix-lr", Value: widen(d.Optimizer.MatrixLR), Usage: "Muon's learning rate `X`"},
			&cli.Float64Flag{Name: "embed-lr", Value: widen(d.Optimizer.EmbedLR), Usage: "AdamW's learning rate `X`"},
			&cli.IntFlag{Name: "vocab", Value: d.Shape.Vocab, Usage: "tokens `N` of the vocabulary"},
			&cli.IntFlag{Name: "hidden", Value: d.Shape.Hidden, Usage: "width `N`"},
			&cli.IntFlag{Name: "layers", Value: d.Shape.Layers, Usage: "blocks `N`"},
			&cli.IntFlag{Name: "heads", Value: d.Shape.Heads, Usage: "attention heads `N`"},
			&cli.IntFlag{Name: "kv-heads", Value: d.Shape.KVHeads, Usage: "key and value heads `N`"},
			&cli.IntFlag{Name: "ffn-width", Value: d.Shape.FFN, Usage: "width `N` of the dense feed-forward layers"},
			&cli.IntFlag{Name: "context", Value: d.Shape.Context, Usage: "tokens `N` of a training sequence"},
			&cli.Uint64Flag{Name: "seed", Value: d.Seed, Usage: "seed `N`"},
			&cli.StringFlag{Name: "precision", Value: d.Precision.String(), Usage: "of products with weights in training: bf16 or f32"},
			&cli.StringFlag{Name: "type", Value: "f16", Usage: "of matrices in the file: f16, q8_0, bf16 or f32"},
			&cli.StringFlag{Name: "name", Value: d.About.Name, Usage: "the model's `NAME`"},
		}, insteadFlags()...),
		Action: pretrainAction,
	}
}

// widen turns 0.02 into 0.02 and not into 0.0199999996.
func widen(x float32) float64 { return math.Round(float64(x)*1e9) / 1e9 }

func pretrainOptions(c *cli.Context) (pretrain.Options, error) {
	o := pretrain.Defaults()
	o.Steps, o.BatchTokens, o.Seed, o.Threads = c.Int("steps"), c.Int("batch-tokens"), c.Uint64("seed"), c.Int("threads")
	o.Optimizer.Decay, o.Optimizer.Warmup = c.Int("decay"), c.Int("warmup")
	o.Optimizer.MatrixLR, o.Optimizer.EmbedLR = float32(c.Float64("matrix-lr")), float32(c.Float64("embed-lr"))
	s := &o.Shape
	s.Vocab, s.Hidden, s.Layers, s.FFN, s.Context = c.Int("vocab"), c.Int("hidden"), c.Int("layers"), c.Int("ffn-width"), c.Int("context")
	s.Heads, s.KVHeads = c.Int("heads"), c.Int("kv-heads")
	s.HeadDim = s.Hidden / max(1, s.Heads)
	if err := instead(c, &o); err != nil {
		return o, err
	}
	o.Checkpoint, o.About.Name = c.String("checkpoint"), c.String("name")
	switch p := c.String("precision"); p {
	case "bf16":
		o.Precision = kernels.BF16
	case "f32":
		o.Precision = kernels.F32
	default:
		return o, usagef("--precision %q: want bf16 or f32", p)
	}
	types := map[string]gguf.Type{"f16": gguf.F16, "q8_0": gguf.Q8_0, "bf16": gguf.BF16, "f32": gguf.F32}
	t, ok := types[c.String("type")]
	if !ok {
		return o, usagef("--type %q: want f16, q8_0, bf16 or f32", c.String("type"))
	}
	o.Type = t
	return o, pretrainText(c, &o)
}

func pretrainText(c *cli.Context, o *pretrain.Options) error {
	files := c.StringSlice("text")
	if len(files) == 0 {
		root := c.String("goroot")
		var err error
		if root == "" {
			if root, err = pretrain.GOROOT(c.Context); err != nil {
				return err
			}
		}
		o.Documents, err = pretrain.Corpus(root)
		return err
	}
	if err := readable(files...); err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if strings.ContainsRune(string(b), 0) {
			return fmt.Errorf("%s holds zero bytes: it is no text", f)
		}
		o.Documents = append(o.Documents, pretrain.Split(filepath.Base(f), string(b))...)
	}
	o.About.Description, o.About.License = "Small base trained on text", ""
	return nil
}

func pretrainAction(c *cli.Context) error {
	if err := want(c, "FILE"); err != nil {
		return err
	}
	o, err := pretrainOptions(c)
	if err != nil {
		return err
	}
	out, progress := c.Args().First(), newProgress(c.App.ErrWriter)
	mean := 0.0 // of the loss, over about 20 steps
	r, err := pretrain.Run(c.Context, o, out, func(p pretrain.Progress) {
		if p.Message != "" {
			fmt.Fprintln(c.App.ErrWriter, p.Message)
			return
		}
		if mean == 0 {
			mean = p.Loss
		}
		mean += (p.Loss - mean) / 20
		note := fmt.Sprintf("loss %.3f", mean)
		if p.Perplexity > 0 {
			fmt.Fprintf(c.App.ErrWriter, "step %d: held-out perplexity %.2f\n", p.Step, p.Perplexity)
		}
		progress.report(peft.Progress{Task: "pretrain", Done: p.Step, Total: p.Steps, Unit: "steps", Note: note})
	})
	if err != nil {
		return err
	}
	st, err := os.Stat(out)
	if err != nil {
		return err
	}
	return result(c, struct {
		File  string `json:"file"`
		Bytes int64  `json:"bytes"`
		pretrain.Result
	}{out, st.Size(), r}, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d parameters, %d bytes; %d tokens seen in %d steps and %.0f s (%.0f tokens/s)\n", out, r.Parameters, st.Size(), r.SeenTokens, r.Steps, r.Seconds, r.TokensPerSecond)
		fmt.Fprintf(w, "a token uses %d parameters and %.2f MFLOP in a forward\n", r.ActiveParameters, float64(r.FLOPs)/1e6)
		fmt.Fprintf(w, "held out: %d tokens, perplexity %.2f, %.3f bits per byte\n", r.HeldOutTokens, r.Perplexity, r.BitsPerByte)
		for _, u := range r.Usage {
			fmt.Fprintf(w, "  block %2d: %5.1f %% of the experts used, KL of their gates from uniform %.3f nats\n", u.Block, 100*u.Used, u.KL)
		}
		if r.FFN != pretrain.Dense {
			fmt.Fprintf(w, "%s is the run's checkpoint, not a GGUF file: that has no form for %s layers\n", out, r.FFN)
		}
	})
}
