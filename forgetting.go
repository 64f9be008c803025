package peft

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/registry"
)

// reportTokens is how much of each text the forgetting report reads, when nothing else is asked for.
const reportTokens = 2048

// reportLength resolves an option: 0 is the default, below 0 none.
func reportLength(tokens int) int {
	if tokens == 0 {
		return reportTokens
	}
	return max(0, tokens)
}

// Forgetting says what a revision did to text that is not its own: perplexities as they were before it and are with it.
type Forgetting struct {
	Tokens int          `json:"tokens"` // read of each text, at most
	Texts  []TextChange `json:"texts"`  // the set's own held-out text first, then the background and the other sets'
}

// TextChange is one text's perplexities. On and Auto are pairs: before the revision and after it.
type TextChange struct {
	Text   string     `json:"text"`   // "own", "background" or a set's name@revision
	Tokens int        `json:"tokens"` // that were predicted
	Off    float64    `json:"off"`    // with the base alone
	Alone  float64    `json:"alone"`  // with nothing but this revision forced on
	On     [2]float64 `json:"on"`     // with the text's own set forced on, and after it this revision beside it, unless Apart
	Auto   [2]float64 `json:"auto"`   // what users of --auto get
	Fired  [2]float64 `json:"fired"`  // share of sequences for which this set's gate fired: its earlier revision's, and now
	// Apart tells that the text's own set and this revision cannot be on together, as two of DoRA at a layer: On is then of
	// the text's own set without it, and in Auto one of them yields.
	Apart bool `json:"apart,omitempty"`
	// Accuracy is there for labelled text: records with a prompt and a completion of few tokens.
	Accuracy *Accuracy `json:"accuracy,omitempty"`
}

// Accuracy is the share of records whose completion is the one that is decoded greedily, with the sets on as in TextChange.
type Accuracy struct {
	Records int        `json:"records"`
	Off     float64    `json:"off"`
	Alone   float64    `json:"alone"`
	On      [2]float64 `json:"on"`
	Auto    [2]float64 `json:"auto"`
}

// Change returns how much worse a text became for users of --auto: 0.01 is one per cent.
func (t TextChange) Change() float64 { return t.Auto[1]/t.Auto[0] - 1 }

// ErrRegression reports a revision that made other text worse than was allowed.
var ErrRegression = errors.New("the revision was not published")

// regression returns an error that wraps ErrRegression when a text that is not the set's own became worse by more than so
// many per cent for users of --auto.
func (f *Forgetting) regression(percent float64) error {
	var worse []string
	for _, t := range f.Texts {
		if t.Text != "own" && 100*t.Change() > percent {
			worse = append(worse, fmt.Sprintf("%s by %.2f %% (%.3f → %.3f)", t.Text, 100*t.Change(), t.Auto[0], t.Auto[1]))
		}
	}
	if len(worse) == 0 {
		return nil
	}
	return fmt.Errorf("with --auto, text became worse than the %g %% allowed: %s; train with a larger --quiet, fewer steps or a smaller --lr: %w",
		percent, strings.Join(worse, ", "), ErrRegression)
}

// comparison measures texts before and after a revision.
type comparison struct {
	e      *Engine
	b      *base.Base
	r      *storedRouter
	next   *peer.Set // the revision, not stored yet
	gates  []*storedGate
	before map[string]*peer.Set // current sets of the registry, and the revision's parent when it has learned something
	stacks map[string]*peer.Stack
}

