package tune

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/ia3"
	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

var ctx = context.Background()

// fixture is a tiny random base with a router and a set that has non-zero rows.
type fixture struct {
	m      *llama.Model
	router *retrieval.Router
	pool   *kernels.Pool
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	return newFixtureOf(t, llamatest.Config(), []int{1, 2})
}

func newFixtureOf(t testing.TB, c llama.Config, blocks []int) *fixture {
	t.Helper()
	f := &fixture{pool: kernels.NewPool(2)}
	t.Cleanup(f.pool.Close)
	var err error
	if f.m, err = llama.New(c, llamatest.Random(c, 1), kernels.F32, f.pool); err != nil {
		t.Fatal(err)
	}
	rec := peer.NewRecorder(blocks, c.Hidden, 400)
	for i := range 4 {
		if _, err := f.m.Forward(llama.One(ids(uint64(i), 100, c.Vocab), nil), rec); err != nil {
			t.Fatal(err)
		}
	}
	f.router, _, err = retrieval.Calibrate(ctx, f.pool, retrieval.Options{
		Config: retrieval.Config{Heads: 2, TopK: 4, SubKeys: 4, HalfDim: 4}, Base: "test", Blocks: blocks, Hidden: c.Hidden, Seed: 3}, rec)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func ids(seed uint64, n, vocab int) []int32 {
	rnd := rand.New(rand.NewPCG(seed, 5))
	x := make([]int32, n)
	for i := range x {
		x[i] = int32(rnd.IntN(vocab))
	}
	return x
}

// set returns a new set over all cells, of all the router's layers or those of some blocks; noise fills v, which begins
// at zero.
func (f *fixture) set(t testing.TB, name string, noise float32, blocks ...int) *peer.Set {
	t.Helper()
	places := make([]peer.Placement, len(f.router.Layers))
	for i, l := range f.router.Layers {
		if len(blocks) == 0 || slices.Contains(blocks, l.Block) {
			places[i].Occupancy = retrieval.FullGrid(l.Cells())
		}
	}
	s, err := peer.NewSet(f.pool, name, neuron.SiLU, f.router, places, 7, peer.F32)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(9, 9))
	for _, tb := range s.Tables {
		for i := range tb.Rows.F32 {
			tb.Rows.F32[i] += noise * float32(rnd.NormFloat64())
		}
	}
	return s
}

