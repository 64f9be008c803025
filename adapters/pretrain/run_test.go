package pretrain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopeft/peft/kernels"
)

// story makes documents whose next word is often certain.
func story(n int) []Document {
	rng := rand.New(rand.NewPCG(7, 7))
	who := []string{"The gardener", "A neighbour", "The postman", "My sister"}
	does := []string{"waters the roses", "repairs an old bicycle", "reads the newspaper", "feeds four hungry cats"}
	when := []string{"in the morning", "before the rain", "on Sundays", "while the kettle boils"}
	docs := make([]Document, n)
	for i := range docs {
		text := ""
		for range 6 {
			text += fmt.Sprintf("%s %s %s.\n", who[rng.IntN(4)], does[rng.IntN(4)], when[rng.IntN(4)])
		}
		docs[i] = Document{Name: fmt.Sprint("story/", i), Text: text}
	}
	return docs
}

func tinyOptions() Options {
	o := Defaults()
	o.Documents = story(300)
	o.HeldOut = 10
	o.Shape = Shape{Vocab: 320, Hidden: 32, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 16, FFN: 64, Context: 32, NormEps: 1e-5, RopeTheta: 10000}
	o.Optimizer.Warmup, o.Optimizer.Decay = 3, 6
	o.Steps, o.BatchTokens, o.EvalEvery = 14, 256, 0
	return o
}

