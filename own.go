package peft

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/registry"
)

// ownership is what a revision keeps beside its experts to know its own text by.
type ownership struct {
	gate *storedGate // nil where the text is too little for one
	held []tune.Sequence
	lost *Forgetting // nil where it was not measured
}

// own makes it from selections and held-out sequences of the set's own text. Too little text is a warning, not an error.
func (e *Engine) own(ctx context.Context, b *base.Base, r *storedRouter, set *peer.Set, sel selections, held []tune.Sequence) (*ownership, error) {
	o := &ownership{held: tune.Spread(held, heldTokens)}
	var err error
	name := set.Name
	o.gate, err = e.makeGate(ctx, b, r, set, sel, o.held)
	if errors.Is(err, tune.ErrData) {
		e.warnf("%s gets no gate, and --auto will not know it: %v", name, err)
		return o, nil
	}
	if err != nil {
		return nil, fmt.Errorf("peft: gate of %s: %w", name, err)
	}
	for _, w := range o.gate.info.ownWarning(name) {
		e.warnf("%s", w)
	}
	for _, f := range o.gate.info.Older {
		if f.Rate() > gateAlpha {
			older, _, _ := strings.Cut(f.Text, "@")
			e.warnf("%s", firesOnNewer(older, name, f.Rate()))
		}
	}
	return o, nil
}

// ownOf makes the ownership of a set from its text.
func (e *Engine) ownOf(ctx context.Context, b *base.Base, r *storedRouter, set *peer.Set, t *newText) (*ownership, error) {
	sel, err := e.sampled(ctx, b, r, t.counts, t.made)
	if err != nil {
		return nil, err
	}
	return e.own(ctx, b, r, set, sel, t.held)
}

// record writes what the manifest keeps; on nil nothing.
func (o *ownership) record(rec *setRecord) {
	if o == nil {
		return
	}
	if rec.Forgetting = o.lost; o.gate != nil {
		rec.Gate = o.gate.info
	}
}

// encode writes the parts; on nil none.
func (o *ownership) encode(part func(name string) (io.Writer, error)) error {
	if o == nil {
		return nil
	}
	put := func(name string, data []byte) error {
		w, err := part(name)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	}
	if o.gate != nil {
		if err := put(partGate, o.gate.Marshal()); err != nil {
			return err
		}
	}
	if len(o.held) == 0 {
		return nil
	}
	return put(partHeld, tune.MarshalSequences(o.held))
}

// own makes the trained revision's: of what it was trained on now, and when its parent had learned something else, of that
// too.
func (f *finetuning) own(ctx context.Context) (*ownership, error) {
	counts, err := f.e.count(ctx, f.b, f.router.Router, f.made)
	if err != nil {
		return nil, err
	}
	sel, err := f.e.sampled(ctx, f.b, f.router, counts, f.made)
	if err != nil {
		return nil, err
	}
	held := f.held
	if f.parent != nil {
		info, err := infoOf(f.parent)
		if err != nil {
			return nil, err
		}
		if info.Training != nil && !slices.Equal(info.Source, f.o.Data) {
			if held, err = f.earlier(&sel, held); err != nil {
				return nil, err
			}
		}
	}
	return f.e.own(ctx, f.b, f.router, f.set, sel, held)
}

// earlier adds the selections of what the parent had learned, and shares what is held out with its text.
func (f *finetuning) earlier(sel *selections, held []tune.Sequence) ([]tune.Sequence, error) {
	s := f.e.reg.Snapshot()
	defer s.Close()
	before, err := readHeld(s, f.parent, f.b.Model.Config.Vocab)
	if err != nil {
		return nil, err
	}
	gates, err := f.e.storedGates(s, f.router, []string{fmt.Sprintf("%s@%d", f.parent.Name, f.parent.Revision)})
	if err != nil && !errors.Is(err, ErrNoGate) {
		return nil, err
	}
	for _, g := range gates {
		add(sel.counts, g.Counts)
		sel.samples = slices.Concat(evenly(g.Samples, gateSamples/2), evenly(sel.samples, gateSamples/2))
	}
	return slices.Concat(tune.Spread(before, heldTokens/2), tune.Spread(held, heldTokens/2)), nil
}

// inherited returns the ownership of a revision, for one that is made from it without other text.
func (e *Engine) inherited(s *registry.Snapshot, r *storedRouter, m *registry.Manifest) (*ownership, error) {
	b, err := e.Base()
	if err != nil {
		return nil, err
	}
	o := &ownership{}
	if o.held, err = readHeld(s, m, b.Model.Config.Vocab); err != nil {
		return nil, err
	}
	gates, err := e.storedGates(s, r, []string{fmt.Sprintf("%s@%d", m.Name, m.Revision)})
	if errors.Is(err, ErrNoGate) {
		return o, nil
	}
	if err != nil {
		return nil, err
	}
	o.gate = gates[0]
	return o, nil
}

