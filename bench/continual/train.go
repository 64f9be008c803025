package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/gopeft/peft"
)

// method is one way to learn a domain.
type method struct {
	name, title string
	rates       []float64 // tried first; the tune split chooses
	rank, alpha int       // of LoRA; 0 for peft
	targets     []string
	beta1       float64 // of LoRA's Adam; 0 for PyTorch's default
}

var allLinear = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

var (
	peftMethod = method{name: "peft", title: "peft", rates: []float64{2e-3, 4e-3, 6e-3, 8e-3}}
	smallLoRA  = method{name: "lora8", title: "LoRA r=8, q and v", rates: []float64{2e-3, 4e-3, 6e-3, 8e-3}, rank: 8, alpha: 16, targets: []string{"q_proj", "v_proj"}}
	largeLoRA  = method{name: "lora16", title: "LoRA r=16, all linear", rates: []float64{2e-3, 4e-3, 6e-3, 8e-3}, rank: 16, alpha: 32, targets: allLinear}
	quickLoRA  = method{name: "lora16b5", title: "LoRA r=16, all linear, beta1 0.5 as peft's", rates: []float64{2e-3, 4e-3, 6e-3, 8e-3}, rank: 16, alpha: 32, targets: allLinear, beta1: 0.5}
)

// figure is what one text measures.
type figure struct {
	NLL    float64 `json:"nll"` // nats a token
	Tokens int     `json:"tokens"`
	SHA256 string  `json:"logits_sha256,omitempty"`
}

// trained is one domain learned once.
type trained struct {
	Rate       float64           `json:"learning_rate"`
	Losses     []float64         `json:"losses"` // of every step's batch, nats a token
	Tokens     int               `json:"tokens"`
	Seconds    float64           `json:"seconds"`    // of the steps
	Parameters int               `json:"parameters"` // that are trained
	Bytes      int64             `json:"bytes"`      // stored: of peft all that belongs to the set, of LoRA its matrices in bf16
	Texts      map[string]figure `json:"texts"`      // with it forced on
	Experts    int               `json:"experts,omitempty"`
}

// job is what to learn, and what to measure afterwards.
type job struct {
	method
	domain  string
	seed    uint64
	rate    float64
	experts int    // of peft; 0 for its default
	from    string // adapter of LoRA that goes on learning
	file    string // that gets the set, or the directory of the adapter; empty for none
	texts   []string
}

func (b *bench) learn(ctx context.Context, j job) (*trained, error) {
	if j.rank == 0 {
		return b.learnPEFT(ctx, j)
	}
	return b.learnLoRA(ctx, j)
}

func (b *bench) learnPEFT(ctx context.Context, j job) (t *trained, err error) {
	err = b.copied("learn", func(e *peft.Engine) error {
		if t, err = b.learned(ctx, e, j.domain, b.finetune(j), j.texts); err != nil || j.file == "" {
			return err
		}
		_, err = e.Export(j.domain, j.file)
		return err
	})
	return t, err
}

// finetune returns the options of a job.
func (b *bench) finetune(j job) peft.FinetuneOptions {
	files := b.domains[j.domain]
	held := files.forCap
	if j.file != "" {
		held = files.forGate
	}
	return peft.FinetuneOptions{
		Data: files.train, EvalData: held, Steps: b.res.Settings.Steps, SeqLen: b.res.Settings.SeqLen, BatchTokens: batchTokens,
		LearningRate: j.rate, Seed: j.seed, Experts: j.experts, ReportTokens: -1,
		Precision: "bf16", // as LoRA's, whatever is fastest on this machine
	}
}