func (f *fixture) training(t testing.TB, s *peer.Set, with ...*peer.Set) *peer.Training {
	t.Helper()
	tr, err := peer.NewTraining(f.router, f.pool, s, with...)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func (f *fixture) sequences(n int) []Sequence {
	var s []Sequence
	for i := range n {
		s = append(s, sequence(whole(ids(uint64(100+i), 9+i%3, f.m.Config.Vocab))))
	}
	return s
}

// TestRowGradients compares the gradients that come out of the graph with central differences, for values of some rows,
// with another set on and with masked tokens. Gates are constants to the gradient, so nothing may be routed above the
// trained layer.
func TestRowGradients(t *testing.T) {
	f := newFixture(t)
	for _, block := range []int{1, 2} {
		t.Run(tagOf("block", block), func(t *testing.T) {
			checkRowGradients(t, f, f.training(t, f.set(t, "a", 0.1, block), f.set(t, "b", 0.2, 1)))
		})
	}
}

func checkRowGradients(t *testing.T, f *fixture, tr *peer.Training) {
	g, err := newGraph(f.m, tr, 40)
	if err != nil {
		t.Fatal(err)
	}
	seqs := f.sequences(3)
	seqs[1].Learned[4] = false
	b := newBatch(seqs)
	for range 2 { // the second run must not see the first's gradients
		if _, _, err := g.run(b); err != nil {
			t.Fatal(err)
		}
	}
	_, grads, err := g.run(b)
	if err != nil {
		t.Fatal(err)
	}
	loss := func() float64 {
		nll, _, err := Evaluate(ctx, f.m, seqs, tr, 40, nil)
		if err != nil {
			t.Fatal(err)
		}
		return nll
	}
	checked, wrong, total := 0, 0.0, 0.0
	for i, tb := range tr.Set.Tables {
		if grads[i] == nil || len(grads[i].Rows) == 0 {
			t.Fatal("no row was touched")
		}
		for j := 0; j < len(grads[i].Rows); j += max(3, len(grads[i].Rows)/3) {
			row := tb.Rows.F32[int(grads[i].Rows[j])*tb.Rows.Width:][:tb.Rows.Width]
			learned := len(row)
			if w, ok := tb.Kind.(adapters.Weighted); ok {
				learned, _ = w.Constant(tb.Dims)
			}
			for k := 0; k < learned; k += max(7, learned/7) {
				const eps = 1e-2
				v := row[k]
				row[k] = v + eps
				up := loss()
				row[k] = v - eps
				num := (up - loss()) / (2 * eps)
				row[k] = v
				d := float64(grads[i].Row(j)[k]) - num
				wrong, total = wrong+d*d, total+num*num
				checked++
			}
		}
	}
	if checked < 5 || math.Sqrt(wrong/total) > 0.02 {
		t.Errorf("over %d values the gradient is off by %.3g of its size", checked, math.Sqrt(wrong/total))
	}
}

func options() Options {
	return Options{Steps: 12, BatchTokens: 40, LearningRate: 1e-2, Seed: 1, EvalEvery: 4, CheckpointEvery: 3}
}

func TestLearns(t *testing.T) {
	f := newFixture(t)
	tr := f.training(t, f.set(t, "a", 0))
	seqs := f.sequences(4)
	before, _, err := Evaluate(ctx, f.m, seqs, tr, 40, nil)
	if err != nil {
		t.Fatal(err)
	}
	bare, _, err := Evaluate(ctx, f.m, seqs, nil, 40, nil)
	if err != nil || bare != before {
		t.Errorf("an untrained set changes the loss from %v to %v, %v", bare, before, err)
	}
	o := options()
	o.Steps, o.EvalEvery, o.LearningRate = 150, 0, 3e-2
	res, err := Run(ctx, f.m, tr, seqs, seqs, o)
	if err != nil {
		t.Fatal(err)
	}
	after, _, err := Evaluate(ctx, f.m, seqs, tr, 40, nil)
	if err != nil || after > 0.5*before {
		t.Errorf("loss went from %v to %v (%v); four sequences can be learned by heart", before, after, err)
	}
	if res.Steps != 150 || len(res.Losses) != 150 {
		t.Errorf("%d steps, %d losses", res.Steps, len(res.Losses))
	}
}

func rows(tr *peer.Training) []float32 {
	var all []float32
	for _, tb := range tr.Set.Tables {
		all = append(all, tb.Rows.F32...)
	}
	return all
}

// TestResume stops runs at several steps and goes on from the checkpoint.
func TestResume(t *testing.T) {
	f := newFixture(t)
	for name, set := range map[string]func() *peer.Set{
		"neurons": func() *peer.Set { return f.set(t, "a", 0) },
		"kinds": func() *peer.Set {
			return f.sited(t, "a", 0.1, at{0, llama.Query, rank3, false}, at{0, llama.Down, ia3.Input, false}, at{1, llama.Beside, neck, false}, at{1, llama.Out, dora3, false}, at{2, llama.Up, rank3, true})
		},
	} {
		t.Run(name, func(t *testing.T) { checkResume(t, f, set) })
	}
}

func checkResume(t *testing.T, f *fixture, set func() *peer.Set) {
	seqs := f.sequences(9)
	whole := f.training(t, set())
	o := options()
	o.Clip, o.Quiet, o.Background = 0.05, 0.1, [][]Sequence{f.sequences(20)[9:]}
	if _, err := Run(ctx, f.m, whole, seqs, seqs[:2], o); err != nil {
		t.Fatal(err)
	}
	for _, stop := range []int{1, 4, 5, 11} {
		var saved bytes.Buffer
		c, cancel := context.WithCancel(ctx)
		part := o
		part.Checkpoint = func(write func(io.Writer) error) error { saved.Reset(); return write(&saved) }
		part.Progress = func(p Progress) {
			if p.Step == stop {
				cancel()
			}
		}
		if _, err := Run(c, f.m, f.training(t, set()), seqs, seqs[:2], part); !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at %d: %v", stop, err)
		}
		rest := o
		rest.Resume = bytes.NewReader(saved.Bytes())
		tr := f.training(t, set())
		res, err := Run(ctx, f.m, tr, seqs, seqs[:2], rest)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(rows(tr), rows(whole)) || res.Steps != o.Steps || len(res.Losses) != o.Steps {
			t.Errorf("stopped at %d and resumed: other rows than never stopped (%d steps, %d losses)", stop, res.Steps, len(res.Losses))
		}
		other := rest
		other.LearningRate = 1
		other.Resume = bytes.NewReader(saved.Bytes())
		if _, err := Run(ctx, f.m, f.training(t, set()), seqs, seqs[:2], other); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("resumed with another learning rate: %v", err)
		}
		other = rest
		other.Others, other.Resume = [][]Sequence{seqs[:1]}, bytes.NewReader(saved.Bytes())
		if _, err := Run(ctx, f.m, f.training(t, set()), seqs, seqs[:2], other); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("resumed with another text to be quiet on: %v", err)
		}
		other = rest
		other.Resume = bytes.NewReader(saved.Bytes()[:saved.Len()-3])
		if _, err := Run(ctx, f.m, f.training(t, set()), seqs, seqs[:2], other); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("resumed from a truncated checkpoint: %v", err)
		}
	}
}

