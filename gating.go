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
	"github.com/gopeft/peft/retrieval"
)

// How gates are set.
const (
	gateTokens  = 64   // of a prompt, for setting thresholds and of windows that are measured
	gateJudged  = 128  // most tokens of a prompt that are judged: the last ones
	gateAlpha   = 0.01 // share of others' sequences that may fire
	gateMargin  = 0.9  // of the way from what others reach to what nearly all own sequences reach
	gateOwnRate = 0.9  // share of own sequences below which people are warned
	gateOwnTail = 0.05 // share of own sequences not counted among nearly all
	gateAside   = 0.08 // most of background and passages that may be left out, because they look like own text
	gatePrompts = 200  // prompts of one text, half of them for setting a threshold, half for measuring it
	gateSamples = 64   // prompts of the own text, and of the background, that a gate is made from
	olderSample = 512  // samples of all older sets together, likewise
	olderBudget = 512  // prompts of all older sets together, so that adding a set takes as long however many there are
)

// gateLengths are the numbers of tokens for which gates have thresholds: a short prompt says less, so more is asked of it.
// Of fewer than the first nothing fires.
var gateLengths = []int{8, 16, 32, 64}

// GateInfo says how a revision's gate was set and what it reaches. It stays as it is for the life of the revision.
type GateInfo struct {
	Blocks     []int       `json:"blocks"`     // whose cells it looks at
	Thresholds []Threshold `json:"thresholds"` // by tokens judged, ascending
	Alpha      float64     `json:"alpha"`      // share of others' sequences that was to fire at most
	Margin     float64     `json:"margin"`     // how far above the others' quantile, as a share of the way to the own sequences
	Negatives  []Negatives `json:"negatives"`  // that the thresholds were set on
	OwnSetOn   int         `json:"own_sequences"`
	Own        FireRate    `json:"own"`    // on own held-out text that set nothing
	Others     []FireRate  `json:"others"` // on other text that set nothing
	Older      []FireRate  `json:"older"`  // how often the gates of older sets fire on this set's held-out text
}

// Threshold is what a prompt of so many judged tokens must score more than.
type Threshold struct {
	Tokens int     `json:"tokens"`
	Score  float64 `json:"score"` // nats for an average selection
}

// Negatives are sequences of one kind of other text, by which a threshold was set.
type Negatives struct {
	Text      string  `json:"text"`
	Sequences int     `json:"sequences"`
	Aside     int     `json:"aside,omitempty"` // left out, because they look like the set's own text
	Quantile  float64 `json:"quantile"`        // of their scores at gateTokens
	Exact     bool    `json:"exact"`           // there were enough of them for alpha
}

// FireRate is how often a gate fired on sequences of a text, or of a set's gate on this text.
type FireRate struct {
	Text      string `json:"text"`
	Sequences int    `json:"sequences"`
	Fired     int    `json:"fired"`
}

// Rate returns the share that fired; 0 of none.
func (f FireRate) Rate() float64 {
	if f.Sequences == 0 {
		return 0
	}
	return float64(f.Fired) / float64(f.Sequences)
}

// storedGate is a revision's gate with its record.
type storedGate struct {
	*peer.Gate
	ref  string // name@revision
	name string
	info *GateInfo
	set  *registry.Manifest // nil of a gate that is not stored yet
}

// fires reports whether judged rows pass the gate's threshold.
func (i *GateInfo) fires(rows [][]float64) bool { return peer.Score(rows) > i.threshold(len(rows)) }

// threshold returns what so many judged rows must score more than: infinity of too few.
func (i *GateInfo) threshold(rows int) float64 {
	at := math.Inf(1)
	for _, t := range i.Thresholds {
		if rows >= t.Tokens {
			at = t.Score
		}
	}
	return at
}

// judged returns which tokens of a prompt are judged: its last gateJudged, but never the first of a text, whose cells say
// nothing (a transformer uses it as a sink of attention).
func judged(prompt int) (from, to int) { return max(1, prompt-gateJudged), prompt }

