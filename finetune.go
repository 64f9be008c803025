package peft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/registry"
)

// FinetuneOptions of Finetune. Zero values mean the defaults.
type FinetuneOptions struct {
	Data         []string
	EvalData     []string // measured instead of the tenth of Data that is held out
	Steps        int      // default 200
	SeqLen       int      // longest sequence in tokens, default 256
	BatchTokens  int      // tokens a step, default 1024
	LearningRate float64  // default tune.DefaultRate: 2e-3 for 200 steps, up to 6e-3 for fewer
	Optimiser
	Seed            uint64
	Resume          bool     // go on from the checkpoint of a run that was interrupted
	With            []string // sets that are on beside it, and stay as they are; a set that is added stands in the half of the cells that are most its own
	Alternate       bool     // those of With are on for half of the tokens only, in turn and those the most that make the text worse, so that it learns to do with and without them
	QuietData       []string // files of text, each of which it is to leave alone as it does the background, also where one of With is on; more than four weigh as four
	QuietPassages   bool     // it is to leave alone half of the passages that are built in, too: texts of many kinds
	Quiet           float64  // weight of the penalty on what the set adds to background text and to each of those, default 10; below 0: none
	Precision       string   // int8, bf16 or f32; empty: the fastest on this machine with the base's weights
	TrainAll        bool     // learn prompts and questions too
	EvalEvery       int      // steps between evaluations on held-out data, 0 for none
	Patience        int      // evaluations without progress after which it stops early, 0 for never
	CheckpointEvery int      // steps, default 50
	Adapter                  // of a set that is added
	Experts         int      // likewise
	ReportTokens    int      // read of each other text to see what the training did to it, default 2048; below 0: none
	// ForbidRegression, when not nil, refuses to publish a revision with which other sets' held-out text or the background
	// became worse by more than so many per cent for users of Auto. The error wraps ErrRegression.
	ForbidRegression *float64
	Placing                  // likewise
	NoAim            bool    // leave new experts as they are drawn instead of turning them towards what they will see; see peer.Aimer
	OnlyNew          bool    // train only the experts that never were, such as those a set grew by
	Prune            float64 // share of the experts to keep afterwards, those most selected; 0 for all
}

func (o *FinetuneOptions) defaults() {
	for _, d := range []struct {
		v *int
		d int
	}{{&o.Steps, 200}, {&o.SeqLen, 256}, {&o.BatchTokens, 1024}, {&o.CheckpointEvery, 50}} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	if o.LearningRate == 0 {
		o.LearningRate = tune.DefaultRate(o.Steps)
	}
	if o.Quiet == 0 {
		o.Quiet = 10
	}
	o.Quiet = max(0, o.Quiet)
}

// run returns the options of the training itself.
func (o *FinetuneOptions) run() tune.Options {
	t := tune.Options{
		Steps: o.Steps, BatchTokens: o.BatchTokens, LearningRate: o.LearningRate, Seed: o.Seed,
		EvalEvery: o.EvalEvery, Patience: o.Patience, EvalTokens: 4096, Quiet: o.Quiet, Alternate: o.Alternate, CheckpointEvery: o.CheckpointEvery,
	}
	o.Optimiser.set(&t)
	return t
}

// FinetuneResult is what Finetune did.
type FinetuneResult struct {
	Name            string         `json:"name"`
	Revision        int            `json:"revision"`
	Steps           int            `json:"steps"`
	BestStep        int            `json:"best_step"`
	TokensPerSecond float64        `json:"train_tokens_per_second"`
	StepRate        float64        `json:"step_tokens_per_second"` // of the median step: without what surrounds the steps, and the first one's page faults
	Before          Perplexities   `json:"before"`
	After           Perplexities   `json:"after"`
	RouterSHA256    string         `json:"router_sha256"`
	BaseFingerprint string         `json:"base_fingerprint"`
	Forgetting      *Forgetting    `json:"forgetting,omitempty"`
	Dropped         map[string]int `json:"dropped,omitempty"` // records left out, by reason
	Plot            string         `json:"plot"`              // file with the loss curve
}

