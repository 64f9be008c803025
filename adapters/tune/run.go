package tune

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
)

// ErrDiverged reports a loss that is no longer a number.
var ErrDiverged = errors.New("training diverged")

// Options of Run. Zero values of numbers mean what Defaults says.
type Options struct {
	Steps        int
	BatchTokens  int     // rows a step, at most
	LearningRate float64 // peak
	Ratio        float64 // of the learning rate of what writes (v of neurons, B of LoRA) to that of what reads: LoRA+, arXiv 2402.12354; default 1
	Beta1, Beta2 float64
	WeightDecay  float64
	WarmUp       int     // steps; below 0: none
	Decay        Decay   // how the learning rate falls after the warm-up
	Floor        float64 // share of the learning rate at the end; below 0: none
	Clip         float64 // largest norm of all rows' gradients together
	Seed         uint64  // of the order of the data
	InOrder      bool    // the data is taken in its order, epoch after epoch
	EvalEvery    int     // steps between evaluations on the held-out data, with one after the last step; 0: none
	Patience     int     // evaluations without a better one after which training stops; 0: never
	EvalTokens   int     // held-out rows measured each time; 0: all

	// Alternate: the sets beside the trained one are off for half of the tokens, and when the held-out data is measured; for the other
	// half some of them are on in turn, those the most that make the text worse.
	Alternate bool

	Background [][]Sequence // texts that the set is to leave alone
	Others     [][]Sequence // more of them: each weighs as much as one of the background, but more than four together as four; see QuietSample
	Quiet      float64      // weight of the penalty on the set's output on each; 0: none

	CheckpointEvery int                               // steps; 0: none
	Checkpoint      func(func(io.Writer) error) error // stores what its argument writes
	Resume          io.Reader                         // a checkpoint to go on from

	Progress func(Progress)
}

// DefaultRate is the peak learning rate of runs of so many steps, unless another is asked for: 2e-3 for 200 or more, and more
// for fewer, as one over the root of the steps up to 6e-3 (docs/decisions/0011-learning-rate.md).
func DefaultRate(steps int) float64 {
	return 2e-3 * min(3, max(1, math.Sqrt(200/float64(max(1, steps)))))
}

// Defaults fills what is zero.
func (o *Options) Defaults() {
	set := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.LearningRate, DefaultRate(o.Steps))
	set(&o.Ratio, 1)
	set(&o.Beta1, 0.9)
	set(&o.Beta2, 0.99)
	set(&o.Floor, 0.02)
	set(&o.Clip, 1)
	if o.BatchTokens == 0 {
		o.BatchTokens = 1024
	}
	if o.WarmUp == 0 {
		o.WarmUp = min(10, o.Steps/10)
	}
	o.WarmUp, o.Floor = max(0, o.WarmUp), max(0, o.Floor)
}

// decisive returns the options that decide what a run computes.
func (o Options) decisive() any {
	var more []any // what earlier versions did not have
	if o.WeightDecay != 0 || o.InOrder {
		more = []any{o.WeightDecay, o.InOrder}
	}
	if o.Ratio != 1 {
		more = append(more, "ratio", o.Ratio)
	}
	if o.Alternate {
		more = append(more, "shares")
	}
	if len(o.Others) > 0 && o.Quiet > 0 {
		more = append(more, "read beside")
	}
	return append([]any{o.Steps, o.BatchTokens, o.LearningRate, o.Beta1, o.Beta2, o.WarmUp, o.Decay, o.Floor, o.Clip, o.Seed, o.EvalEvery, o.Patience, o.EvalTokens, o.Quiet, o.Alternate, graphTokens}, more...)
}

// Check reports the first option that cannot be.
func (o *Options) Check() error {
	switch {
	case o.Steps < 1:
		return fmt.Errorf("tune: %d steps, want at least 1", o.Steps)
	case o.BatchTokens < 1:
		return fmt.Errorf("tune: %d tokens a step, want at least 1", o.BatchTokens)
	case !(o.LearningRate > 0) || math.IsInf(o.LearningRate, 0):
		return fmt.Errorf("tune: learning rate %v, want more than 0", o.LearningRate)
	case !(o.Ratio > 0) || math.IsInf(o.Ratio, 0):
		return fmt.Errorf("tune: %v times the learning rate for what writes, want more than 0", o.Ratio)
	case !(o.Beta1 >= 0 && o.Beta1 < 1 && o.Beta2 >= 0 && o.Beta2 < 1):
		return fmt.Errorf("tune: betas %v and %v, want 0 to 1", o.Beta1, o.Beta2)
	case o.Decay > Constant:
		return fmt.Errorf("tune: unknown decay %d", o.Decay)
	case !(o.Floor >= 0 && o.Floor <= 1):
		return fmt.Errorf("tune: learning rate falls to %v of its peak, want 0 to 1", o.Floor)
	case o.EvalEvery < 0 || o.Patience < 0 || o.EvalTokens < 0 || o.CheckpointEvery < 0 || o.WarmUp < 0:
		return fmt.Errorf("tune: evaluation every %d steps on %d tokens, patience %d, checkpoint every %d steps, warm-up of %d, want none below 0",
			o.EvalEvery, o.EvalTokens, o.Patience, o.CheckpointEvery, o.WarmUp)
	case !(o.Quiet >= 0) || math.IsInf(o.Quiet, 0):
		return fmt.Errorf("tune: penalty of weight %v on background text, want 0 or more", o.Quiet)
	case !(o.WeightDecay >= 0) || math.IsInf(o.WeightDecay, 0):
		return fmt.Errorf("tune: weight decay %v, want 0 or more", o.WeightDecay)
	case !(o.Clip > 0):
		return fmt.Errorf("tune: clipping at norm %v, want more than 0", o.Clip)
	}
	return nil
}

