package pretrain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/kernels"
)

// About describes the model in its file.
type About struct{ Name, Description, License string }

// Options are what Run needs. Defaults returns good ones but for Documents.
type Options struct {
	Documents   []Document
	HeldOut     int   // one in so many names of documents is held out
	Text        *Text // of Documents, where several runs share it; nil: made by the run
	Shape       Shape
	Optimizer   Optimizer
	Steps       int
	BatchTokens int // a multiple of Shape.Context
	Seed        uint64
	Precision   kernels.Precision // of products with weights; gradients of weights are always f32
	Threads     int

	Checkpoint      string // file; "" for none. An existing one of the same run is resumed
	CheckpointEvery int    // steps
	EvalEvery       int    // steps; 0 evaluates at the end only
	EvalTokens      int    // held-out tokens of the evaluations between
	FinalTokens     int    // of the one at the end; 0 takes all

	About About
	Type  gguf.Type // of matrices in the file: F16, Q8_0, BF16 or F32
}

// chatTemplate speaks the form of the corpus's questions and answers.
const chatTemplate = `{% for message in messages %}{% if message['role'] == 'user' %}Question: {{ message['content'] }}
{% elif message['role'] == 'assistant' %}Answer: {{ message['content'] }}
{% else %}{{ message['content'] }}

{% endif %}{% endfor %}{% if add_generation_prompt %}Answer:{% endif %}`

// EndOfText begins and ends every text of the model.
const EndOfText = "<|endoftext|>"

// Defaults are the options of the embedded base, without its documents.
func Defaults() Options {
	return Options{
		HeldOut:     50,
		Shape:       Shape{Vocab: 4096, Hidden: 192, Layers: 6, Heads: 3, KVHeads: 1, HeadDim: 64, FFN: 384, Context: 512, NormEps: 1e-5, RopeTheta: 10000},
		Optimizer:   Optimizer{MatrixLR: 0.02, EmbedLR: 8e-3, ExpertLR: 1e-3, Momentum: 0.95, Beta1: 0.9, Beta2: 0.99, Eps: 1e-10, WeightDecay: 0.1, ClipNorm: 1, Warmup: 50, Decay: 1500},
		Steps:       4600,
		BatchTokens: 4096,
		Seed:        1,
		Precision:   kernels.BF16,
		Threads:     2,

		CheckpointEvery: 50,
		EvalEvery:       200,
		EvalTokens:      20000,

		About: About{Name: "peft builtin", Description: "Small base trained on the documentation and sources of the Go distribution", License: "bsd-3-clause"},
		Type:  gguf.F16,
	}
}

// Progress is a report: after every step, and with Perplexity > 0 after every evaluation.
type Progress struct {
	Step, Steps     int
	Loss            float64 // of the step's batch, nats a token
	GradNorm        float64
	TokensPerSecond float64
	Perplexity      float64 // on held-out documents
	Message         string  // a phase before training
}

// Result says what a run reached.
type Result struct {
	FFN              Kind    `json:"ffn"`
	Parameters       int     `json:"parameters"`
	ActiveParameters int     `json:"active_parameters"` // that one token uses
	FLOPs            int     `json:"flops_per_token"`   // see Shape.FLOPs
	Usage            []Usage `json:"usage,omitempty"`   // of the experts by the held-out text

	TrainTokens     int     `json:"train_tokens"`      // in the text
	SeenTokens      int     `json:"seen_tokens"`       // trained on
	HeldOutTokens   int     `json:"held_out_tokens"`   // predicted at the end
	NLL             float64 `json:"nll"`               // nats a token
	Perplexity      float64 `json:"perplexity"`        // per token
	BitsPerByte     float64 `json:"bits_per_byte"`     // of held-out text
	Seconds         float64 `json:"seconds"`           // of training steps
	TokensPerSecond float64 `json:"tokens_per_second"` // the same
	Steps           int     `json:"steps"`
}