// countdown is a context that is cancelled when it has been asked so many times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestResumeFromAnywhere stops a run wherever it looks at its context, in the middle of an evaluation too, with sets beside
// it and early stopping, and goes on.
func TestResumeFromAnywhere(t *testing.T) {
	f := newFixture(t)
	seqs, held := f.sequences(9), f.sequences(13)[9:]
	o := options()
	o.Steps, o.EvalEvery, o.Patience, o.LearningRate, o.BatchTokens = 40, 3, 2, 0.1, 20
	start := func() *peer.Training { return f.training(t, f.set(t, "a", 0), f.set(t, "b", 0.1, 1)) }
	whole := start()
	want, err := Run(ctx, f.m, whole, seqs, held, o)
	if err != nil {
		t.Fatal(err)
	}
	if !want.Stopped || want.Steps == o.Steps {
		t.Fatalf("the run was to stop early, made %d steps", want.Steps)
	}
	for looks := 0; ; looks += 2 {
		var saved bytes.Buffer
		part := o
		part.Checkpoint = func(write func(io.Writer) error) error { saved.Reset(); return write(&saved) }
		_, err := Run(&countdown{ctx, looks}, f.m, start(), seqs, held, part)
		if err == nil {
			if looks < want.Steps {
				t.Errorf("finished after %d looks at the context", looks)
			}
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		rest := o
		if saved.Len() > 0 {
			rest.Resume = bytes.NewReader(saved.Bytes())
		}
		tr := start()
		res, err := Run(ctx, f.m, tr, seqs, held, rest)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(rows(tr), rows(whole)) || !slices.Equal(res.Losses, want.Losses) || res.Best != want.Best || res.Stopped != want.Stopped {
			t.Fatalf("stopped after %d looks at the context and resumed: other rows or losses than never stopped", looks)
		}
	}
}

// TestOtherRun: a checkpoint is refused by a run that would compute something else.
func TestOtherRun(t *testing.T) {
	f := newFixture(t)
	seqs := f.sequences(6)
	var saved bytes.Buffer
	o := options()
	o.Steps, o.CheckpointEvery = 4, 3
	o.Checkpoint = func(write func(io.Writer) error) error { saved.Reset(); return write(&saved) }
	if _, err := Run(ctx, f.m, f.training(t, f.set(t, "a", 0)), seqs, seqs[:2], o); err != nil {
		t.Fatal(err)
	}
	bf16, err := f.m.WithPrecision(kernels.BF16)
	if err != nil {
		t.Fatal(err)
	}
	for what, run := range map[string]func() error{
		"precision": func() error {
			_, err := Run(ctx, bf16, f.training(t, f.set(t, "a", 0)), seqs, seqs[:2], o)
			return err
		},
		"a set beside it": func() error {
			_, err := Run(ctx, f.m, f.training(t, f.set(t, "a", 0), f.set(t, "b", 0)), seqs, seqs[:2], o)
			return err
		},
		"rows": func() error {
			_, err := Run(ctx, f.m, f.training(t, f.set(t, "a", 0.1)), seqs, seqs[:2], o)
			return err
		},
		"data": func() error {
			_, err := Run(ctx, f.m, f.training(t, f.set(t, "a", 0)), seqs[:5], seqs[:2], o)
			return err
		},
		"held-out data": func() error {
			_, err := Run(ctx, f.m, f.training(t, f.set(t, "a", 0)), seqs, seqs[:1], o)
			return err
		},
	} {
		o.Resume = bytes.NewReader(saved.Bytes())
		if err := run(); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("resumed with other %s: %v", what, err)
		}
	}
	for i := range saved.Len() { // hostile bytes are an error or, in the numbers, other numbers; never a panic
		if i%97 != 0 && i > 64 {
			continue
		}
		b := bytes.Clone(saved.Bytes())
		b[i] ^= 0xff
		o.Resume = bytes.NewReader(b[:len(b)-i%3])
		if _, err := Run(ctx, f.m, f.training(t, f.set(t, "a", 0)), seqs, seqs[:2], o); i < 64 && err == nil {
			t.Errorf("a checkpoint with a damaged byte %d was taken", i)
		}
	}
}