// Progress is one report of a run.
type Progress struct {
	Step, Steps     int
	Loss            float64 // of this step's batch, nats a learned token
	HeldOut         float64 // mean NLL, NaN where it was not measured at this step
	GradNorm        float64 // before clipping
	LearningRate    float64
	TokensPerSecond float64       // of this step
	Remaining       time.Duration // expected, evaluations included
}

// Point is one point of the loss curve. HeldOut is 0 where it was not measured.
type Point struct {
	Step    int     `json:"step"` // steps done
	Train   float64 `json:"train"`
	HeldOut float64 `json:"held_out,omitempty"`
}

// Result of Run.
type Result struct {
	Steps   int     // done, those before a resume included
	Best    int     // the step whose rows the set now has
	Tokens  int     // rows trained on
	Seconds float64 // of the steps and the evaluations between them
	Rate    float64 // tokens a second of the median step since the start or the resume
	Losses  []Point
	Stopped bool // early, for want of progress
}

// run is the state between steps.
type run struct {
	o        Options
	id       string
	m        *llama.Model
	t        *peer.Training
	tables   []*peer.Table
	held     []Sequence
	adam     *Adam
	quiet    *quiet
	beside   *beside
	step     int
	tokens   int
	began    time.Time
	before   float64 // seconds of the runs before a resume
	best     bestState
	bestRows [][]float32
	losses   []Point
	weights  *peer.Weights // for experts that depend on them
	rates    []float64     // tokens a second of the steps since the start or the resume
}

func (r *run) seconds() float64 { return r.before + time.Since(r.began).Seconds() }

// graphTokens is how many tokens of a step go through the graph at a time, unless one sequence has more: what the backward
// needs of them is nearly all the memory that training takes beside the weights.
const graphTokens = 512

// Run trains t's set on train and leaves the rows of the best evaluation in it (the last rows when there was none). A
// cancelled context ends it with the context's error after a checkpoint. Runs of different sets may go on side by side on
// one model.
func Run(ctx context.Context, m *llama.Model, t *peer.Training, train, heldOut []Sequence, o Options) (*Result, error) {
	o.Defaults()
	if err := o.Check(); err != nil {
		return nil, err
	}
	for _, s := range train {
		if len(s.Tokens) > o.BatchTokens {
			return nil, fmt.Errorf("tune: a sequence of %d tokens does not fit a batch of %d", len(s.Tokens), o.BatchTokens)
		}
	}
	r := &run{o: o, m: m, t: t, tables: t.Set.Tables, weights: peer.NewWeights(m), held: Limit(heldOut, o.EvalTokens)}
	var err error
	if r.id, err = r.identity(train); err != nil {
		return nil, fmt.Errorf("tune: %w", err)
	}
	if err := t.Set.Fit(r.weights, false); err != nil {
		return nil, err
	}
	// What is measured first is measured on the rows as they were before a resume.
	if r.beside, err = newBeside(ctx, r, train); err != nil {
		return nil, fmt.Errorf("tune: %w", err)
	}
	if r.quiet, err = newQuiet(ctx, m, t, o.Background, o.Others, o.Quiet, o.Seed); err != nil {
		return nil, fmt.Errorf("tune: %w", err)
	}
	r.adam = newAdam(&o, r.tables)
	if o.Resume != nil {
		if err := r.restore(o.Resume); err != nil {
			return nil, err
		}
		if err := t.Set.Fit(r.weights, false); err != nil {
			return nil, err
		}
	}
	room := min(o.BatchTokens, graphTokens)
	for _, s := range train {
		room = max(room, len(s.Tokens))
	}
	g, err := newGraph(m, t, room)
	if err != nil {
		return nil, err
	}
	g.part = func(i, of int) { t.Beside(r.beside.on(r.step*of + i)) }
	r.began = time.Now() // what comes before is no training
	res, err := r.loop(ctx, g, train)
	return res, errors.Join(err, g.close())
}

// Limit returns the first sequences of at most so many rows; n = 0 is all.
func Limit(s []Sequence, n int) []Sequence {
	rows := 0
	for i := range s {
		if rows += len(s[i].Tokens); n > 0 && rows > n && i > 0 {
			return s[:i]
		}
	}
	return s
}

