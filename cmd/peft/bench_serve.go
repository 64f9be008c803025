package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
)

// What benchServe asks for.
const (
	servedSets   = 4  // on by turns, one a stream
	servedTokens = 48 // of an answer
)

// benchServe measures answers that are written at once against one alone, each with a set on.
func benchServe(c *cli.Context) (*report, error) {
	r := &report{Columns: []string{"base", "streams", "tokens a second", "against one stream"}}
	dir, err := os.MkdirTemp("", "peft-bench-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "data.txt")
	if err := os.WriteFile(file, []byte(strings.Repeat(benchText, 40)), 0o600); err != nil {
		return nil, err
	}
	err = benchEngine(c, true, func(e *peft.Engine, name string, _ int) error {
		for i := 1; i < servedSets; i++ {
			if _, err := e.AddExperts(c.Context, fmt.Sprintf("%s%d", benchSet, i), peft.AddOptions{Experts: 500, Data: []string{file}, Seed: uint64(i)}); err != nil {
				return err
			}
		}
		b, err := e.NewBatcher(peft.BatchOptions{CacheTokens: -1})
		if err != nil {
			return err
		}
		counts := []int{1, 4, 16}
		rates := make([][]float64, len(counts))
		run := func() error {
			for range c.Int("rounds") {
				for i, n := range counts {
					rate, err := serveStreams(c.Context, b, n)
					if err != nil {
						return err
					}
					rates[i] = append(rates[i], rate)
				}
			}
			return nil
		}
		if err := errors.Join(run(), b.Close(c.Context)); err != nil {
			return err
		}
		ratios := make([][]float64, len(counts)) // before middle sorts rates
		for i := range counts {
			for k, rate := range rates[i] {
				ratios[i] = append(ratios[i], rate/rates[0][k])
			}
		}
		for i, n := range counts {
			r.add(name, n, middle(rates[i]), middle(ratios[i]))
		}
		return nil
	})
	r.Notes = append(r.Notes, fmt.Sprintf("Answers of %d tokens to prompts of different words, each with one of %d sets on; medians of rounds, and of their ratios. Reading prompts counts.", servedTokens, servedSets))
	return r, err
}

// serveStreams answers n prompts at once and returns the tokens written in a second.
func serveStreams(ctx context.Context, b *peft.Batcher, n int) (float64, error) {
	words := strings.Fields(benchText)
	errs := make([]error, n)
	written := make([]int, n)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range n {
		rnd := rand.New(rand.NewPCG(uint64(i), 7))
		rnd.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
		set := benchSet
		if k := i % servedSets; k > 0 {
			set = fmt.Sprintf("%s%d", benchSet, k)
		}
		o := peft.GenerateOptions{Prompt: strings.Join(words[:12], " "), Sets: []string{set}, MaxTokens: servedTokens, Temperature: 1, Seed: uint64(i), Client: strconv.Itoa(i)}
		wg.Go(func() {
			res, err := b.Generate(ctx, o, nil)
			if errs[i] = err; err == nil {
				written[i] = len(res.TokenIDs)
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, w := range written {
		sum += w
	}
	return float64(sum) / time.Since(start).Seconds(), errors.Join(errs...)
}