// measuredTokens bounds the held-out text measured before and after.
const measuredTokens = 16384

// Finetune trains one set, or a new one when the registry has none of that name, and commits the result as one revision.
// Base, router and all other sets stay as they are. A cancelled context leaves a checkpoint, and the sets as they were.
func (e *Engine) Finetune(ctx context.Context, name string, o FinetuneOptions) (*FinetuneResult, error) {
	release, err := e.claims.take(name, "finetune")
	if err != nil {
		return nil, err
	}
	defer release()
	o.defaults()
	if err := o.check(e, name); err != nil {
		return nil, err
	}
	b, err := e.Base()
	if err != nil {
		return nil, err
	}
	o.SeqLen = min(o.SeqLen, b.Model.Config.MaxSeq, o.BatchTokens)
	d, train, held, err := e.readTraining(b, &o)
	if err != nil {
		return nil, err
	}
	f := &finetuning{e: e, b: b, o: o, name: name, made: train, held: held}
	if err := f.open(ctx); err != nil {
		return nil, err
	}
	if err := f.aim(ctx); err != nil { // of a resumed run too: it is known by the rows it began with
		return nil, err
	}
	if f.before, err = f.measure(ctx, "before"); err != nil {
		return nil, err
	}
	res, err := f.train(ctx, train)
	if err != nil {
		return nil, err
	}
	if err := f.settle(ctx, train); err != nil {
		return nil, err
	}
	out, err := f.finish(ctx, res)
	if err != nil {
		return nil, err
	}
	out.Dropped = d.Dropped
	return out, nil
}

func (e *Engine) readTraining(b *base.Base, o *FinetuneOptions) (d *tune.Data, train, held []tune.Sequence, err error) {
	if d, err = tune.ReadFiles(b.Tokenizer, o.Data, o.TrainAll); err != nil {
		return nil, nil, nil, err
	}
	if len(o.EvalData) == 0 {
		train, held, err = d.Split(o.SeqLen)
		return d, train, held, err
	}
	ev, err := tune.ReadFiles(b.Tokenizer, o.EvalData, o.TrainAll)
	if err != nil {
		return nil, nil, nil, err
	}
	held = ev.Sequences(o.SeqLen)
	e.leftOut(ev)
	return d, d.Sequences(o.SeqLen), held, nil
}

// finetuning is one run.
type finetuning struct {
	e         *Engine
	b         *base.Base
	o         FinetuneOptions
	name      string
	made      []tune.Sequence // that are trained on
	held      []tune.Sequence
	parent    *registry.Manifest // revision that is trained; nil for a new set
	router    *storedRouter
	set       *peer.Set
	with      []*peer.Set
	model     *llama.Model // of the training's precision
	before    Perplexities
	precision string
	saved     bool // whether there is a checkpoint of this run
}

// open loads the set, as a copy of its own, or makes it, and loads the sets beside it.
func (f *finetuning) open(ctx context.Context) error {
	var err error
	if f.router, err = f.e.router(ctx); err != nil {
		return err
	}
	s := f.e.reg.Snapshot()
	defer s.Close()
	m, err := s.Manifest(nsSets, f.name, 0)
	switch {
	case err == nil:
		f.parent = m
		f.set, err = f.e.copiedSet(s, f.router.Router, m)
	case errors.Is(err, registry.ErrNotFound):
		p := f.o.Placing
		if len(f.o.With) > 0 && !f.o.alwaysOn() { // sets that are on together share no more cells than they must
			p.Occupancy = string(p.ordering())
		}
		f.set, _, err = f.e.newSet(ctx, f.name, AddOptions{Data: f.o.Data, Adapter: f.o.Adapter, Experts: f.o.Experts, Seed: f.o.Seed, Placing: p})
	}
	if err != nil {
		return err
	}
	if f.o.OnlyNew && f.set.Fresh() == 0 { // before much is measured
		return fmt.Errorf("peft: finetune %s: all its experts were trained before; give it more with add-experts %s --experts +N, or train them all", f.name, f.name)
	}
	for _, n := range f.o.With {
		w, err := f.e.loadSet(s, f.router.Router, n)
		if err != nil {
			return err
		}
		f.with = append(f.with, w)
	}
	prec, err := f.o.precision(f.b.Model.Coded())
	if err != nil {
		return err
	}
	if f.model, err = f.b.Model.WithPrecision(prec); err != nil {
		return err
	}
	f.precision = f.model.Precision().String()
	return nil
}

