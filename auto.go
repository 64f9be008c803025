package peft

import (
	"context"
	"math"
	"slices"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/registry"
)

// auto decides by gates which sets are on, once a sequence, from its prompt while the base alone reads it. All whose
// gates fire are on, each as it would be alone, but for those that yield to another; where none fires, what the base computed
// stands, to the bit.
type auto struct {
	e      *Engine
	router *storedRouter
	gates  []*storedGate
	on     map[string]int     // for how many sequences, by name@revision
	seen   int                // sequences in all
	held   *registry.Snapshot // in which the sets are that may be on; nil for the registry as it is when they are
	last   decision           // on the last sequence
}

// decision is what gates made of a prompt.
type decision struct {
	sample peer.Sample
	rows   int
	all    []passing // the sets whose gates let it pass by score and distance
}

// of returns what became of a gate's set; nothing where the gate let nothing pass.
func (d *decision) of(g *storedGate) passing {
	if i := slices.IndexFunc(d.all, func(p passing) bool { return p.gate == g }); i >= 0 {
		return d.all[i]
	}
	return passing{}
}

// newAuto prepares deciding between the named sets, or all that have a gate when none is named. It returns nil when there
// are none.
func (e *Engine) newAuto(ctx context.Context, names []string) (*auto, error) {
	s := e.reg.Snapshot()
	defer s.Close()
	return e.newAutoIn(ctx, s, names)
}

// Gated returns the names of the sets between which gates decide when none is named, in order.
func (e *Engine) Gated(ctx context.Context) ([]string, error) {
	a, err := e.newAuto(ctx, nil)
	if err != nil || a == nil {
		return nil, err
	}
	names := make([]string, len(a.gates))
	for i, g := range a.gates {
		names[i] = g.name
	}
	return names, nil
}

// newAutoIn is newAuto of the sets in a snapshot.
func (e *Engine) newAutoIn(ctx context.Context, s *registry.Snapshot, names []string) (*auto, error) {
	if len(names) == 0 && e.gateTable(s) == nil && len(s.Names(nsSets)) == 0 { // before a router is made for nothing
		return nil, nil
	}
	r, err := e.router(ctx)
	if err != nil {
		return nil, err
	}
	gates, err := e.storedGates(s, r, names)
	if err != nil || len(gates) == 0 {
		return nil, err
	}
	return &auto{e: e, router: r, gates: gates, on: map[string]int{}}, nil
}

// withSetsOr is withSets or, by gates, the base with what decides between the sets.
func (e *Engine) withSetsOr(ctx context.Context, names []string, gates bool) (*base.Base, llama.Seam, *auto, error) {
	if !gates {
		b, c, err := e.withSets(ctx, names)
		return b, c.seam(), nil, err
	}
	b, err := e.Base()
	if err != nil {
		return nil, nil, nil, err
	}
	a, err := e.newAuto(ctx, names)
	return b, nil, a, err
}

// choose returns how a text is read whose first tokens are a prompt of that length.
func (a *auto) choose(ctx context.Context, text []int32, prompt int) *base.Choice {
	text = text[:min(prompt, len(text))]
	j := a.look(text)
	return &base.Choice{Prompt: prompt, Look: j, Decide: func() (llama.Seam, error) {
		c, err := a.decide(ctx, text, j)
		return c.seam(), err
	}}
}

// look returns what sees a prompt, for decide.
func (a *auto) look(prompt []int32) *peer.Sampler {
	a.seen++
	j := peer.NewSampler(a.router.Router, a.e.pool)
	j.From, j.To = a.router.prompter.judged(prompt)
	return j
}

// decide returns the combination of the sets that are on for a prompt by their gates, nil when none is; see between.
func (a *auto) decide(ctx context.Context, prompt []int32, j *peer.Sampler) (*combination, error) {
	d := decision{rows: j.Rows()}
	d.sample = j.Sample(0, d.rows)
	var sets []strong
	s := a.held
	for _, g := range a.gates {
		if !g.passesOn(d.sample, d.rows) {
			continue
		}
		if s == nil {
			s = a.e.reg.Snapshot()
			defer s.Close()
		}
		set, err := a.e.cachedSet(s, g.set)
		if err != nil {
			return nil, err
		}
		d.all, sets = append(d.all, passing{set: set, gate: g, least: g.info.threshold(d.rows).Gain}), append(sets, strong{g.set, 1})
	}
	if len(d.all) == 0 {
		a.last = d
		return nil, nil
	}
	b, err := a.e.Base()
	if err != nil {
		return nil, err
	}
	asked := confirmation{e: a.e, b: b, r: a.router, prompts: [][]int32{prompt}}
	if err := between(d.all, func(on []int) (float64, error) {
		some := make([]strong, len(on))
		for i, j := range on {
			some[i] = sets[j]
		}
		c, err := a.e.combine(s, a.router.Router, some)
		if err != nil {
			return 0, err
		}
		return asked.gain(ctx, c.Stack)
	}); err != nil {
		return nil, err
	}
	var on []strong
	for i, p := range d.all {
		if p.isOn() {
			on = append(on, sets[i])
			a.on[p.gate.ref]++
		}
	}
	a.last = d
	if len(on) == 0 {
		return nil, nil
	}
	return a.e.combine(s, a.router.Router, on)
}

// Fired says for how many sequences a set was on by its gate.
type Fired struct {
	Set       string  `json:"set"` // name@revision
	Sequences int     `json:"sequences"`
	Share     float64 `json:"share"` // of all sequences
}

// report returns what each gate did, in order of name; nil on a nil auto.
func (a *auto) report() []Fired {
	if a == nil {
		return nil
	}
	all := make([]Fired, len(a.gates))
	for i, g := range a.gates {
		all[i] = Fired{Set: g.ref, Sequences: a.on[g.ref], Share: float64(a.on[g.ref]) / float64(max(1, a.seen))}
	}
	return all
}

// allScores is the number of gates up to which each is said to have found something, and not only those that fired: to find out
// that a gate does not fire, most often a part of its score is enough.
const allScores = 64

// gateScores returns what gates found in the last sequence, in order of name; nil on a nil auto.
func (a *auto) gateScores() (all []GateScore) {
	if a == nil {
		return nil
	}
	d := a.last
	for _, g := range a.gates {
		t, p := g.info.threshold(d.rows), d.of(g)
		if math.IsInf(t.Score, 1) || !p.fires && len(a.gates) > allScores {
			continue
		}
		score, asked := g.Score(d.sample), p.least > 0
		found := GateScore{Set: g.ref, Score: score, Threshold: t.Score, Fired: p.fires, Unlike: !p.fires && !asked && score > t.Score, Gain: p.gain, Vain: asked && !p.fires}
		if p.fires && !p.isOn() {
			found.YieldsTo = d.all[p.to].gate.ref
		}
		all = append(all, found)
	}
	return all
}

// promptOf returns how many tokens of a window decide: all before the first that is scored, and of plain text so many.
func promptOf(w base.Window, tokens int) int {
	if w.Scored != nil {
		for i, s := range w.Scored {
			if s && i > 1 {
				return i
			}
			if s {
				break
			}
		}
	}
	return tokens
}