func (o Options) check() error {
	if err := o.Shape.check(); err != nil {
		return err
	}
	switch {
	case o.Steps < 1:
		return fmt.Errorf("pretrain: %d steps, want at least 1", o.Steps)
	case o.BatchTokens < o.Shape.Context || o.BatchTokens%o.Shape.Context != 0:
		return fmt.Errorf("pretrain: batches of %d tokens, want a multiple of the context %d", o.BatchTokens, o.Shape.Context)
	case len(o.Documents) == 0 && o.Text == nil:
		return errors.New("pretrain: no documents to train on")
	}
	return nil
}

// Run trains a tokenizer and a model on o.Documents and writes them to the file out, unless that is empty. GGUF has no form
// for a model whose feed-forward layers are replaced: of such a one out gets the checkpoint after the last step. progress
// may be nil. Cancelling ctx stops after the step at hand with a checkpoint, when o.Checkpoint names one.
func Run(ctx context.Context, o Options, out string, progress func(Progress)) (Result, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	if err := o.check(); err != nil {
		return Result{}, err
	}
	t, err := prepare(o, progress)
	if err != nil {
		return Result{}, err
	}
	defer t.pool.Close()
	if err := t.train(ctx, progress); err != nil {
		return Result{}, err
	}
	r, err := t.result()
	if err != nil || out == "" {
		return r, err
	}
	if !o.Shape.Instead.dense() {
		return r, t.write(out)
	}
	f, err := os.Create(out)
	if err != nil {
		return Result{}, fmt.Errorf("pretrain: %w", err)
	}
	if err := errors.Join(writeGGUF(f, o.About, t.Shape, t.w, t.tok, o.Type), f.Close()); err != nil {
		return Result{}, fmt.Errorf("pretrain: write %s: %w", out, err)
	}
	return r, nil
}

// trainer is a run under way.
type trainer struct {
	Options
	*Text
	pool    *kernels.Pool
	w       *weights
	model   *model
	opt     *optimizer
	data    *windows
	run     string // identifies what the numbers depend on
	step    int
	seconds float64
}

// prepare makes tokenizer, token streams and model, and resumes from a checkpoint when there is one.
func prepare(o Options, progress func(Progress)) (*trainer, error) {
	t := &trainer{Options: o, Text: o.Text}
	if t.Text == nil {
		var err error
		if t.Text, err = NewText(o.Documents, o.HeldOut, o.Shape.Vocab, progress); err != nil {
			return nil, err
		}
	}
	if v := t.tok.Vocab(); v != o.Shape.Vocab {
		return nil, fmt.Errorf("pretrain: a text of %d tokens' vocabulary for a model of %d", v, o.Shape.Vocab)
	}
	if n := 2*o.Shape.Context + 2; len(t.corpus) < n {
		return nil, fmt.Errorf("pretrain: the text has %d tokens, want at least %d", len(t.corpus), n)
	}
	progress(Progress{Message: fmt.Sprintf("%d tokens to train on, %d held out; %d parameters, of which a token uses %d, with %.2f MFLOP in a forward",
		len(t.corpus), len(t.held), o.Shape.Parameters(), o.Shape.ActiveParameters(), float64(o.Shape.FLOPs())/1e6)})
	t.pool = kernels.NewPool(o.Threads)
	if err := t.build(progress); err != nil {
		t.pool.Close()
		return nil, err
	}
	return t, nil
}

// build makes the model and its optimiser, and resumes from a checkpoint when there is one.
func (t *trainer) build(progress func(Progress)) (err error) {
	t.w = newWeights(t.Shape)
	t.w.initialise(t.Shape, t.Seed)
	if t.model, err = newModel(t.Shape, t.w, newWeights(t.Shape), t.pool); err != nil {
		return err
	}
	t.opt = newOptimizer(t.Optimizer, t.model)
	t.data = newWindows(t.corpus, t.Shape.Context, t.Seed)
	if t.run, err = t.identity(); err != nil || t.Checkpoint == "" {
		return err
	}
	resumed, err := t.load(t.Checkpoint)
	if resumed {
		progress(Progress{Message: fmt.Sprintf("resumed after step %d", t.step)})
	}
	return err
}