// precision returns the arithmetic of the products with weights; coded tells that they are quantised.
func (o *FinetuneOptions) precision(coded bool) (kernels.Precision, error) {
	switch o.Precision {
	case "":
		return kernels.Fastest(coded), nil
	case "int8":
		return kernels.Int8, nil
	case "bf16":
		return kernels.BF16, nil
	case "f32":
		return kernels.F32, nil
	}
	return 0, fmt.Errorf("peft: precision %q, want int8, bf16 or f32", o.Precision)
}

// measure returns the perplexities of the held-out and the background text with the sets on, in f32.
func (f *finetuning) measure(ctx context.Context, when string) (Perplexities, error) {
	stack, err := peer.NewStack(f.router.Router, f.e.pool, append([]*peer.Set{f.set}, f.beside()...)...)
	if err != nil {
		return Perplexities{}, err
	}
	nll := func(what string, seqs []tune.Sequence) (float64, error) {
		v, _, err := tune.Evaluate(ctx, f.b.Model, seqs, stack, 512, func(done, total int) {
			f.e.progress(Progress{Task: "measure " + what + " " + when, Done: done, Total: total, Unit: "batches"})
		})
		return math.Exp(v), err
	}
	var p Perplexities
	if p.Target, err = nll("held-out text", tune.Limit(f.held, measuredTokens)); err != nil {
		return p, err
	}
	p.Background, err = nll("background", tune.Cut(f.router.held, backgroundSeq))
	return p, err
}

func (f *finetuning) train(ctx context.Context, train []tune.Sequence) (*tune.Result, error) {
	tr, err := peer.NewTraining(f.router.Router, f.e.pool, f.set, f.with...)
	if err != nil {
		return nil, err
	}
	f.o.forKind(f.set)
	o := f.o.run()
	o.Background = [][]tune.Sequence{tune.Cut(f.router.seen, backgroundSeq)}
	if f.o.QuietPassages {
		o.Background = append(o.Background, tune.QuietSample(knownPassages(f.b.Tokenizer), 1))
	}
	if o.Others, err = f.quiet(); err != nil {
		return nil, err
	}
	if f.o.OnlyNew {
		if err := tr.OnlyNew(); err != nil {
			return nil, err
		}
	}
	o.Checkpoint = f.checkpoint
	o.Progress = func(p tune.Progress) {
		note := fmt.Sprintf("loss %.3f, %.0f tokens/s", p.Loss, p.TokensPerSecond)
		step := &Step{Loss: p.Loss, TokensPerSecond: p.TokensPerSecond, SecondsLeft: p.Remaining.Seconds()}
		if !math.IsNaN(p.HeldOut) {
			step.HeldOut = math.Exp(p.HeldOut)
			note += fmt.Sprintf(", held-out perplexity %.2f", step.HeldOut)
		}
		f.e.progress(Progress{Task: "train " + f.name, Done: p.Step, Total: p.Steps, Unit: "steps", Note: note, Step: step})
	}
	if f.o.Resume {
		s := f.e.reg.Snapshot()
		defer s.Close()
		m, err := s.Manifest(nsCheckpoints, f.name, 0)
		if err != nil {
			return nil, fmt.Errorf("peft: resume %s: no checkpoint: %w", f.name, err)
		}
		p, ok := m.Part(partState)
		if !ok {
			return nil, fmt.Errorf("peft: checkpoint of %s has no state: %w", f.name, registry.ErrCorrupt)
		}
		o.Resume = s.Open(p)
	}
	res, err := tune.Run(ctx, f.model, tr, train, f.held, o)
	if errors.Is(err, context.Canceled) && f.saved {
		f.e.warnf("training stopped; go on with the same options and --resume")
	}
	return res, err
}

