package peer

import (
	"fmt"
	"slices"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// Training runs the layers of one set forward and backward, and forward the layers of other sets that are on with it but
// stay as they are. It implements the base's seam, for evaluation between steps. One goroutine at a time may use it.
type Training struct {
	Set        *Set
	With       []*Set // the others, in the order in which they were given
	Fresh      bool   // whether only experts that never were trained learn; see OnlyNew
	router     *retrieval.Router
	pool       *kernels.Pool
	layers     map[place]*TrainLayer
	selections map[int]*selection // by block
}

// selection is what one of the router's layers selected last.
type selection struct {
	layer   *retrieval.Layer
	early   bool // whether linear layers need it before the layer beside the block runs
	ready   bool // whether that was done for the pass there is
	routing retrieval.Routing
}

// NewTraining prepares to train set, whose rows it converts to F32 and whose caps it takes off, with the others on beside
// it.
func NewTraining(r *retrieval.Router, p *kernels.Pool, set *Set, with ...*Set) (*Training, error) {
	stack, err := NewStack(r, p, append([]*Set{set}, with...)...)
	if err != nil {
		return nil, err
	}
	set.Convert(p, F32)
	set.Uncap()
	t := &Training{Set: set, With: with, router: r, pool: p, layers: map[place]*TrainLayer{}, selections: map[int]*selection{}}
	for at, l := range stack.layers {
		t.layers[at] = t.layer(at, l, set)
	}
	return t, nil
}

// layer returns a place's layer with those tables.
func (t *Training) layer(at place, l *stackLayer, set *Set) *TrainLayer {
	tl := &TrainLayer{Router: l.router, place: at, widths: l.widths, pool: t.pool}
	for port := range l.ports {
		if b := &l.ports[port]; !b.empty() {
			tl.banks[port] = newBank(tl, b, set)
			if tl.banks[port].trained() != nil {
				tl.trained = tl.banks[port]
			}
		}
	}
	if at.site == llama.Beside || tl.routed() {
		sel := t.selections[l.router.Block]
		if sel == nil {
			sel = &selection{layer: l.router}
			t.selections[l.router.Block] = sel
		}
		sel.early = sel.early || at.site != llama.Beside
		tl.selection = sel
	}
	return tl
}

// Alone returns a training of the same rows of the same set's tables beside feed-forward layers that has nothing beside it
// and keeps its own routing.
func (t *Training) Alone() *Training {
	a := &Training{Set: t.Set, router: t.router, pool: t.pool, layers: map[place]*TrainLayer{}, selections: map[int]*selection{}}
	for _, table := range t.Set.Tables {
		at := place{table.Block, table.Site}
		l := t.layers[at]
		if at.site != llama.Beside || l == nil || l.trained == nil {
			continue
		}
		one := &stackLayer{router: l.Router, widths: l.widths}
		one.ports[table.Kind.Port()] = l.trained.only()
		a.layers[at] = a.layer(at, one, t.Set)
		a.layers[at].frozen = l.frozen
	}
	return a
}

// Beside switches some of With on, as all are at first, and the others off.
func (t *Training) Beside(on []*Set) {
	off := slices.DeleteFunc(slices.Clone(t.With), func(s *Set) bool { return slices.Contains(on, s) })
	for _, l := range t.layers {
		l.off = off
	}
}

// Layer returns the layer beside that block, or nil when no set has experts there.
func (t *Training) Layer(block int) *TrainLayer { return t.layers[place{block, llama.Beside}] }

// At returns what works at a site of a block, or nil when no set has experts there.
func (t *Training) At(block int, s llama.Site) *TrainLayer { return t.layers[place{block, s}] }

// Blocks returns the blocks beside which the trained set has experts, ascending.
func (t *Training) Blocks() []int {
	var b []int
	for _, table := range t.Set.Tables {
		if table.Site == llama.Beside {
			b = append(b, table.Block)
		}
	}
	return b
}

// Forward adds the layer's contribution beside a block to y. x and y: [tokens, hidden].
func (t *Training) Forward(block int, y, x []float32, tokens int) error {
	if l := t.Layer(block); l != nil {
		return l.Forward(y, x, tokens)
	}
	return nil
}

// FFNInput implements llama.Sited.
func (t *Training) FFNInput(block int, x []float32, tokens int) error {
	s := t.selections[block]
	if s == nil || !s.early {
		return nil
	}
	if len(x) < tokens*s.layer.Hidden {
		return fmt.Errorf("peer: block %d: %d values for %d tokens of width %d", block, len(x), tokens, s.layer.Hidden)
	}
	s.layer.Route(t.pool, &s.routing, x, tokens)
	s.ready = true
	return nil
}

// Linear implements llama.Sited.
func (t *Training) Linear(block int, s llama.Site) llama.Linear {
	if l := t.layers[place{block, s}]; l != nil {
		return l
	}
	return nil
}

// TrainLayer is one place of a Training. Forward, or Before and After, keep what the backward needs until the next time.
type TrainLayer struct {
	Router *retrieval.Layer // whose selection gates the experts in cells here
	// RouterGrad, when not nil, makes Backward add the router's gradient to it, as in the paper, where the router is
	// trained with the experts. Normally it is nil and routing is constant. Set it before Forward.
	RouterGrad *retrieval.Grad
	// QueryNorm, when not nil, normalises the queries over each batch while RouterGrad is set.
	QueryNorm *retrieval.BatchNorm
	// Sigmoid makes each gate the sigmoid of its own score, for models that are trained from scratch.
	Sigmoid bool

	place
	widths
	pool      *kernels.Pool
	banks     [ports]*bank
	trained   *bank  // that the trained set's table is in; nil when it has none here
	off       []*Set // of the sets beside the trained one
	frozen    int    // experts of it, from the first, that get no gradient
	selection *selection

	tokens      int
	own         ownOutput
	changed     []float32      // [tokens, in] a linear layer's changed input
	dxh         []float32      // [tokens, hidden]
	dGates      []float32      // [tokens, heads, k]
	noDx        []float32      // [tokens, hidden]
	dOwn, dBoth []float32      // gradients with respect to what own holds
	dIn         []float32      // [tokens, in], where it cannot be added at once
	dRead       []float32      // [tokens, in] the gradient with respect to a changed input
	dy          kernels.Matrix // that of the last BackwardAfter
	grad        *RowGrad

	dx                 kernels.Matrix
	standardisedInputs func(lo, hi int)
}

// Trained reports whether the trained set has experts here.
func (l *TrainLayer) Trained() bool { return l.trained != nil }

// Table returns the trained set's table, or nil.
func (l *TrainLayer) Table() *Table {
	if l.trained == nil {
		return nil
	}
	return l.trained.trained()
}

// Routing returns what the last Forward selected, until the next.
func (l *TrainLayer) Routing() *retrieval.Routing { return &l.selection.routing }

// Grad returns the trained rows' gradient of the last backward; nil when the set has none here. It belongs to the layer
// and lasts until the next one.
func (l *TrainLayer) Grad() *RowGrad { return l.grad }

func (l *TrainLayer) routed() bool {
	return slices.ContainsFunc(l.banks[:], func(b *bank) bool { return b != nil && len(b.routed) > 0 })
}

// Forward adds the contribution of a layer beside a block to y. x and y: [tokens, hidden]; x must stay unchanged until
// Backward.
func (l *TrainLayer) Forward(y, x []float32, tokens int) error {
	hid := l.Router.Hidden
	if len(x) < tokens*hid || len(y) < tokens*hid {
		return fmt.Errorf("peer: block %d: %d and %d values for %d tokens of width %d", l.block, len(x), len(y), tokens, hid)
	}
	l.tokens = tokens
	r := &l.selection.routing
	if !l.selection.ready || r.Tokens != tokens {
		r.Train, r.Norm, r.Sigmoid = l.RouterGrad != nil, l.QueryNorm, l.Sigmoid
		l.Router.Route(l.pool, r, x, tokens)
	}
	l.selection.ready = false
	return l.banks[adapters.InOut].forward(kernels.Dense(y, tokens, hid), kernels.Dense(r.XHat, tokens, hid))
}

// Backward adds to dx: [tokens, hidden] the gradient with respect to the x of the last Forward, from dy, that with
// respect to its y, and returns the trained rows' gradient (nil when the set has none here). The result, to the bit, does
// not depend on the number of threads. It belongs to the layer and lasts until the next Backward. A nil dx is not computed.
func (l *TrainLayer) Backward(dx, dy []float32) (*RowGrad, error) {
	hid := l.Router.Hidden
	if (dx != nil && len(dx) < l.tokens*hid) || len(dy) < l.tokens*hid {
		return nil, fmt.Errorf("peer: block %d: gradients of %d and %d values for %d tokens of width %d", l.block, len(dx), len(dy), l.tokens, hid)
	}
	b, dym, n := l.banks[adapters.InOut], kernels.Dense(dy, l.tokens, hid), l.tokens*hid
	l.grad = b.backward(dym)
	if dx == nil && l.RouterGrad == nil {
		return l.grad, nil
	}
	if dx == nil { // the router's gradient needs a place for it all the same
		l.noDx = resize(l.noDx, n)
		dx = l.noDx
	}
	if l.RouterGrad != nil {
		l.dGates = resize(l.dGates, len(l.Routing().Gates))
		clear(l.dGates)
	}
	l.dxh = resize(l.dxh, n)
	clear(l.dxh)
	b.backwardInput(kernels.Dense(l.dxh, l.tokens, hid), dym)
	if l.standardisedInputs == nil {
		l.standardisedInputs = l.standardised
	}
	l.dx = kernels.Dense(dx, l.tokens, hid)
	l.pool.Run(l.tokens, tile, l.standardisedInputs)
	l.dx = kernels.Matrix{}
	if l.RouterGrad != nil {
		l.Router.RouteBackward(l.pool, l.RouterGrad, dx, l.Routing(), l.dGates)
	}
	return l.grad, nil
}

// standardised adds the gradient with respect to x of the tokens [lo, hi), from that with respect to x̂.
func (l *TrainLayer) standardised(lo, hi int) {
	hid := l.Router.Hidden
	for i := lo; i < hi; i++ {
		d, dh := l.dx.Row(i), l.dxh[i*hid:(i+1)*hid]
		if inv := l.Router.InvStd; inv != nil {
			retrieval.AddStandardised(d, dh, inv)
		} else {
			kernels.Add(d, d, dh)
		}
	}
}