// learned trains a set, and measures texts with it forced on.
func (b *bench) learned(ctx context.Context, e *peft.Engine, name string, o peft.FinetuneOptions, texts []string) (*trained, error) {
	if _, err := e.Finetune(ctx, name, o); err != nil {
		return nil, err
	}
	info, err := e.Show(name)
	if err != nil {
		return nil, err
	}
	bs, err := e.Base()
	if err != nil {
		return nil, err
	}
	t := &trained{Rate: o.LearningRate, Tokens: info.Training.Tokens, Seconds: info.Training.Seconds, Bytes: info.Bytes, Experts: info.Experts,
		Parameters: info.Experts * neuronRows * bs.Model.Config.Hidden}
	for _, l := range info.Training.Losses {
		t.Losses = append(t.Losses, l.Train)
	}
	t.Texts, err = b.forced(ctx, e, []string{name}, texts)
	return t, err
}

// neuronRows is how many vectors of the base's width an expert of peft's default kind has.
const neuronRows = 2

// forced measures texts with sets on.
func (b *bench) forced(ctx context.Context, e *peft.Engine, sets, texts []string) (map[string]figure, error) {
	all := map[string]figure{}
	for _, name := range texts {
		r, err := e.Evaluate(ctx, peft.EvalOptions{Data: b.texts[name].files, Sets: sets, SeqLen: measured})
		if err != nil {
			return nil, err
		}
		all[name] = figure{r.NLL, r.Tokens, r.LogitsSHA256}
	}
	return all, nil
}

func (b *bench) learnLoRA(ctx context.Context, j job) (*trained, error) {
	batches, err := b.batches(b.tok, j.domain, j.seed)
	if err != nil {
		return nil, err
	}
	dir := j.file
	if dir == "" {
		dir = b.path("adapter")
		defer os.RemoveAll(dir)
	}
	t := &trained{}
	if err := b.ask(ctx, map[string]any{"do": "train", "batches": batches, "lr": j.rate, "beta1": cmp.Or(j.beta1, 0.9), "seed": j.seed, "r": j.rank, "alpha": j.alpha, "targets": j.targets,
		"from": j.from, "save": dir}, t); err != nil {
		return nil, err
	}
	t.Rate, t.Bytes = j.rate, 2*int64(t.Parameters)
	sums, err := b.askTexts(ctx, []string{dir}, j.texts)
	if err != nil {
		return nil, err
	}
	t.Texts = b.figures(sums)
	return t, nil
}

// sums are the negative log-likelihoods of each sequence's tokens before its prompt's end and after it, in nats, by text.
type sums map[string][][2]float64

// askTexts lets lora.py measure texts with adapters on.
func (b *bench) askTexts(ctx context.Context, adapters, texts []string) (sums, error) {
	files := map[string]string{}
	for _, name := range texts {
		files[name] = b.texts[name].json
	}
	var a struct{ Texts sums }
	err := b.ask(ctx, map[string]any{"do": "measure", "adapters": adapters, "texts": files}, &a)
	return a.Texts, err
}

func (b *bench) figures(s sums) map[string]figure {
	all := map[string]figure{}
	for name, sequences := range s {
		var sum float64
		for _, parts := range sequences {
			sum += parts[0] + parts[1]
		}
		n := b.texts[name].tokens()
		all[name] = figure{NLL: sum / float64(n), Tokens: n}
	}
	return all
}

// off measures the base alone on both sides.
func (b *bench) off(ctx context.Context) error {
	texts := allTexts()
	for _, d := range b.res.Sweep {
		texts = append(texts, d+"/"+tuned)
	}
	_, err := piece(b, "off/peft", func() (all map[string]figure, err error) {
		err = b.copied("off", func(e *peft.Engine) error {
			all, err = b.forced(ctx, e, nil, texts)
			return err
		})
		return all, err
	})
	if err != nil || b.python == "" {
		return err
	}
	_, err = piece(b, "off/lora", func() (*loraOff, error) {
		s, err := b.askTexts(ctx, nil, texts)
		return &loraOff{b.figures(s), s}, err
	})
	return err
}

// loraOff is the base as lora.py measures it.
type loraOff struct {
	Texts     map[string]figure `json:"texts"`
	Sequences sums              `json:"sequences"`
}