const partState = "state"

// Unfinished reports whether a training of that set was interrupted and can be resumed.
func (e *Engine) Unfinished(name string) bool {
	s := e.reg.Snapshot()
	defer s.Close()
	_, err := s.Manifest(nsCheckpoints, name, 0)
	return err == nil
}

// checkpoint stores a run's state as the only checkpoint of the set. It is kept when the run was cancelled, so the
// cancelled context does not count here.
func (f *finetuning) checkpoint(write func(io.Writer) error) error {
	ctx := context.Background()
	t, err := f.e.reg.Begin(ctx, nsCheckpoints, f.name)
	if err != nil {
		return err
	}
	w, err := t.Part(partState)
	if err == nil {
		err = write(w)
	}
	if err != nil {
		return errors.Join(err, t.Abort())
	}
	if _, err = t.Commit(nil); err != nil {
		return err
	}
	f.saved = true
	return f.e.reg.Prune(ctx, nsCheckpoints, f.name, 1)
}

// finish measures the trained set as it is stored and commits it.
func (f *finetuning) finish(ctx context.Context, res *tune.Result) (*FinetuneResult, error) {
	after, err := f.measure(ctx, "after")
	if err != nil {
		return nil, err
	}
	tr := &Training{
		Steps: res.Steps, Tokens: res.Tokens, LearningRate: f.o.LearningRate, Ratio: f.o.Ratio, Beta1: f.o.Beta1, Seed: f.o.Seed, SeqLen: f.o.SeqLen, BatchTokens: f.o.BatchTokens,
		Precision: f.precision, Seconds: res.Seconds, TokensPerSec: float64(res.Tokens) / res.Seconds, With: f.o.With, Before: f.before, After: after, Kept: f.o.Prune,
	}
	for _, p := range res.Losses {
		tr.Losses = append(tr.Losses, LossPoint(p))
	}
	own, err := f.own(ctx)
	if err != nil {
		return nil, err
	}
	if n := reportLength(f.o.ReportTokens); n > 0 {
		if own.lost, err = f.e.forgetting(ctx, f.b, f.router, f.set, own, f.parent, n); err != nil {
			return nil, err
		}
	}
	if limit := f.o.ForbidRegression; limit != nil {
		if err := own.lost.regression(*limit); err != nil {
			return nil, fmt.Errorf("peft: finetune %s: %w", f.name, err)
		}
	}
	m, err := f.e.storeSet(ctx, f.set, f.b.Name, f.o.Data, tr, own)
	if err != nil {
		return nil, err
	}
	// The revision stands: what fails or is cancelled from here on must not look like a failed run.
	if err := f.e.reg.Remove(context.WithoutCancel(ctx), nsCheckpoints, f.name); err != nil && !errors.Is(err, registry.ErrNotFound) {
		f.e.warnf("the run's checkpoint could not be removed: %v", err)
	}
	plot, err := f.e.plotLosses(m.Name, m.Revision, tr)
	if err != nil {
		f.e.warnf("loss curve: %v", err)
	}
	sum, err := f.router.SHA256()
	if err != nil {
		return nil, err
	}
	return &FinetuneResult{
		Name: f.name, Revision: m.Revision, Steps: res.Steps, BestStep: res.Best, TokensPerSecond: tr.TokensPerSec, StepRate: res.Rate, Before: f.before, After: after,
		RouterSHA256: sum, BaseFingerprint: strings.Clone(f.router.Base), Plot: plot, Forgetting: own.lost,
	}, nil
}