// imported makes the ownership of a set from what its export holds. Thresholds are set anew, because they belong to the
// registry's other sets.
func (e *Engine) imported(ctx context.Context, b *base.Base, r *storedRouter, set *peer.Set, z *zip.ReadCloser) (*ownership, error) {
	read := func(part string) ([]byte, error) {
		f, err := z.Open("parts/" + part)
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(f)
		return data, errors.Join(err, f.Close())
	}
	text, err := read(partHeld)
	if err != nil {
		return nil, err
	}
	gate, err := read(partGate)
	if err != nil {
		return nil, err
	}
	held, err := tune.UnmarshalSequences(text, b.Model.Config.Vocab)
	if err != nil {
		return nil, err
	}
	sel := selections{counts: setCounts(r, set)}
	if gate != nil {
		g, err := peer.UnmarshalGate(gate, r.Router)
		if err != nil {
			return nil, err
		}
		sel = selections{g.Counts, g.Samples}
	}
	return e.own(ctx, b, r, set, sel, held)
}

// setCounts returns the selections by which a set was placed, zeros where it has none.
func setCounts(r *storedRouter, set *peer.Set) [][]uint32 {
	counts := make([][]uint32, len(r.Layers))
	for i, l := range r.Layers {
		if counts[i] = set.Selections(r.Router, l); counts[i] == nil {
			counts[i] = make([]uint32, l.Cells())
		}
	}
	return counts
}

// Regate sets a set's gate anew, against the sets that the registry holds now, and commits it as a new revision. Its experts
// stay as they are. Nothing else ever changes a gate but training.
func (e *Engine) Regate(ctx context.Context, name string) (*SetInfo, error) {
	if n, rev, err := registry.ParseRef(name); err == nil && rev != 0 {
		return nil, fmt.Errorf("peft: gate: %s@%d names a revision; revisions never change, and only the current one is followed by another: %w", n, rev, registry.ErrName)
	}
	release, err := e.claims.take(name, "gate")
	if err != nil {
		return nil, err
	}
	defer release()
	s := e.reg.Snapshot()
	defer s.Close()
	m, info, err := findInfo(s, name)
	if err != nil {
		return nil, err
	}
	b, err := e.Base()
	if err != nil {
		return nil, err
	}
	r, err := e.router(ctx)
	if err != nil {
		return nil, err
	}
	set, err := e.loadSet(s, r.Router, name)
	if err != nil {
		return nil, err
	}
	sel := selections{counts: setCounts(r, set)}
	gates, err := e.storedGates(s, r, []string{name})
	if err != nil && !errors.Is(err, ErrNoGate) {
		return nil, err
	}
	for _, g := range gates {
		sel = selections{g.Counts, g.Samples}
	}
	held, err := readHeld(s, m, b.Model.Config.Vocab)
	if err != nil {
		return nil, err
	}
	if len(held) == 0 {
		return nil, fmt.Errorf("peft: gate: %s keeps no held-out text (it was made by an earlier version, or from too little text); train it again: %w", name, ErrNoGate)
	}
	own, err := e.own(ctx, b, r, set, sel, held)
	if err != nil {
		return nil, err
	}
	if own.gate == nil {
		return nil, fmt.Errorf("peft: gate: the text that %s keeps is too little: %w", name, ErrNoGate)
	}
	if info.Training != nil {
		if own.lost, err = e.forgetting(ctx, b, r, set, own, m, reportTokens); err != nil {
			return nil, err
		}
	}
	if m, err = e.storeSet(ctx, set, info.Base, info.Source, info.Training, own); err != nil {
		return nil, err
	}
	return infoOf(m)
}

// newerRates collects from the current revisions of other sets how often a set's gate fired on their text when they were
// gated.
func newerRates(s *registry.Snapshot, of *SetInfo) ([]FireRate, error) {
	var rates []FireRate
	ref := fmt.Sprintf("%s@%d", of.Name, of.Revision)
	for _, n := range s.Names(nsSets) {
		m, err := s.Manifest(nsSets, n, 0)
		if err != nil {
			return nil, err
		}
		info, err := infoOf(m)
		if err != nil {
			return nil, err
		}
		if n == of.Name || info.Gate == nil {
			continue
		}
		for _, f := range info.Gate.Older {
			if f.Text == ref {
				rates = append(rates, FireRate{fmt.Sprintf("%s@%d", n, info.Revision), f.Sequences, f.Fired})
			}
		}
	}
	return rates, nil
}

// Warnings says what a user should know about the gate; Show collects what it needs.
func (s *SetInfo) Warnings() []string {
	if s.Gate == nil {
		return nil
	}
	w := s.Gate.ownWarning(s.Name)
	for _, f := range s.Newer {
		if f.Rate() > gateAlpha {
			w = append(w, firesOnNewer(s.Name, f.Text, f.Rate()))
		}
	}
	return w
}

func (i *GateInfo) ownWarning(name string) []string {
	if i.Own.Rate() >= gateOwnRate {
		return nil
	}
	return []string{fmt.Sprintf("the gate of %s fires on %.0f %% of its own held-out sequences; with --auto the others are read without it (its text may look like the background's or another set's)", name, 100*i.Own.Rate())}
}

func firesOnNewer(older, newer string, rate float64) string {
	return fmt.Sprintf("the gate of %s fires on %.1f %% of the text of %s, which is newer; set it anew with: peft gate %[1]s", older, 100*rate, newer)
}