func (r *run) loop(ctx context.Context, g *graph, train []Sequence) (*Result, error) {
	data := &feed{seqs: train, size: r.o.BatchTokens, seed: r.o.Seed, inOrder: r.o.InOrder}
	data.skip(r.step)
	sched := Schedule{Peak: r.o.LearningRate, WarmUp: r.o.WarmUp, Steps: r.o.Steps, Decay: r.o.Decay, Floor: r.o.Floor}
	r.losses, r.rates = slices.Grow(r.losses, r.o.Steps-r.step), make([]float64, 0, r.o.Steps-r.step)
	first, began := r.step, time.Now()
	if err := r.evaluate(ctx); err != nil { // the checkpoint may have been written before the evaluation of its step
		return nil, r.stopped(ctx, err)
	}
	for r.step < r.o.Steps && !r.exhausted() {
		if err := ctx.Err(); err != nil {
			return nil, r.stopped(ctx, err)
		}
		p, err := r.train(g, data.next(), sched.At(r.step))
		if err != nil {
			return nil, err
		}
		if err := r.evaluate(ctx); err != nil {
			return nil, r.stopped(ctx, err)
		}
		if h := r.losses[r.step-1].HeldOut; h > 0 {
			p.HeldOut = h
		}
		p.Remaining = time.Since(began) / time.Duration(r.step-first) * time.Duration(r.o.Steps-r.step)
		if r.o.Progress != nil {
			r.o.Progress(p)
		}
		if r.o.CheckpointEvery > 0 && r.step%r.o.CheckpointEvery == 0 && r.step < r.o.Steps {
			if err := r.save(); err != nil {
				return nil, err
			}
		}
	}
	res := &Result{Steps: r.step, Best: r.step, Tokens: r.tokens, Seconds: r.seconds(), Losses: r.losses, Stopped: r.exhausted()}
	if slices.Sort(r.rates); len(r.rates) > 0 {
		res.Rate = r.rates[len(r.rates)/2]
	}
	if r.best.Has {
		res.Best = r.best.Step
		for i, t := range r.tables {
			copy(t.Rows.F32, r.bestRows[i])
		}
	}
	return res, nil
}

// train makes one step.
func (r *run) train(g *graph, b *Batch, lr float64) (Progress, error) {
	start := time.Now()
	loss, grads, err := g.run(b)
	if err != nil {
		return Progress{}, err
	}
	if r.quiet != nil {
		if _, err := r.quiet.add(r.step, grads); err != nil {
			return Progress{}, err
		}
	}
	norm := peer.RowNorm(grads...)
	if !finite(float64(loss)) || !finite(norm) {
		return Progress{}, fmt.Errorf("step %d has loss %v and gradient norm %v; a lower learning rate than %g may help: %w", r.step+1, loss, norm, r.o.LearningRate, ErrDiverged)
	}
	r.adam.update(r.m.Pool(), r.tables, grads, float32(lr), float32(min(1, r.o.Clip/max(norm, 1e-30))))
	if err := r.t.Set.Fit(r.weights, false); err != nil {
		return Progress{}, err
	}
	r.step++
	r.tokens += len(b.Tokens)
	r.losses = append(r.losses, Point{Step: r.step, Train: float64(loss)})
	rate := float64(len(b.Tokens)) / time.Since(start).Seconds()
	r.rates = append(r.rates, rate)
	return Progress{
		Step: r.step, Steps: r.o.Steps, Loss: float64(loss), HeldOut: math.NaN(), GradNorm: norm, LearningRate: lr,
		TokensPerSecond: rate,
	}, nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// exhausted reports whether the held-out data has got no better for too long.
func (r *run) exhausted() bool { return r.o.Patience > 0 && r.best.Bad >= r.o.Patience }

// stopped keeps the state of a run that its context ended, and returns err.
func (r *run) stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return errors.Join(err, r.save())
}

// save hands a checkpoint to whoever stores it.
func (r *run) save() error {
	if r.o.Checkpoint == nil || r.step == 0 {
		return nil
	}
	return r.o.Checkpoint(r.checkpoint)
}

// evaluate measures the held-out data, if that is due after the last step and was not done, and keeps the rows when they
// are the best so far.
func (r *run) evaluate(ctx context.Context) error {
	if r.o.EvalEvery == 0 || r.step == 0 || (r.step%r.o.EvalEvery != 0 && r.step != r.o.Steps) {
		return nil
	}
	last := &r.losses[r.step-1]
	if last.HeldOut != 0 {
		return nil
	}
	r.t.Beside(r.beside.on(0))
	nll, _, err := Evaluate(ctx, r.m, r.held, r.t, r.o.BatchTokens, nil)
	if err != nil {
		return err
	}
	if !finite(nll) {
		return fmt.Errorf("after step %d the held-out loss is %v; a lower learning rate than %g may help: %w", r.step, nll, r.o.LearningRate, ErrDiverged)
	}
	last.HeldOut = nll
	if r.best.Has && nll >= r.best.NLL {
		r.best.Bad++
		return nil
	}
	r.best = bestState{Step: r.step, NLL: nll, Has: true}
	r.keepBest()
	return nil
}