// judge lets gates score prompts: for each gate and prompt the judged rows.
func (e *Engine) judge(ctx context.Context, b *base.Base, r *storedRouter, task string, texts [][]int32, gates ...*peer.Gate) ([][][][]float64, error) {
	scores := make([][][][]float64, len(gates))
	last := 0
	for _, g := range gates {
		last = max(last, g.Blocks[len(g.Blocks)-1]+1)
	}
	done := 0
	err := inBatches(ctx, texts, func(batch llama.Batch, some [][]int32) error {
		j := peer.NewJudge(r.Router, e.pool, gates...)
		if _, err := b.Model.ForwardTo(batch, j, last); err != nil {
			return fmt.Errorf("peft: gate: %w", err)
		}
		row := 0
		for _, t := range some {
			from, to := judged(len(t))
			for i := range gates {
				scores[i] = append(scores[i], j.Rows(i)[row+min(from, len(t)):row+to])
			}
			row += len(t)
		}
		done += len(some)
		e.progress(Progress{Task: task, Done: done, Total: len(texts), Unit: "prompts"})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return scores, nil
}

// otherText is a text that a set is to be told apart from.
type otherText struct {
	name  string
	guess bool      // nobody says that none of it is the set's own kind of text
	set   [][]int32 // prompts that set thresholds
	test  [][]int32 // and others that measure them
}

// newOther takes every second prompt to set thresholds by, and the others to measure them.
func newOther(name string, prompts [][]int32) otherText {
	o := otherText{name: name}
	o.set, o.test = halves(prompts)
	return o
}

// makeGate sets the gate of a set: made from counts of its own data, see peer.NewGate, and held-out sequences of it,
// against the background, the passages and all other sets that the registry holds.
func (e *Engine) makeGate(ctx context.Context, b *base.Base, r *storedRouter, name string, sel selections, held []tune.Sequence) (*storedGate, error) {
	own := newOther("own", prompts(held, gatePrompts))
	if len(own.test) == 0 {
		return nil, fmt.Errorf("%d held-out sequences, want at least 2: %w", len(own.set), tune.ErrData)
	}
	older, texts, err := e.olderSets(b, r, name)
	if err != nil {
		return nil, err
	}
	background := newOther("background", prompts(tune.Cut(r.held, backgroundSeq), gatePrompts))
	seen := prompts(tune.Cut(r.seen, backgroundSeq), gateSamples)
	background.guess, background.set = true, append(background.set, seen...)
	passages := otherText{name: "passages", guess: true}
	for i, t := range foreignTexts(b.Tokenizer, gateTokens) {
		switch {
		case i%2 == 0:
			seen = append(seen, t)
		case i%4 == 1:
			passages.set = append(passages.set, t)
		default:
			passages.test = append(passages.test, t)
		}
	}
	unlike, err := e.sample(ctx, b, r.Router, seen)
	if err != nil {
		return nil, err
	}
	against := [][]peer.Sample{unlike}
	for _, o := range older {
		against = append(against, o.samples(olderSample/len(older)))
	}
	g := &storedGate{name: name, info: &GateInfo{Alpha: gateAlpha, Margin: gateMargin}}
	g.Gate, err = peer.NewGate(r.Router, sel.counts, sel.samples, against...)
	if errors.Is(err, peer.ErrFewSamples) {
		return nil, fmt.Errorf("%w: %w", tune.ErrData, err)
	}
	if err != nil {
		return nil, err
	}
	g.info.Blocks = g.Gate.Blocks
	gates := []*peer.Gate{g.Gate}
	for _, o := range older {
		gates = append(gates, o.Gate)
	}
	texts = append([]otherText{background, passages}, texts...)
	mine, err := e.judgeBoth(ctx, b, r, own, gates...)
	if err != nil {
		return nil, err
	}
	scores := make([]scored, len(texts))
	for i, t := range texts {
		s, err := e.judgeBoth(ctx, b, r, t, g.Gate)
		if err != nil {
			return nil, err
		}
		scores[i] = s[0]
	}
	g.info.setBy(mine[0], scores)
	for i, o := range older {
		g.info.Older = append(g.info.Older, o.info.rate(o.ref, slices.Concat(mine[i+1].set, mine[i+1].test)))
	}
	return g, nil
}

// scored is a text with what one gate says of its prompts' judged rows.
type scored struct {
	otherText
	set, test [][][]float64
}

// judgeBoth judges a text's prompts by each of the gates.
func (e *Engine) judgeBoth(ctx context.Context, b *base.Base, r *storedRouter, t otherText, gates ...*peer.Gate) ([]scored, error) {
	rows, err := e.judge(ctx, b, r, "judge "+t.name, slices.Concat(t.set, t.test), gates...)
	if err != nil {
		return nil, err
	}
	all := make([]scored, len(gates))
	for i := range gates {
		all[i] = scored{t, rows[i][:len(t.set)], rows[i][len(t.set):]}
	}
	return all, nil
}

// setBy finds the thresholds and measures them. Sequences of texts that nobody called foreign are left out where they score
// as nine tenths of the own ones do, but no more than gateAside of them: a set of arithmetic is not to be kept from its own
// text by the background's arithmetic. What is left of these texts makes one sample, each other text one of its own; the
// threshold lies above the quantile of each.
func (i *GateInfo) setBy(own scored, texts []scored) {
	i.OwnSetOn, i.Thresholds, i.Negatives = len(own.set), nil, nil
	for _, n := range gateLengths {
		have := scoresAt(own.set, n)
		like, _ := retrieval.Conformal(have, 0.9)
		tail, _ := retrieval.Conformal(have, 1-gateOwnTail)
		guess := Negatives{Text: "background and passages"}
		var pooled []float64
		samples := []Negatives{}
		most := math.Inf(-1)
		for _, t := range texts {
			v := scoresAt(t.set, n)
			if !t.guess {
				neg := Negatives{Text: t.name, Sequences: len(v)}
				neg.Quantile, neg.Exact = retrieval.Conformal(v, i.Alpha)
				samples = append(samples, neg)
				continue
			}
			pooled = append(pooled, v...)
		}
		slices.Sort(pooled)
		for limit := int(gateAside * float64(len(pooled))); guess.Aside < limit && pooled[len(pooled)-1] > like; guess.Aside++ {
			pooled = pooled[:len(pooled)-1]
		}
		guess.Sequences = len(pooled)
		guess.Quantile, guess.Exact = retrieval.Conformal(pooled, i.Alpha)
		samples = append([]Negatives{guess}, samples...)
		for _, s := range samples {
			if s.Sequences > 0 {
				most = max(most, s.Quantile)
			}
		}
		if math.IsInf(most, -1) { // all others look like the own text: then only the surest are called own
			most = like
		}
		i.Thresholds = append(i.Thresholds, Threshold{n - 1, most + i.Margin*max(0, tail-most)})
		if n == gateTokens {
			i.Negatives = slices.DeleteFunc(samples, func(s Negatives) bool { return s.Sequences+s.Aside == 0 })
			for k := range i.Negatives {
				if i.Negatives[k].Sequences == 0 {
					i.Negatives[k].Quantile = 0 // JSON has no infinity
				}
			}
		}
	}
	i.Own = i.rate("own", own.test)
	i.Others = nil
	for _, t := range texts {
		i.Others = append(i.Others, i.rate(t.name, t.test))
	}
}

func (i *GateInfo) rate(name string, prompts [][][]float64) FireRate {
	f := FireRate{Text: name, Sequences: len(prompts)}
	for _, rows := range prompts {
		if i.fires(rows) {
			f.Fired++
		}
	}
	return f
}

func halves[T any](all []T) (even, odd []T) {
	for i, x := range all {
		if i%2 == 0 {
			even = append(even, x)
		} else {
			odd = append(odd, x)
		}
	}
	return even, odd
}

// scoresAt returns the scores of prompts after n tokens, the first of which is not judged, or all of shorter ones.
func scoresAt(prompts [][][]float64, n int) []float64 {
	v := make([]float64, len(prompts))
	for i, rows := range prompts {
		v[i] = peer.Score(rows[:min(n-1, len(rows))])
	}
	return v
}

// olderSets returns the gates of the sets that the registry holds for this router, without name, and their held-out text.
func (e *Engine) olderSets(b *base.Base, r *storedRouter, name string) ([]*storedGate, []otherText, error) {
	s := e.reg.Snapshot()
	defer s.Close()
	gates, err := e.storedGates(s, r, nil)
	if err != nil {
		return nil, nil, err
	}
	gates = slices.DeleteFunc(slices.Clone(gates), func(g *storedGate) bool { return g.name == name })
	var texts []otherText
	for _, g := range gates {
		m, err := findSet(s, g.name)
		if err != nil {
			return nil, nil, err
		}
		held, err := readHeld(s, m, b.Model.Config.Vocab)
		if err != nil {
			return nil, nil, err
		}
		texts = append(texts, newOther(g.ref, prompts(held, max(16, min(gatePrompts, olderBudget/len(gates))))))
	}
	return gates, texts, nil
}

// gateTable is the gates of all of a router's sets at one moment of the registry, in order of name.
type gateTable struct {
	version uint64
	router  *storedRouter
	gates   []*storedGate
	by      map[string]*storedGate // name
}

// gateTable returns the table for a snapshot if it was made before, so that a request reads no set's record: nil else.
func (e *Engine) gateTable(s *registry.Snapshot) *gateTable {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.sets.gated; t != nil && t.version == s.Version() {
		return t
	}
	return nil
}

// storedGates returns the gates of the named sets, or of all that belong to the router when names is nil, in order of name.
// The list may be shared.
func (e *Engine) storedGates(s *registry.Snapshot, r *storedRouter, names []string) ([]*storedGate, error) {
	known := e.gateTable(s)
	if known != nil && known.router != r {
		known = nil
	}
	all := len(names) == 0
	if all && known != nil {
		return known.gates, nil
	}
	if all {
		names = s.Names(nsSets)
	}
	gates := make([]*storedGate, 0, len(names))
	by := make(map[string]*storedGate, len(names))
	for _, n := range names {
		var g *storedGate
		if known != nil {
			g = known.by[n]
		}
		if g == nil {
			var err error
			if g, err = e.storedGate(s, r, n); errors.Is(err, ErrNoGate) && all {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		gates, by[g.name] = append(gates, g), g
	}
	slices.SortFunc(gates, func(a, b *storedGate) int { return strings.Compare(a.name, b.name) })
	if all {
		e.mu.Lock()
		defer e.mu.Unlock()
		if t := e.sets.gated; t == nil || t.router != r || t.version < s.Version() {
			e.sets.gated = &gateTable{s.Version(), r, gates, by}
		}
	}
	return gates, nil
}

// storedGate returns the gate of a set, "name" or "name@revision", and keeps it.
func (e *Engine) storedGate(s *registry.Snapshot, r *storedRouter, ref string) (*storedGate, error) {
	sum, err := r.SHA256()
	if err != nil {
		return nil, err
	}
	m, err := findSet(s, ref)
	if err != nil {
		return nil, err
	}
	info, err := infoOf(m)
	if err != nil {
		return nil, err
	}
	p, ok := m.Part(partGate)
	ref = fmt.Sprintf("%s@%d", m.Name, m.Revision)
	if info.RouterSHA256 != sum || info.Gate == nil || !ok {
		return nil, fmt.Errorf("expert set %s has no gate for this base; make one with peft gate %s: %w", ref, m.Name, ErrNoGate)
	}
	key := fmt.Sprintf("%s %d %s", ref, m.Created.UnixNano(), sum)
	e.mu.Lock()
	g, ok := e.sets.gates.get(key)
	e.mu.Unlock()
	if ok {
		return g, nil
	}
	data, err := s.ReadPart(p)
	if err != nil {
		return nil, err
	}
	g = &storedGate{ref: ref, name: m.Name, info: info.Gate, set: m}
	if g.Gate, err = peer.UnmarshalGate(data, r.Router); err != nil {
		return nil, fmt.Errorf("expert set %s: %w", ref, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sets.gates.put(key, g, p.Size)
	return g, nil
}

// ErrNoGate reports a set without a gate, so that nobody can decide whether a text is its own.
var ErrNoGate = errors.New("no gate")