// forgetting measures a revision that is not stored yet on its own held-out text, the background and the held-out text of
// all other sets, up to so many tokens of each. parent is the revision it was made from, nil for none; where next is it, only the
// gate is new.
func (e *Engine) forgetting(ctx context.Context, b *base.Base, r *storedRouter, next *peer.Set, own *ownership, parent *registry.Manifest, tokens int) (*Forgetting, error) {
	s := e.reg.Snapshot()
	defer s.Close()
	c := &comparison{e: e, b: b, r: r, next: next, before: map[string]*peer.Set{}, stacks: map[string]*peer.Stack{}}
	var err error
	if c.gates, err = e.storedGates(s, r, nil); err != nil {
		return nil, err
	}
	c.gates = slices.DeleteFunc(slices.Clone(c.gates), func(g *storedGate) bool { return g.name == next.Name })
	others := slices.Clone(c.gates)
	if parent != nil {
		info, err := infoOf(parent)
		if err != nil {
			return nil, err
		}
		if info.Training != nil {
			ref := fmt.Sprintf("%s@%d", parent.Name, parent.Revision)
			if c.before[next.Name], err = e.loadSet(s, r.Router, ref); err != nil {
				return nil, err
			}
			gates, err := e.storedGates(s, r, []string{ref})
			if err != nil && !errors.Is(err, ErrNoGate) {
				return nil, err
			}
			c.gates = append(c.gates, gates...)
		}
	}
	texts := map[string][]tune.Sequence{"own": own.held, "background": tune.Cut(r.held, backgroundSeq)}
	order := []string{"own", "background"}
	for _, g := range others {
		m, err := findSet(s, g.name)
		if err != nil {
			return nil, err
		}
		if texts[g.ref], err = readHeld(s, m, b.Model.Config.Vocab); err != nil {
			return nil, err
		}
		if c.before[g.name], err = e.loadSet(s, r.Router, g.name); err != nil {
			return nil, err
		}
		order = append(order, g.ref)
	}
	f := &Forgetting{Tokens: tokens}
	for i, name := range order {
		if len(texts[name]) == 0 {
			continue
		}
		set, _, _ := strings.Cut(name, "@")
		if i < 2 {
			set = ""
		}
		t, err := c.text(ctx, set, tune.Spread(texts[name], tokens), own.gate)
		if err != nil {
			return nil, fmt.Errorf("peft: report on %s: %w", name, err)
		}
		t.Text = name
		f.Texts = append(f.Texts, *t)
		e.progress(Progress{Task: "measure what was forgotten", Done: i + 1, Total: len(order), Unit: "texts"})
	}
	return f, nil
}

// text measures sequences; set is whose they are, empty for the revision's own and the background.
func (c *comparison) text(ctx context.Context, set string, seqs []tune.Sequence, gate *storedGate) (*TextChange, error) {
	gates := slices.Clone(c.gates)
	if gate != nil {
		gates = append(gates, gate)
	}
	on, apart := c.beside(set)
	t := &TextChange{Apart: apart}
	var sums, right [6]float64 // off, alone, on before and after, auto before and after
	labels := labelled(seqs)
	for _, s := range seqs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		prompt := gateTokens
		if at := firstLearned(s.Learned); at > 0 {
			prompt = at + 1
		}
		j := peer.NewSampler(c.r.Router, c.e.pool)
		j.From, j.To = c.r.prompter.judged(s.Tokens[:min(prompt, len(s.Tokens))])
		bare, err := c.measure(s, j, labels)
		if err != nil {
			return nil, err
		}
		var chosen [2][]string
		if prompt <= len(s.Tokens) {
			sample, rows := j.Sample(0, j.Rows()), j.Rows()
			asked := &confirmation{e: c.e, b: c.b, r: c.r, prompts: [][]int32{s.Tokens[:prompt]}, known: map[string]float64{}}
			passes := slices.DeleteFunc(slices.Clone(gates), func(g *storedGate) bool { return !g.passesOn(sample, rows) })
			for i := range chosen {
				after := i == 1
				there := slices.DeleteFunc(slices.Clone(passes), func(g *storedGate) bool { return g.name == c.next.Name && (g == gate) != after })
				var own bool
				if chosen[i], own, err = c.chosen(ctx, there, rows, after, asked); err != nil {
					return nil, err
				}
				t.Fired[i] += float64(index(own)) / float64(len(seqs))
			}
		}
		memo := map[string][]rowScore{"": bare}
		for i, p := range []struct {
			on    []string
			after bool
			from  int // row from which they are on
		}{{nil, false, 0}, {[]string{c.next.Name}, true, 0}, {on[0], false, 0}, {on[1], true, 0}, {chosen[0], false, prompt - 1}, {chosen[1], true, prompt - 1}} {
			key, stack, err := c.stack(p.on, p.after)
			if err != nil {
				return nil, err
			}
			if memo[key] == nil {
				if memo[key], err = c.measure(s, stack, labels); err != nil {
					return nil, err
				}
			}
			missed := false
			for row, v := range memo[key] {
				if row < p.from {
					v = bare[row]
				}
				sums[i] += v.loss
				missed = missed || v.missed
			}
			right[i] += float64(index(!missed)) / float64(len(seqs))
		}
		for _, l := range s.Learned {
			t.Tokens += index(l)
		}
	}
	if t.Tokens == 0 {
		return nil, fmt.Errorf("nothing to measure: %w", tune.ErrData)
	}
	p := func(i int) float64 { return math.Exp(sums[i] / float64(t.Tokens)) }
	t.Off, t.Alone, t.On, t.Auto = p(0), p(1), [2]float64{p(2), p(3)}, [2]float64{p(4), p(5)}
	if labels {
		t.Accuracy = &Accuracy{len(seqs), right[0], right[1], [2]float64{right[2], right[3]}, [2]float64{right[4], right[5]}}
	}
	return t, nil
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// set returns a set as it was before the revision or is after it, nil where it was not there.
func (c *comparison) set(name string, after bool) *peer.Set {
	if after && name == c.next.Name {
		return c.next
	}
	return c.before[name]
}