// TestResume stops a run in the middle, resumes it, with another number of threads, and wants the file of a run that
// never stopped, to the bit.
func TestResume(t *testing.T) {
	for _, prec := range []kernels.Precision{kernels.F32, kernels.BF16} {
		dir := t.TempDir()
		o := tinyOptions()
		o.Precision, o.Threads = prec, 1
		whole := filepath.Join(dir, "whole.gguf")
		want, err := Run(t.Context(), o, whole, nil)
		if err != nil {
			t.Fatal(err)
		}
		o.Checkpoint, o.Threads = filepath.Join(dir, "checkpoint"), 2
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		parts := filepath.Join(dir, "parts.gguf")
		_, err = Run(ctx, o, parts, func(p Progress) {
			if p.Step == 5 {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled run ended with %v", err)
		}
		resumed := 0
		got, err := Run(t.Context(), o, parts, func(p Progress) {
			if p.Step > 0 && resumed == 0 {
				resumed = p.Step
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if resumed != 6 {
			t.Errorf("resumed with step %d, want 6", resumed)
		}
		a, errA := os.ReadFile(whole)
		b, errB := os.ReadFile(parts)
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) || want.NLL != got.NLL {
			t.Errorf("%v: resumed run differs from one that never stopped (loss %v, want %v)", prec, got.NLL, want.NLL)
		}
	}
}

// TestEndCanBeChosenLater wants a run that was begun with another length to end as one that had its length from the start.
func TestEndCanBeChosenLater(t *testing.T) {
	dir := t.TempDir()
	o := tinyOptions()
	want, err := Run(t.Context(), o, filepath.Join(dir, "a.gguf"), nil)
	if err != nil {
		t.Fatal(err)
	}
	o.Checkpoint, o.CheckpointEvery = filepath.Join(dir, "c"), 4
	o.Steps, o.Optimizer.Decay = 8, 0
	if _, err := Run(t.Context(), o, filepath.Join(dir, "b.gguf"), nil); err != nil {
		t.Fatal(err)
	}
	o.Steps, o.Optimizer.Decay = tinyOptions().Steps, tinyOptions().Optimizer.Decay
	got, err := Run(t.Context(), o, filepath.Join(dir, "b.gguf"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.NLL != want.NLL {
		t.Errorf("loss %v, want %v", got.NLL, want.NLL)
	}
	o.Seed++
	if _, err := Run(t.Context(), o, filepath.Join(dir, "b.gguf"), nil); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("checkpoint of another seed: error %v", err)
	}
}

// TestVariants stops a run of each variant in the middle, resumes it with another number of threads, and wants the state of
// a run that never stopped, to the bit; and costs and usage that fit the shape.
func TestVariants(t *testing.T) {
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := tinyOptions()
			o.Shape.Instead, o.Threads = v, 1
			whole, parts := filepath.Join(dir, "whole"), filepath.Join(dir, "parts")
			want, err := Run(t.Context(), o, whole, nil)
			if err != nil {
				t.Fatal(err)
			}
			o.Checkpoint, o.Threads = filepath.Join(dir, "checkpoint"), 2
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err = Run(ctx, o, parts, func(p Progress) {
				if p.Step == 5 {
					cancel()
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("cancelled run ended with %v", err)
			}
			got, err := Run(t.Context(), o, parts, nil)
			if err != nil {
				t.Fatal(err)
			}
			body := func(file string) []byte {
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if v.Kind != "" { // the first line has the time taken
					_, b, _ = bytes.Cut(b, []byte("\n"))
					b = b[:len(b)-32] // and so has the sum
				}
				return b
			}
			if want.NLL != got.NLL || !bytes.Equal(body(whole), body(parts)) {
				t.Errorf("resumed run differs from one that never stopped (loss %v, want %v)", got.NLL, want.NLL)
			}
			blocks := 0
			for i := range o.Shape.Layers {
				if o.Shape.Instead.at(i) != Dense {
					blocks++
				}
			}
			if len(got.Usage) != blocks || got.ActiveParameters > got.Parameters || (blocks > 0) == (got.ActiveParameters == got.Parameters) {
				t.Errorf("%d blocks replaced, usage of %d, %d of %d parameters active", blocks, len(got.Usage), got.ActiveParameters, got.Parameters)
			}
			for _, u := range got.Usage {
				if u.Used < 0.5 || u.Used > 1+1e-9 || !(u.KL >= 0 && u.KL < 2) {
					t.Errorf("usage %+v", u)
				}
			}
		})
	}
}

// TestCosts compares parameters to those there are, and FLOPs to a count by hand.
func TestCosts(t *testing.T) {
	for name, v := range variants {
		s := tiny
		s.Instead = v
		w := newWeights(s)
		w.initialise(s, 1)
		n := len(w.flat)
		for _, e := range w.experts {
			if e != nil {
				n += len(e.table.Rows.F32)
			}
		}
		if got := s.Parameters(); got != n {
			t.Errorf("%s: %d parameters, there are %d", name, got, n)
		}
	}
	// hidden 32, 2 blocks, 4 heads of 8 with 2 key heads, 40 tokens, context 12
	attention := 2*(64*32+32*32) + 2*2*32*13/2
	rest := 2*attention + 2*40*32
	for name, want := range map[string]int{
		"dense": rest + 2*2*3*64*32,
		"peer":  rest + 2*2*(2*2*6*32+2*2*4*6+2*3*64),
		"pkm":   rest + 2*3*64*32 + 2*(2*2*6*32+2*2*4*6+2*3*32),
		"moe":   rest + 2*2*(5*32+2*3*24*32),
	} {
		s := tiny
		s.Instead = variants[name]
		if got := s.FLOPs(); got != want {
			t.Errorf("%s: %d FLOPs a token, want %d", name, got, want)
		}
	}
}

func TestUsage(t *testing.T) {
	u := gateSums{2, 0, 2, 0}.usage(3)
	if u.Block != 3 || u.Used != 0.5 || math.Abs(u.KL-math.Ln2) > 1e-12 {
		t.Errorf("%+v, want half used and ln 2", u)
	}
	if u := (gateSums{1, 1, 1}).usage(0); u.Used < 0.999 || math.Abs(u.KL) > 1e-12 {
		t.Errorf("%+v, want all used and 0", u)
	}
}

// TestVariantsLearn wants of every variant what TestLearns wants of the dense model.
func TestVariantsLearn(t *testing.T) {
	for name, v := range variants {
		if v.Kind == "" {
			continue
		}
		o := tinyOptions()
		o.Shape.Instead = v
		o.Steps, o.Optimizer.Decay, o.Optimizer.ExpertLR = 120, 60, 1e-2 // in so few steps
		r, err := Run(t.Context(), o, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: perplexity %.3f, usage %v", name, r.Perplexity, r.Usage)
		if r.Perplexity > 2 || r.Perplexity < 1.1 {
			t.Errorf("%s: held-out perplexity %.3f, want 1.1 … 2", name, r.Perplexity)
		}
	}
}

func TestLearns(t *testing.T) {
	o := tinyOptions()
	o.Steps, o.Optimizer.Decay = 120, 60
	r, err := Run(t.Context(), o, filepath.Join(t.TempDir(), "m.gguf"), nil)
	if err != nil {
		t.Fatal(err)
	}
	// three of about 15 tokens of a sentence are free, each between four equally likely phrases
	if r.Perplexity > 2 || r.Perplexity < 1.1 {
		t.Errorf("held-out perplexity %.3f, want 1.1 … 2", r.Perplexity)
	}
	if r.SeenTokens != 120*256 || r.HeldOutTokens == 0 || r.BitsPerByte <= 0 {
		t.Errorf("result %+v", r)
	}
}

func TestCheckpointRefusals(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c")
	v := []float32{1, 2, 3, 4}
	if err := writeCheckpoint(path, header{Run: "a", Step: 7}, v[:3], v[3:]); err != nil {
		t.Fatal(err)
	}
	got := make([]float32, 4)
	h, err := readCheckpoint(path, "a", got[:1], got[1:])
	if err != nil || h.Step != 7 || !slices.Equal(got, v) {
		t.Fatalf("read %v, %v, %v", h, got, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(data)
	flipped[len(data)-40] ^= 1
	for name, c := range map[string]struct {
		data []byte
		run  string
		n    int
	}{
		"another run":   {data, "b", 4},
		"another size":  {data, "a", 5},
		"truncated":     {data[:len(data)-3], "a", 4},
		"header only":   {data[:30], "a", 4},
		"empty":         {nil, "a", 4},
		"flipped bit":   {flipped, "a", 4},
		"another thing": {[]byte("{}\nhello"), "a", 4},
	} {
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readCheckpoint(path, c.run, make([]float32, c.n)); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("%s: error %v, want ErrCheckpoint", name, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no documents":       func(o *Options) { o.Documents = nil },
		"little text":        func(o *Options) { o.Documents = []Document{{Name: "a", Text: "one short line of text"}} },
		"no steps":           func(o *Options) { o.Steps = 0 },
		"batch and context":  func(o *Options) { o.BatchTokens = 100 },
		"heads and hidden":   func(o *Options) { o.Shape.Heads = 3 },
		"key heads":          func(o *Options) { o.Shape.KVHeads = 0 },
		"odd head":           func(o *Options) { o.Shape.HeadDim, o.Shape.Heads, o.Shape.KVHeads = 1, 32, 1 },
		"rows of no blocks":  func(o *Options) { o.Shape.FFN = 40 },
		"context":            func(o *Options) { o.Shape.Context = 1 },
		"vocabulary too big": func(o *Options) { o.Shape.Vocab = 100000 },
		"unknown layer":      func(o *Options) { o.Shape.Instead.Kind = "soft" },
		"layer not there": func(o *Options) {
			o.Shape.Instead = Instead{Kind: MoE, Experts: 4, Active: 2, Width: 8, Blocks: []int{2}}
		},
		"blocks of nothing": func(o *Options) { o.Shape.Instead.Blocks = []int{1} },
		"too few experts":   func(o *Options) { o.Shape.Instead = Instead{Kind: MoE, Experts: 1, Active: 2, Width: 8} },
		"too few cells":     func(o *Options) { o.Shape.Instead = Instead{Kind: PEER, Heads: 1, TopK: 16, SubKeys: 3, HalfDim: 4} },
	} {
		o := tinyOptions()
		change(&o)
		if _, err := Run(t.Context(), o, filepath.Join(t.TempDir(), "m.gguf"), nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestWindows wants every window of an epoch once and no two epochs alike.
func TestWindows(t *testing.T) {
	ids := make([]int32, 1001)
	for i := range ids {
		ids[i] = int32(i)
	}
	w := newWindows(ids, 10, 3)
	var epochs [2][]int32
	for e := range epochs {
		for k := range w.count {
			b := w.batch(nil, e*w.count+k, 1)
			if len(b) != 11 || b[10] != b[0]+10 {
				t.Fatalf("window %v", b)
			}
			epochs[e] = append(epochs[e], b[0])
		}
	}
	if slices.Equal(epochs[0], epochs[1]) {
		t.Error("two epochs in the same order")
	}
	for _, e := range epochs {
		s := slices.Sorted(slices.Values(e))
		for i := 1; i < len(s); i++ {
			if s[i] != s[i-1]+10 {
				t.Fatalf("epoch's windows start at %v", s)
			}
		}
	}
	// a batch does not depend on the batches before it
	if got, want := newWindows(ids, 10, 3).batch(nil, 40, 4), w.batch(nil, 40, 4); !slices.Equal(got, want) {
		t.Error("a batch depends on what was read before")
	}
}
