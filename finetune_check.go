package peft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gopeft/peft/registry"
)

// CheckFinetune reports, without computing anything, what Finetune would refuse at once.
func (e *Engine) CheckFinetune(name string, o FinetuneOptions) error {
	o.defaults()
	return o.check(e, name)
}

// check reports, before anything is computed, data that is missing, options that cannot be, and names that the registry
// does not have or that a new set cannot take. o has its defaults.
func (o *FinetuneOptions) check(e *Engine, name string) error {
	if len(o.Data) == 0 {
		return errors.New("peft: finetune: no data given")
	}
	for _, f := range slices.Concat(o.Data, o.EvalData, o.QuietData) {
		if err := exists("data", f); err != nil {
			return err
		}
	}
	if o.ForbidRegression != nil && reportLength(o.ReportTokens) == 0 {
		return errors.New("peft: finetune: a regression cannot be forbidden without measuring it; let the report read some tokens")
	}
	if !(o.Prune >= 0 && o.Prune <= 1) {
		return fmt.Errorf("peft: finetune: keep a share of %g of the experts, want 0 to 1", o.Prune)
	}
	if o.Alternate && len(o.With) == 0 {
		return errors.New("peft: finetune: to alternate is about the sets that are on with it, and none is named")
	}
	if err := o.Placing.check(); err != nil {
		return err
	}
	if _, err := o.precision(false); err != nil {
		return err
	}
	if err := o.Optimiser.check(); err != nil {
		return err
	}
	run := o.run()
	run.Defaults()
	if err := run.Check(); err != nil {
		return err
	}
	if err := registry.CheckName(name); err != nil { // name@revision would be trained too, but has no place to go
		return err
	}
	s := e.reg.Snapshot()
	defer s.Close()
	if _, err := s.Manifest(nsSets, name, 0); errors.Is(err, registry.ErrNotFound) {
		if err := freeName(s, name); err != nil {
			return err
		}
		if err := o.Adapter.check(); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	for _, n := range o.With {
		m, err := findSet(s, n)
		if err != nil {
			return err
		}
		if m.Name == name {
			return fmt.Errorf("peft: finetune %s: the set itself stands among those beside it", name)
		}
	}
	if o.Resume {
		if _, err := s.Manifest(nsCheckpoints, name, 0); err != nil {
			return fmt.Errorf("peft: resume %s: no checkpoint: %w", name, err)
		}
	}
	return nil
}
