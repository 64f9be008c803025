package peft

import (
	"context"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base/llama"
)

// Text of a set's own that is read after its training: to count which experts it selects, and to fit the set's strength.
const (
	hitTokens      = 4096
	strengthTokens = 4096
)

// aimTokens is how much of a set's own text is read before its training to aim the experts that were never trained.
const aimTokens = 4096

// aim turns the set's untrained experts towards what they will see.
func (f *finetuning) aim(ctx context.Context) error {
	if f.o.NoAim {
		return nil
	}
	a := peer.NewAimer(f.router.Router, f.e.pool, f.set)
	if a == nil {
		return nil
	}
	if err := f.read(ctx, "aim experts", a, f.made, aimTokens); err != nil {
		return err
	}
	a.Aim()
	return nil
}

// beside returns the sets that are on when the trained one is measured.
func (f *finetuning) beside() []*peer.Set {
	if f.o.Alternate {
		return nil
	}
	return f.with
}

// quiet reads the files of text that the set is to leave alone beside the background, as much of each as counts.
func (f *finetuning) quiet() (all [][]tune.Sequence, err error) {
	for _, file := range f.o.QuietData {
		d, err := tune.ReadFiles(f.b.Tokenizer, []string{file}, true)
		if err != nil {
			return nil, err
		}
		all = append(all, tune.QuietSample(d.Sequences(backgroundSeq), len(f.o.QuietData)))
	}
	return all, nil
}

// loudest is the quantile of its strength on held-out text that a set is capped at.
const loudest = 0.999

// settle makes of the rows that training left what is stored: in their format, with the experts' hits, without the coldest where
// that was asked for, and capped.
func (f *finetuning) settle(ctx context.Context, train []tune.Sequence) error {
	f.set.Convert(f.e.pool, f.set.Keeps())
	counter := peer.NewCounter(f.router.Router, f.e.pool)
	var err error
	if counter.With, err = peer.NewStack(f.router.Router, f.e.pool, append([]*peer.Set{f.set}, f.beside()...)...); err != nil {
		return err
	}
	if err := f.read(ctx, "count experts", counter, train, hitTokens); err != nil {
		return err
	}
	if err := f.set.SetTrained(f.router.Router, counter.Counts()); err != nil {
		return err
	}
	if f.o.Prune > 0 {
		if err := f.set.Prune(f.o.Prune); err != nil {
			return err
		}
	}
	return f.cap(ctx)
}

// cap fits the caps of the set on its held-out text.
func (f *finetuning) cap(ctx context.Context) error {
	if f.set.AlwaysOn() { // what others trained or will read has no caps
		return nil
	}
	strength, err := peer.NewStrength(f.router.Router, f.e.pool, f.set, f.beside()...)
	if err != nil {
		return err
	}
	if err := f.read(ctx, "measure strength", strength, f.held, strengthTokens); err != nil {
		return err
	}
	return strength.Fit(loudest)
}

// read runs at most so many tokens, evenly from all of the text, through the base with seam in it.
func (f *finetuning) read(ctx context.Context, task string, seam llama.Seam, seqs []tune.Sequence, tokens int) error {
	last := f.router.Layers[len(f.router.Layers)-1].Block
	return f.e.readPart(ctx, f.b.Model, task, seqs, tokens, seam, last+1)
}