// TestThreadsDoNotMatter trains with one thread and with two.
func TestThreadsDoNotMatter(t *testing.T) {
	var want []float32
	for threads := 1; threads <= 2; threads++ {
		f := newFixture(t)
		pool := kernels.NewPool(threads)
		defer pool.Close()
		c := f.m.Config
		m, err := llama.New(c, llamatest.Random(c, 1), kernels.F32, pool)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := peer.NewTraining(f.router, pool, f.set(t, "a", 0))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Run(ctx, m, tr, f.sequences(5), f.sequences(2), options()); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = rows(tr)
		} else if !slices.Equal(want, rows(tr)) {
			t.Error("the number of threads changes the rows")
		}
	}
}

func TestEarlyStopKeepsBest(t *testing.T) {
	f := newFixture(t)
	tr := f.training(t, f.set(t, "a", 0))
	o := options()
	o.Steps, o.EvalEvery, o.Patience, o.LearningRate = 200, 5, 2, 0.1
	held := f.sequences(12)[9:] // random text: learning the rest by heart makes it worse
	res, err := Run(ctx, f.m, tr, f.sequences(6), held, o)
	if err != nil {
		t.Fatal(err)
	}
	nll, _, err := Evaluate(ctx, f.m, held, tr, 40, nil)
	if err != nil {
		t.Fatal(err)
	}
	best := math.Inf(1)
	for _, p := range res.Losses {
		if p.HeldOut > 0 {
			best = min(best, p.HeldOut)
		}
	}
	if !res.Stopped || res.Steps >= 200 || math.Abs(nll-best) > 1e-6 {
		t.Errorf("stopped %v after %d steps with held-out loss %v, the best was %v", res.Stopped, res.Steps, nll, best)
	}
}
