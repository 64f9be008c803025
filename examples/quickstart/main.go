// Command quickstart is the whole job in one program: it takes the built-in base, adds a set of experts for a product it
// cannot know, trains it on the product's manual and on questions about it, shows an answer before and after, and checks
// that the base without the set computes the same bits as before.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/gopeft/peft"
)

//go:embed manual/manual.md
var manual []byte

//go:embed manual/questions.jsonl
var questions []byte

// leastDrop is by how many per cent perplexity must fall on text that was held out.
const leastDrop = 30

const question = "Question: What does the error code E-07 mean?\nAnswer:"

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	base := flag.String("base", "builtin", "the base: builtin, a .gguf file or a Hugging Face directory")
	steps := flag.Int("steps", 300, "steps to train")
	flag.Parse()
	err := run(ctx, *base, *steps)
	stop()
	if err != nil {
		log.Fatal("quickstart: ", err)
	}
}

func run(ctx context.Context, base string, steps int) (err error) {
	dir, err := os.MkdirTemp("", "peft-quickstart-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	text, asked := filepath.Join(dir, "manual.md"), filepath.Join(dir, "questions.jsonl")
	if err := errors.Join(os.WriteFile(text, manual, 0o600), os.WriteFile(asked, questions, 0o600)); err != nil {
		return err
	}
	start := time.Now()
	e, err := peft.Open(peft.Options{Registry: filepath.Join(dir, "registry"), Base: base, Progress: show()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()

	before, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{text}, MaxWindows: 8})
	if err != nil {
		return err
	}
	fmt.Printf("%s%s\n\n", question, answer(ctx, e))
	res, err := e.Finetune(ctx, "manual", peft.FinetuneOptions{Data: []string{text, asked}, Steps: steps, LearningRate: 5e-3, TrainAll: true})
	if err != nil {
		return err
	}
	fmt.Printf("\n%s%s\n\n", question, answer(ctx, e, "manual"))
	after, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{text}, MaxWindows: 8})
	if err != nil {
		return err
	}
	drop := 100 * (1 - res.After.Target/res.Before.Target)
	fmt.Printf("held-out text about the product: perplexity %.2f → %.2f with the set on (%.0f %% lower)\n", res.Before.Target, res.After.Target, drop)
	fmt.Printf("background text:                 perplexity %.2f → %.2f with the set on\n", res.Before.Background, res.After.Background)
	fmt.Printf("with the set off:                perplexity %.6f → %.6f, logits %.12s… → %.12s…\n", before.Perplexity, after.Perplexity, before.LogitsSHA256, after.LogitsSHA256)
	fmt.Printf("%.0f s in all\n", time.Since(start).Seconds())
	if drop < leastDrop {
		return fmt.Errorf("the set learned too little: want held-out perplexity at least %d %% lower", leastDrop)
	}
	if before.LogitsSHA256 != after.LogitsSHA256 {
		return errors.New("the base without the set does not compute the same bits as before")
	}
	return nil
}

// answer continues the question, with the sets on.
func answer(ctx context.Context, e *peft.Engine, sets ...string) string {
	r, err := e.Generate(ctx, peft.GenerateOptions{Prompt: question, Sets: sets, MaxTokens: 60}, nil)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return r.Text
}

// show prints progress every few seconds.
func show() func(peft.Progress) {
	var last time.Time
	return func(p peft.Progress) {
		if time.Since(last) < 3*time.Second && p.Done != p.Total {
			return
		}
		last = time.Now()
		fmt.Fprintf(os.Stderr, "%s %d/%d %s %s\n", p.Task, p.Done, p.Total, p.Unit, p.Note)
	}
}
