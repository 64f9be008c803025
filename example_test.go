package peft_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/gopeft/peft"
)

// tidal is a text that the built-in base cannot know.
const tidal = "examples/quickstart/manual/manual.md"

// workspace returns a directory for a registry.
func workspace() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "peft-example-*")
	if err != nil {
		log.Fatal(err)
	}
	return filepath.Join(dir, "registry"), func() { _ = os.RemoveAll(dir) }
}

// Open a registry with the built-in base, teach it a text, and look at what is there.
func Example() {
	dir, remove := workspace()
	defer remove()
	ctx := context.Background()
	e, err := peft.Open(peft.Options{Registry: dir, Base: "builtin"})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	res, err := e.Finetune(ctx, "manual", peft.FinetuneOptions{Data: []string{tidal}, Steps: 20, BatchTokens: 512, SeqLen: 128, LearningRate: 1e-2})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s@%d learned: %v\n", res.Name, res.Revision, res.After.Target < 0.8*res.Before.Target)
	sets, err := e.List()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(sets), "set,", sets[0].Kind, "experts in blocks", sets[0].Layers)
	// Output:
	// manual@1 learned: true
	// 1 set, neuron experts in blocks [1 3 5]
}

// A new set of experts writes zeros until it is trained, so that adding it changes nothing.
func ExampleEngine_AddExperts() {
	dir, remove := workspace()
	defer remove()
	ctx := context.Background()
	e, err := peft.Open(peft.Options{Registry: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	set, err := e.AddExperts(ctx, "manual", peft.AddOptions{Data: []string{tidal}, Experts: 300})
	if err != nil {
		log.Fatal(err)
	}
	off, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{tidal}, MaxWindows: 1})
	if err != nil {
		log.Fatal(err)
	}
	on, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{tidal}, MaxWindows: 1, Sets: []string{"manual"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(set.Experts, "experts; same bits:", off.LogitsSHA256 == on.LogitsSHA256)
	// Output: 300 experts; same bits: true
}

// Generate streams text; the same seed gives the same text.
func ExampleEngine_Generate() {
	dir, remove := workspace()
	defer remove()
	e, err := peft.Open(peft.Options{Registry: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	o := peft.GenerateOptions{Prompt: "Package json implements", MaxTokens: 12, Temperature: 0.8, Seed: 1}
	streamed := ""
	first, err := e.Generate(context.Background(), o, func(text string) error { streamed += text; return nil })
	if err != nil {
		log.Fatal(err)
	}
	again, err := e.Generate(context.Background(), o, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.Text == streamed, first.Text == again.Text)
	// Output: true true
}
