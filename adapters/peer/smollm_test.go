package peer

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/basetest"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// TestSmolLM2 calibrates a router on SmolLM2 and runs sets on it. It takes a minute: PEFT_SLOW=1.
func TestSmolLM2(t *testing.T) {
	if os.Getenv("PEFT_SLOW") == "" {
		t.Skip("needs about a minute: set PEFT_SLOW=1")
	}
	dir := basetest.Shared(t, "")
	pool := kernels.NewPool(2)
	defer pool.Close()
	b, err := base.Open(filepath.Join(dir, "models", "SmolLM2-135M-Instruct.Q4_1.gguf"), base.Options{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	ids := func(file string, bytes, skip int) []int32 {
		data, err := os.ReadFile(filepath.Join(dir, "data", file))
		if err != nil {
			t.Fatal(err)
		}
		return b.Tokenizer.Encode(string(data[skip:skip+bytes]), false)
	}
	read := func(ids []int32, tokens int, seam llama.Seam) []float32 {
		t.Helper()
		var last []float32
		for at := 0; at+512 <= min(len(ids), tokens); at += 512 {
			if last, err = b.Model.Forward(llama.One(ids[at:at+512], nil), seam); err != nil {
				t.Fatal(err)
			}
		}
		return last
	}
	cfg := b.Model.Config
	blocks := retrieval.DefaultBlocks(cfg.Layers)
	rec := NewRecorder(blocks, cfg.Hidden, 4096)
	background := append(newsText(t, b, dir, 3000), ids("gsm8k-train.jsonl", 8_000, 0)...)
	start := time.Now()
	read(background, 4096, rec)
	recorded := time.Since(start)
	start = time.Now()
	r, rep, err := retrieval.Calibrate(context.Background(), pool, retrieval.Options{Hidden: cfg.Hidden, Blocks: blocks, Seed: 1}, rec)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("recorded in %v, calibrated in %v", recorded, time.Since(start))
	for i, u := range rep.Layers {
		t.Logf("%+v, output scale %.2f, temperatures %.2f", u, r.Layers[i].OutScale, r.Layers[i].Temp)
		if u.Hit < 0.97 || u.KL > 0.5 {
			t.Errorf("cells are used unevenly: %+v", u)
		}
	}
	play := ids("shakespeare.txt", 30_000, 0)
	count := NewCounter(r, pool)
	read(play, 2048, count)
	places, err := Place(r, count.Counts(), nil, Placing{Experts: 128})
	if err != nil {
		t.Fatal(err)
	}
	set := func(name string, places []Placement) *Set {
		s, err := NewSet(pool, name, neuron.SiLU, r, places, 1, BF16)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a := set("a", places)
	stack, err := NewStack(r, pool, a)
	if err != nil {
		t.Fatal(err)
	}
	sample := func(file string, from int) []Sample {
		s := NewSampler(r, pool)
		batch := llama.Batch{}
		for i := range 16 {
			batch.Tokens = append(batch.Tokens, ids(file, 1000, from+5_000*i)[:64]...)
			batch.Seqs = append(batch.Seqs, llama.Seq{Len: 64})
		}
		if _, err := b.Model.Forward(batch, s); err != nil {
			t.Fatal(err)
		}
		var all []Sample
		for i := range 16 {
			all = append(all, s.Sample(64*i+1, 64*(i+1)))
		}
		return all
	}
	gate, err := NewGate(r, count.Counts(), sample("shakespeare.txt", 0), sample("gsm8k-train.jsonl", 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		file string
		own  bool
	}{{"shakespeare.txt", true}, {"wikitext2-valid.txt", false}, {"gsm8k-train.jsonl", false}} {
		for part := range 4 {
			j := NewSampler(r, pool)
			if _, err := b.Model.Forward(llama.One(ids(w.file, 1000, 200_000+100_000*part)[:64], nil), j); err != nil {
				t.Fatal(err)
			}
			score := gate.Score(j.Sample(1, 64))
			if t.Logf("64 tokens of %s: %.1f nats", w.file, score); (score > 0) != w.own {
				t.Errorf("the gate is wrong about 64 tokens of %s", w.file)
			}
		}
	}
	text := play[:512]
	bare := read(text, 512, nil)
	if !slices.Equal(bare, read(text, 512, stack)) {
		t.Error("a new set changes the base")
	}
	timed := func(what string, seam llama.Seam) {
		best := time.Hour
		for range 4 {
			start := time.Now()
			read(text, 512, seam)
			best = min(best, time.Since(start))
		}
		t.Logf("512 tokens %s: %v", what, best)
	}
	full := make([]Placement, len(r.Layers))
	for i, l := range r.Layers {
		full[i].Occupancy = retrieval.FullGrid(l.Cells())
	}
	wide, err := NewStack(r, pool, set("wide", full))
	if err != nil {
		t.Fatal(err)
	}
	timed("bare", nil)
	timed("half the cells", stack)
	timed("all cells", wide)
	c := NewCounter(r, pool)
	timed("routing only", c)
}

// newsText tokenises news items of AG News.
func newsText(t *testing.T, b *base.Base, dir string, tokens int) []int32 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "data", "cl", "agnews", "test.json"))
	if err != nil {
		t.Fatal(err)
	}
	var items []struct{ Sentence string }
	if err := json.Unmarshal(data, &items); err != nil {
		t.Fatal(err)
	}
	var out []int32
	for i := 0; len(out) < tokens; i++ {
		out = append(out, b.Tokenizer.Encode(items[i].Sentence, false)...)
	}
	return out
}
