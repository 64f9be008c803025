package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base/tokenizer"
)

// benchText is the text that models read here. What a token costs does not depend on it.
const benchText = "A new tenant asked the library for every book on clocks, and the keeper, who had wound the tower clock for thirty years, " +
	"wrote the list by hand. It began with sundials, went on to water and sand, and ended with a pocket watch that nobody had ever repaired twice. "

// benchSet is the name of the set that is added for a measurement, in a registry of its own.
const benchSet = "bench"

// benchEngine opens the base with a registry that is removed afterwards and, if asked to, has a set with an expert in every
// cell, and hands the engine, the base's name and the number of experts to f.
func benchEngine(c *cli.Context, set bool, f func(e *peft.Engine, name string, experts int) error) error {
	h, err := newBenchHome(c)
	if err != nil {
		return err
	}
	defer h.close()
	if set {
		if err := h.init(c); err != nil {
			return err
		}
		if err := h.run(c.Context, append([]string{"add-experts", benchSet, "--data", h.data}, benchKind(c)...)...); err != nil {
			return err
		}
	}
	e, err := peft.Open(peft.Options{Registry: h.registry, Base: h.base, Threads: c.Int("threads")})
	if err != nil {
		return err
	}
	run := func() error {
		b, err := e.Base()
		if err != nil {
			return err
		}
		experts := 0
		if set {
			info, err := e.Show(benchSet)
			if err != nil {
				return err
			}
			experts = info.Experts
		}
		return f(e, b.Name, experts)
	}
	return errors.Join(run(), e.Close())
}

// benchKind hands on what kind of experts was asked for.
func benchKind(c *cli.Context) []string {
	var args []string
	for _, f := range []string{"kind", "rank", "targets"} {
		if c.IsSet(f) {
			args = append(args, fmt.Sprintf("--%s=%v", f, c.Value(f)))
		}
	}
	return args
}

// benchGenerate measures rate, from what generating so many tokens after so many took, in alternating rounds without and
// with the set.
func benchGenerate(c *cli.Context, prompt, tokens int, rate func(r *peft.GenerateResult) float64) (*report, error) {
	only := c.String("only")
	if only != "" && only != "base" && only != "set" {
		return nil, usagef("bench: --only %q, want base or set", only)
	}
	r := &report{Columns: []string{"base", "experts", "prompt tokens", "new tokens", "tokens a second", "against the base alone"}}
	return r, benchEngine(c, only != "base", func(e *peft.Engine, name string, experts int) error {
		b, err := e.Base()
		if err != nil {
			return err
		}
		o := peft.GenerateOptions{Prompt: promptOf(b.Tokenizer, prompt), MaxTokens: tokens, Temperature: 1}
		measure := func(sets ...string) (float64, error) {
			o.Sets = sets
			for {
				o.Seed++
				res, err := e.Generate(c.Context, o, nil)
				if err != nil {
					return 0, err
				}
				if len(res.TokenIDs) == tokens { // otherwise the model ended its text
					return rate(res), nil
				}
			}
		}
		var rates [2][]float64
		round := func() (x float64, err error) {
			for i, sets := range [][]string{nil, {benchSet}} {
				if err == nil && only != []string{"set", "base"}[i] {
					x, err = measure(sets...)
					rates[i] = append(rates[i], x)
				}
			}
			return x, err
		}
		if _, err := round(); err != nil { // the first warms caches
			return err
		}
		rates = [2][]float64{}
		if _, err := rounds(c, round); err != nil {
			return err
		}
		var bare float64
		for i, n := range []int{0, experts} {
			if len(rates[i]) == 0 {
				continue
			}
			x := middle(rates[i])
			if i == 0 {
				bare = x
			}
			r.add(name, n, prompt, tokens, x, x/bare)
		}
		return nil
	})
}

func benchDecode(c *cli.Context) (*report, error) {
	return benchGenerate(c, 16, 64, func(r *peft.GenerateResult) float64 {
		n := float64(len(r.TokenIDs))
		return (n - 1) / (n/r.TokensPerSecond - r.FirstToken)
	})
}

func benchPrefill(c *cli.Context) (*report, error) {
	return benchGenerate(c, 512, 1, func(r *peft.GenerateResult) float64 { return float64(r.PromptTokens) / r.FirstToken })
}

// promptOf returns a text of exactly so many tokens, or of the fewest above where no cut of the text has as many.
func promptOf(t *tokenizer.Tokenizer, tokens int) string {
	words := strings.Fields(strings.Repeat(benchText, 1+tokens/8))
	for n := 1; n < len(words); n++ {
		if text := strings.Join(words[:n], " "); len(t.Encode(text, true)) >= tokens {
			return text
		}
	}
	return strings.Join(words, " ")
}

func benchFinetune(c *cli.Context) (*report, error) {
	r := &report{Columns: []string{"base", "tokens a step", "sequence", "tokens a second"},
		Notes: []string{"Steps of a set with the default number of experts, measurements and checkpoints not counted; medians of runs, of each the median of its 8 steps."}}
	return r, benchEngine(c, true, func(e *peft.Engine, name string, _ int) error {
		dir, err := os.MkdirTemp("", "peft-bench-*")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		data, held := c.String("data"), filepath.Join(dir, "held-out.txt") // little, because each run measures it
		if err := os.WriteFile(held, []byte(benchText), 0o600); err != nil {
			return err
		}
		if data == "" {
			data = filepath.Join(dir, "data.txt")
			if err := os.WriteFile(data, []byte(strings.Repeat(benchText, 400)), 0o600); err != nil {
				return err
			}
		}
		o := peft.FinetuneOptions{Data: []string{data}, EvalData: []string{held}, Steps: 8, Precision: c.String("precision"), ReportTokens: -1}
		run := func() (float64, error) {
			res, err := e.Finetune(c.Context, benchSet, o)
			if err != nil {
				return 0, err
			}
			debug.FreeOSMemory() // so that the peak is that of one run
			return res.StepRate, nil
		}
		if _, err := run(); err != nil { // the first packs the base for the backward
			return err
		}
		rates, err := rounds(c, run)
		if err != nil {
			return err
		}
		r.add(name, 1024, 256, middle(rates))
		return nil
	})
}