// identity names everything that the numbers after a step depend on. The number of steps and of those in which the rates
// fall are not in it: before the rates begin to fall they have no influence, so that the end can be chosen, or put off,
// while a run is under way.
func (t *trainer) identity() (string, error) {
	opt := t.Optimizer
	opt.Decay = 0
	if t.Shape.Instead.dense() && !opt.DenseAdam { // where nothing learns at that rate
		opt.ExpertLR = 0
	}
	b, err := json.Marshal(struct {
		Tokens    string
		Shape     Shape
		Optimizer Optimizer
		Batch     int
		Seed      uint64
		Precision string
	}{hashTokens(t.corpus), t.Shape, opt, t.BatchTokens, t.Seed, t.Precision.String()})
	return string(b), err
}

func (t *trainer) train(ctx context.Context, progress func(Progress)) error {
	var batch []int32
	for t.step < t.Steps {
		if err := ctx.Err(); err != nil {
			return errors.Join(fmt.Errorf("pretrain stopped after step %d: %w", t.step, err), t.save())
		}
		start := time.Now()
		batch = t.data.batch(batch[:0], t.step, t.BatchTokens/t.Shape.Context)
		t.model.pack(t.Precision)
		loss, err := t.model.step(batch, t.Shape.Context)
		if err != nil {
			return err
		}
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			return fmt.Errorf("pretrain: loss is %v at step %d: the learning rates are too high", loss, t.step)
		}
		norm := t.opt.step(t.step, t.Steps)
		t.step++
		sec := time.Since(start).Seconds()
		t.seconds += sec
		p := Progress{Step: t.step, Steps: t.Steps, Loss: loss, GradNorm: norm, TokensPerSecond: float64(t.BatchTokens) / sec}
		if t.EvalEvery > 0 && t.step%t.EvalEvery == 0 && t.step < t.Steps {
			nll, _, err := t.evaluate(t.held[:min(len(t.held), t.EvalTokens)], nil)
			if err != nil {
				return err
			}
			p.Perplexity = math.Exp(nll)
		}
		progress(p)
		if t.CheckpointEvery > 0 && (t.step%t.CheckpointEvery == 0 || t.step == t.Steps) {
			if err := t.save(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *trainer) save() error {
	if t.Checkpoint == "" {
		return nil
	}
	return t.write(t.Checkpoint)
}

// evaluate returns the mean loss of ids in windows of the context that do not overlap, in f32 products, and how many
// tokens were predicted. The first token of a window is not predicted. Gates are added to usage, unless that is nil.
func (t *trainer) evaluate(ids []int32, usage []gateSums) (nll float64, predicted int, err error) {
	m, err := newModel(t.Shape, t.w, nil, t.pool)
	if err != nil {
		return 0, 0, err
	}
	m.usage = usage
	m.pack(kernels.F32)
	var sum float64
	for len(ids) >= 2 {
		n := min(t.Shape.Context, len(ids)) - 1
		loss := make([]float32, n)
		if err := m.forward(ids[:n], n); err != nil {
			return 0, 0, err
		}
		m.head(loss, ids[1:n+1], false)
		sum += mean(loss) * float64(n)
		predicted += n
		ids = ids[n+1:]
	}
	return sum / float64(max(1, predicted)), predicted, nil
}

func (t *trainer) result() (Result, error) {
	usage := t.Shape.newUsage()
	held := t.held
	if n := t.FinalTokens; n > 0 {
		held = held[:min(n, len(held))]
	}
	nll, n, err := t.evaluate(held, usage)
	if err != nil {
		return Result{}, err
	}
	r := Result{FFN: t.Shape.Instead.at(0), Parameters: t.Shape.Parameters(), ActiveParameters: t.Shape.ActiveParameters(), FLOPs: t.Shape.FLOPs(),
		TrainTokens: len(t.corpus), SeenTokens: t.step * t.BatchTokens, HeldOutTokens: n,
		NLL: nll, Perplexity: math.Exp(nll), Seconds: t.seconds, Steps: t.step}
	for i, u := range usage {
		if u != nil {
			r.FFN = t.Shape.Instead.Kind
			r.Usage = append(r.Usage, u.usage(i))
		}
	}
	r.TokensPerSecond = float64(r.SeenTokens) / t.seconds
	if t.heldBytes > 0 {
		r.BitsPerByte = nll / math.Ln2 * float64(len(t.held)) / float64(t.heldBytes)
	}
	return r, nil
}
