package batch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/basetest"
	"github.com/gopeft/peft/base/batch"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

var ctx = context.Background()

func open(t *testing.T, path string) *base.Base {
	t.Helper()
	pool := kernels.NewPool(2)
	b, err := base.Open(path, base.Options{Precision: kernels.Stored, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		pool.Close()
	})
	return b
}

func start(t *testing.T, b *base.Base, o batch.Options) *batch.Scheduler {
	t.Helper()
	s := batch.New(b, o)
	t.Cleanup(func() {
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// shift is a seam that adds a constant to the residual stream.
type shift float32

func (s *shift) Forward(block int, y, _ []float32, tokens int) error {
	if block == 1 {
		for i := range y {
			y[i] += float32(*s) * float32(i%8) // widths are multiples of 8
		}
	}
	return nil
}

// mixed gives each part its rows.
type mixed []batch.Part

func (m mixed) Forward(block int, y, x []float32, tokens int) error {
	h := len(y) / tokens
	at := 0
	for _, p := range m {
		n := p.Tokens * h
		if p.Seam != nil {
			if err := p.Seam.Forward(block, y[at:at+n], x[at:at+n], p.Tokens); err != nil {
				return err
			}
		}
		at += n
	}
	return nil
}

func mix(parts []batch.Part) llama.Seam { return mixed(slices.Clone(parts)) }

const text = "Close closes the connection. Any blocked Read or Write operations will be unblocked and return errors. " +
	"If the file does not exist, Open returns an error. It is safe to call this method from multiple goroutines. "

// TestSame compares sequences that are computed together with each alone, to the bit: logarithms of probabilities tell logits
// apart that give the same token.
func TestSame(t *testing.T) {
	t.Run("builtin", func(t *testing.T) {
		same(t, open(t, base.Builtin), 24, map[string]batch.Options{
			"mixed": {Mix: mix, BatchTokens: 64}, "apart": {BatchTokens: 16}, "few": {Mix: mix, MaxSequences: 3}, "nothing kept": {Mix: mix, CacheTokens: -1},
		})
	})
	t.Run("smollm", func(t *testing.T) {
		same(t, open(t, basetest.Shared(t, "models/SmolLM2-135M-Instruct.Q4_1.gguf")), 14, map[string]batch.Options{"mixed": {Mix: mix, BatchTokens: 64}})
	})
}

func same(t *testing.T, b *base.Base, tokens int, options map[string]batch.Options) {
	a, c := shift(0.01), shift(-0.02)
	seams := []batch.Sets{{}, {Seam: &a, Key: "a"}, {Seam: &c, Key: "c"}}
	ids := b.Tokenizer.Encode(strings.Repeat(text, 3), true)
	var reqs []batch.Request
	for i := range 12 {
		s := base.Sampling{Seed: uint64(i)}
		if i%2 == 1 {
			s.Temperature, s.TopP = 1, 0.9
		}
		reqs = append(reqs, batch.Request{Prompt: ids[:1+i*len(ids)/12], MaxTokens: tokens - i, Sampling: s, Sets: seams[i%3], LogProbs: 2})
	}
	type answer struct {
		ids  []int32
		prob []float64
		stop string
	}
	want := make([]answer, len(reqs))
	for i, r := range reqs {
		o := base.GenOptions{Sampling: r.Sampling, MaxTokens: r.MaxTokens, Seam: r.Sets.Seam, Chosen: func(id int32, logits []float32) {
			p, _ := base.LogProbs(logits, id, 0)
			want[i].prob = append(want[i].prob, p)
		}}
		var err error
		if want[i].ids, want[i].stop, err = b.Generate(ctx, r.Prompt, o, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, o := range options {
		s := start(t, b, o)
		for range 2 { // the second time prompts are known
			got := make([]answer, len(reqs))
			var wg sync.WaitGroup
			for i, r := range reqs {
				wg.Go(func() {
					var err error
					got[i].stop, err = s.Generate(ctx, r, func(k batch.Token) error {
						got[i].ids, got[i].prob = append(got[i].ids, k.ID), append(got[i].prob, k.LogProb)
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			for i := range want {
				if g, w := got[i], want[i]; !slices.Equal(g.ids, w.ids) || !slices.Equal(g.prob, w.prob) || g.stop != w.stop {
					t.Errorf("%s, request %d: %v, alone %v", name, i, g, w)
				}
			}
		}
		if st := s.Stats(); st.Reused == 0 || st.Running != 0 || st.CacheTokens > 8192 {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// TestChoice reads prompts with the base first: what looks sees all but the first tokens, once.
func TestChoice(t *testing.T) {
	b := open(t, base.Builtin)
	ids := b.Tokenizer.Encode(text, true)
	a := shift(0.01)
	s := start(t, b, batch.Options{Mix: mix, BatchTokens: 16})
	for _, on := range []batch.Sets{{}, {Seam: &a, Key: "a"}} {
		want, _, err := b.Generate(ctx, ids, base.GenOptions{MaxTokens: 8, Seam: on.Seam}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			l := &looks{}
			var got []int32
			_, err := s.Generate(ctx, batch.Request{Prompt: ids, MaxTokens: 8, Choice: &batch.Choice{Look: l, From: 5, Skip: func(n int) { l.n += n },
				Decide: func() (batch.Sets, error) { return on, nil }}}, func(k batch.Token) error {
				got = append(got, k.ID)
				return nil
			})
			if err != nil || !slices.Equal(got, want) || l.n != len(ids) {
				t.Errorf("%v, want %v; %d tokens seen or skipped of %d; %v", got, want, l.n, len(ids), err)
			}
		}
	}
	fails := errors.New("no")
	_, err := s.Generate(ctx, batch.Request{Prompt: ids, MaxTokens: 8, Choice: &batch.Choice{Look: &looks{}, Decide: func() (batch.Sets, error) { return batch.Sets{}, fails }}}, nil)
	if !errors.Is(err, fails) {
		t.Errorf("a choice that fails: %v", err)
	}
}

// looks counts the rows that come by.
type looks struct{ n int }

func (l *looks) Forward(block int, _, _ []float32, tokens int) error {
	if block == 0 {
		l.n += tokens
	}
	return nil
}

// broken is a seam that fails.
type broken struct{}

var errBroken = errors.New("broken")

func (*broken) Forward(int, []float32, []float32, int) error { return errBroken }

// endless keeps the model from ending its text.
func endless(b *base.Base) base.Sampling {
	o := base.Sampling{LogitBias: map[int32]float32{}}
	for _, id := range b.Tokenizer.EOS {
		o.LogitBias[id] = -1e4
	}
	return o
}

// TestFaultsStayApart: neither a seam that fails, nor a caller who goes or whose emit fails, harms the sequences beside.
func TestFaultsStayApart(t *testing.T) {
	b := open(t, base.Builtin)
	ids := b.Tokenizer.Encode(text, true)
	want, _, err := b.Generate(ctx, ids, base.GenOptions{MaxTokens: 30}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, b, batch.Options{Mix: mix})
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			r, c := batch.Request{Prompt: ids, MaxTokens: 30}, ctx
			var got []int32
			var wanted error
			emit := func(k batch.Token) error {
				got = append(got, k.ID)
				return nil
			}
			switch i % 4 {
			case 1:
				r.Sets, wanted = batch.Sets{Seam: &broken{}, Key: "broken"}, errBroken
			case 2:
				var cancel context.CancelFunc
				c, cancel = context.WithTimeout(ctx, 5*time.Millisecond)
				defer cancel()
				r.MaxTokens, r.Sampling, wanted = 1<<20, endless(b), context.DeadlineExceeded
			case 3:
				wanted = errors.New("gone")
				emit = func(batch.Token) error { return wanted }
			}
			_, err := s.Generate(c, r, emit)
			if !errors.Is(err, wanted) || wanted == nil && !slices.Equal(got, want) {
				t.Errorf("request %d: %v, want %v, %v", i, got, want, err)
			}
		})
	}
	wg.Wait()
	if _, err := s.Generate(ctx, batch.Request{Prompt: []int32{1 << 30}, MaxTokens: 1}, nil); !errors.Is(err, llama.ErrInput) {
		t.Errorf("a token outside of the vocabulary: %v", err)
	}
	if _, err := s.Generate(ctx, batch.Request{MaxTokens: 1}, nil); !errors.Is(err, llama.ErrInput) {
		t.Errorf("no prompt: %v", err)
	}
	if err := s.Quiet(ctx); err != nil || s.Busy() {
		t.Errorf("busy %v, %v", s.Busy(), err)
	}
}

// TestTurns: a client with many requests does not make another wait for all of them, and a full queue says so.
func TestTurns(t *testing.T) {
	b := open(t, base.Builtin)
	ids := b.Tokenizer.Encode(text, true)
	s := start(t, b, batch.Options{MaxSequences: 1, MaxQueue: 6})
	begun, goOn := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := s.Generate(ctx, batch.Request{Prompt: ids, MaxTokens: 1, Choice: &batch.Choice{Look: &looks{}, Skip: func(int) {}, Decide: func() (batch.Sets, error) {
			close(begun)
			<-goOn
			return batch.Sets{}, nil
		}}}, nil)
		if err != nil {
			t.Error(err)
		}
	})
	<-begun
	var mu sync.Mutex
	var order []string
	for i, client := range []string{"many", "many", "many", "many", "one", "two"} {
		wg.Go(func() {
			// tokens come on goroutines of their own, so that the order is told by what the scheduler itself calls
			if _, err := s.Generate(ctx, batch.Request{Client: client, Prompt: ids, MaxTokens: 1, Choice: &batch.Choice{Look: &looks{}, Skip: func(int) {}, Decide: func() (batch.Sets, error) {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, client)
				return batch.Sets{}, nil
			}}}, nil); err != nil {
				t.Error(err)
			}
		})
		for s.Stats().Waiting <= i {
			time.Sleep(time.Millisecond)
		}
	}
	_, err := s.Generate(ctx, batch.Request{Prompt: ids, MaxTokens: 1}, nil)
	var busy *batch.BusyError
	if !errors.Is(err, batch.ErrBusy) || !errors.As(err, &busy) || busy.Waiting != 6 || busy.RetryAfter < time.Second {
		t.Errorf("a seventh: %v", err)
	}
	close(goOn)
	wg.Wait()
	if at := slices.Index(order, "two"); at > 2 || len(order) != 6 {
		t.Errorf("order %v", order)
	}
}

// TestShortPromptFirst: beside a prompt of many passes a short one is read in one.
func TestShortPromptFirst(t *testing.T) {
	b := open(t, base.Builtin)
	long := b.Tokenizer.Encode(strings.Repeat(text, 40), true)
	long = long[:b.Model.Config.MaxSeq-8]
	s := start(t, b, batch.Options{BatchTokens: 4})
	first := make(chan string, 2)
	var wg sync.WaitGroup
	run := func(name string, ids []int32) {
		wg.Go(func() {
			if _, err := s.Generate(ctx, batch.Request{Prompt: ids, MaxTokens: 1}, func(batch.Token) error {
				first <- name
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	run("long", long)
	for s.Stats().Running == 0 {
		time.Sleep(time.Millisecond)
	}
	run("short", long[1:10])
	if got := <-first; got != "short" {
		t.Errorf("%s came first", got)
	}
	wg.Wait()
}

// TestClose drains, or ends what does not come to its end.
func TestClose(t *testing.T) {
	b := open(t, base.Builtin)
	ids := b.Tokenizer.Encode(text, true)
	for _, drain := range []bool{true, false} {
		s := batch.New(b, batch.Options{})
		done := make(chan error)
		go func() {
			_, err := s.Generate(ctx, batch.Request{Prompt: ids, MaxTokens: 300, Sampling: endless(b)}, nil)
			done <- err
		}()
		for s.Stats().Written == 0 {
			time.Sleep(time.Millisecond)
		}
		c, cancel := context.WithCancel(ctx)
		if !drain {
			cancel()
		}
		err := s.Close(c)
		cancel()
		if got := <-done; drain && (err != nil || got != nil) || !drain && (!errors.Is(err, context.Canceled) || !errors.Is(got, batch.ErrClosed)) {
			t.Errorf("drain %v: close %v, request %v", drain, err, got)
		}
		if _, err := s.Generate(ctx, batch.Request{Prompt: ids, MaxTokens: 1}, nil); !errors.Is(err, batch.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	}
}

func TestMean(t *testing.T) {
	b := open(t, base.Builtin)
	ids := b.Tokenizer.Encode(text, true)
	a := shift(0.01)
	s := start(t, b, batch.Options{BatchTokens: 16})
	for _, on := range []batch.Sets{{}, {Seam: &a, Key: "a"}} {
		x, err := b.Model.Forward(llama.One(ids, nil), on.Seam)
		if err != nil {
			t.Fatal(err)
		}
		h := b.Model.Config.Hidden
		want := make([]float64, h)
		for i, v := range x {
			want[i%h] += float64(v)
		}
		for i := range want {
			want[i] /= float64(len(ids))
		}
		for _, r := range []batch.Request{{Prompt: ids, Sets: on}, {Prompt: ids, Choice: &batch.Choice{Look: &looks{}, Skip: func(int) {}, Decide: func() (batch.Sets, error) { return on, nil }}}} {
			if got, err := s.Mean(ctx, r); err != nil || !slices.Equal(got, want) {
				t.Errorf("%v: %s", err, fmt.Sprint(got[:3], want[:3]))
			}
		}
	}
}