// offOf returns the base's figures as a method's side measures them.
func (b *bench) offOf(m method) (map[string]figure, error) {
	if m.rank == 0 {
		all, _, err := done[map[string]figure](b, "off/peft")
		return all, err
	}
	l, _, err := done[loraOff](b, "off/lora")
	return l.Texts, err
}

// mostRates bounds how many learning rates of a method are tried.
const mostRates = 6

// sweep tries the methods' learning rates on the tune split of some domains, and further ones as long as the best is the
// least or the largest of them.
func (b *bench) sweep(ctx context.Context, methods []method) error {
	for _, m := range methods {
		for {
			rates, drops, err := b.tried(m)
			if err != nil {
				return err
			}
			if len(drops) == len(rates) {
				break
			}
			rate := rates[len(drops)]
			for _, d := range b.res.Sweep {
				if _, err := piece(b, sweepName(m, d, rate), func() (*trained, error) {
					return b.learn(ctx, job{method: m, domain: d, seed: 1, rate: rate, texts: []string{d + "/" + tuned}})
				}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func sweepName(m method, domain string, rate float64) string {
	return fmt.Sprintf("sweep/%s/%s/%g", m.name, domain, rate)
}

// tried returns a method's learning rates, in the order of trying, and by how much each of those that were tried lowers the
// mean NLL of the sweep's domains, in nats a token. The sweep is done when there are as many of both.
func (b *bench) tried(m method) (rates, drops []float64, err error) {
	off, err := b.offOf(m)
	if err != nil {
		return nil, nil, err
	}
	rates = slices.Clone(m.rates)
	for i := 0; i < len(rates); i++ {
		var sum float64
		for _, d := range b.res.Sweep {
			t, ok, err := done[*trained](b, sweepName(m, d, rates[i]))
			if !ok || err != nil {
				return rates, drops, err
			}
			name := d + "/" + tuned
			if _, ok := off[name]; !ok {
				return rates, drops, fmt.Errorf("%s was not measured with the base alone: a -work can go on with fewer domains to sweep, not with others", name)
			}
			sum += (off[name].NLL - t.Texts[name].NLL) / float64(len(b.res.Sweep))
		}
		if drops = append(drops, sum); len(drops) < len(rates) || len(rates) == mostRates {
			continue
		}
		switch best := rates[slices.Index(drops, slices.Max(drops))]; best {
		case slices.Min(rates):
			rates = append(rates, best/2)
		case slices.Max(rates):
			rates = append(rates, best*2)
		}
	}
	return rates, drops, nil
}

// rate returns the best of a method's learning rates.
func (b *bench) rate(m method) (float64, error) {
	rates, drops, err := b.tried(m)
	if err != nil || len(drops) < len(rates) {
		return 0, errors.Join(err, fmt.Errorf("learning rate of %s: the sweep is not done", m.name))
	}
	return rates[slices.Index(drops, slices.Max(drops))], nil
}

// compare learns every domain by those methods with those seeds.
func (b *bench) compare(ctx context.Context, seeds []uint64, methods []method) error {
	for _, seed := range seeds {
		for _, d := range domainNames() {
			for _, m := range methods {
				rate, err := b.rate(m)
				if err != nil {
					return err
				}
				file := ""
				if seed == b.seeds[0] {
					if file, err = b.kept(m, d); err != nil {
						return err
					}
				}
				if _, err := piece(b, runName(m, d, seed), func() (*trained, error) {
					return b.learn(ctx, job{method: m, domain: d, seed: seed, rate: rate, file: file, texts: append([]string{testOf(d)}, otherTexts()...)})
				}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func runName(m method, domain string, seed uint64) string {
	return fmt.Sprintf("run/%s/%s/%d", m.name, domain, seed)
}

// kept names the file or directory of what a method made of a domain with the first seed.
func (b *bench) kept(m method, domain string) (string, error) {
	return b.path("kept", strings.Join([]string{m.name, domain}, "-")), os.MkdirAll(b.path("kept"), 0o777)
}