// chosen returns the names of the sets that are on for a prompt of so many judged rows which these gates let pass, of the sets as they
// were before the revision or are after it, and whether the gate of the revision's own set fires.
func (c *comparison) chosen(ctx context.Context, gates []*storedGate, rows int, after bool, asked *confirmation) (on []string, own bool, err error) {
	var all []passing
	for _, g := range gates {
		all = append(all, passing{set: c.set(g.name, after), gate: g, least: g.info.threshold(rows).Gain})
	}
	err = between(all, func(on []int) (float64, error) {
		names := make([]string, len(on))
		for i, j := range on {
			names[i] = all[j].gate.name
		}
		key, stack, err := c.stack(names, after)
		if err != nil {
			return 0, err
		}
		return asked.gainOf(ctx, key, stack)
	})
	for _, p := range all {
		own = own || p.fires && p.gate.name == c.next.Name
		if p.isOn() {
			on = append(on, p.gate.name)
		}
	}
	return on, own, err
}

// beside returns which sets are forced on for the text of a set, empty for none, before the revision and after it; apart
// tells that it cannot be on beside that set.
func (c *comparison) beside(set string) (on [2][]string, apart bool) {
	for i := range on {
		if set != "" {
			on[i] = []string{set}
		}
		next := c.set(c.next.Name, i == 1)
		if next == nil {
			continue
		}
		if set != "" && next.Excludes(c.before[set]) {
			apart = apart || i == 1
			continue
		}
		on[i] = append(on[i], c.next.Name)
	}
	return on, apart
}

// stack returns the named sets as they were before the revision or are after it, and a name for them together: "" of none.
func (c *comparison) stack(names []string, after bool) (string, llama.Seam, error) {
	if len(names) == 0 {
		return "", nil, nil
	}
	var sets []*peer.Set
	key := ""
	for _, n := range slices.Sorted(slices.Values(names)) {
		set := c.set(n, after)
		sets = append(sets, set)
		if set == c.next && set != c.before[n] { // where only the gate is new, both are one
			n += "@next"
		}
		key += " " + n
	}
	if s := c.stacks[key]; s != nil {
		return key, s, nil
	}
	s, err := peer.NewStack(c.r.Router, c.e.pool, sets...)
	c.stacks[key] = s
	return key, s, err
}

// labelTokens is how long a completion may be to count as a label.
const labelTokens = 16

// labelled reports whether all sequences have a prompt and a label.
func labelled(seqs []tune.Sequence) bool {
	for _, s := range seqs {
		n := 0
		for _, l := range s.Learned {
			n += index(l)
		}
		if firstLearned(s.Learned) == 0 || n > labelTokens {
			return false
		}
	}
	return true
}

// rowScore is what a model makes of one row.
type rowScore struct {
	loss   float64 // of its target, nats; 0 of rows that are not learned
	missed bool    // whether it is learned and something else is likelier than its target, where that was asked for
}

// measure runs a sequence through the base with a seam; labels asks for what is likeliest.
func (c *comparison) measure(s tune.Sequence, seam llama.Seam, labels bool) ([]rowScore, error) {
	x, err := c.b.Model.Forward(llama.One(s.Tokens, nil), seam)
	if err != nil {
		return nil, err
	}
	loss, weights := make([]float32, len(s.Tokens)), make([]float32, len(s.Tokens))
	for i, l := range s.Learned {
		weights[i] = float32(index(l))
	}
	c.b.Model.HeadLoss(loss, nil, x, s.Targets, weights)
	all := make([]rowScore, len(loss))
	var logits []float32
	for i, l := range loss {
		all[i].loss = float64(l)
		if labels && s.Learned[i] {
			if logits == nil {
				logits = make([]float32, c.b.Model.Config.Vocab)
			}
			hidden := c.b.Model.Config.Hidden
			c.b.Model.Logits(logits, x[i*hidden:(i+1)*hidden], 1)
			all[i].missed = slices.Max(logits) > logits[s.Targets[i]]
		}
	}
	return all, nil
}
