package peer

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// tile is how many tokens share the reading of an expert's row.
const tile = 128

// Stack adds what sets of experts contribute to a base while it runs. It is the base's seam. Its methods may be called from
// several goroutines at once.
type Stack struct {
	router *retrieval.Router
	sets   []*Set
	pool   *kernels.Pool
	layers map[place]*stackLayer
	routes map[int]bool // blocks whose selection gates experts at linear layers
	spare  sync.Pool    // *pass
}

var _ llama.Passing = (*Stack)(nil)

// place is where tables work.
type place struct {
	block int
	site  llama.Site
}

// stackLayer is the tables of all sets at one place, by what they are connected to.
type stackLayer struct {
	widths
	router *retrieval.Layer // that selects for those in cells, and whose standardised input they read beside a block
	ports  [ports]bench
	capped bool // whether one of the tables is
}

const ports = int(adapters.BothOut) + 1

// bench is tables that read the same and add to the same, each in order of its set's name.
type bench struct{ always, routed []active }

func (b *bench) empty() bool { return len(b.always) == 0 && len(b.routed) == 0 }

// active is one set's table as a layer uses it.
type active struct {
	*Table
	set    *Set
	gather adapters.Gatherer // the kind, when it can take the table's rows; otherwise nil
	scale  float32           // the set's times the table's and, beside a block, the layer's output scale
}

// NewStack returns a stack of the given sets, none twice, in any order. Every set is checked against the router.
func NewStack(r *retrieval.Router, p *kernels.Pool, sets ...*Set) (*Stack, error) {
	sets = slices.Clone(sets)
	slices.SortFunc(sets, byName)
	s := &Stack{router: r, sets: sets, pool: p, layers: map[place]*stackLayer{}, routes: map[int]bool{}}
	s.spare.New = func() any {
		f := &pass{stack: s}
		f.sumTokens, f.headSums = f.byTokens, f.sumHeads
		return f
	}
	for i, set := range sets {
		if i > 0 && sets[i-1].Name == set.Name {
			return nil, fmt.Errorf("peer: set %s is on twice", set.Name)
		}
		if err := set.Check(r); err != nil {
			return nil, err
		}
		for _, t := range set.Tables {
			if err := s.add(set, t); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// add switches a table on.
func (s *Stack) add(set *Set, t *Table) error {
	at := place{t.Block, t.Site}
	l := s.layers[at]
	if l == nil {
		l = &stackLayer{router: RoutedBy(s.router, t.Block, t.Site)}
		s.layers[at] = l
	}
	a := active{Table: t, set: set, scale: set.Scale * t.scale()}
	if t.Site == llama.Beside {
		a.scale *= l.router.OutScale
		l.capped = l.capped || t.Cap > 0
	}
	if err := l.learn(set, t); err != nil {
		return err
	}
	b := &l.ports[t.Kind.Port()]
	if t.AlwaysOn() {
		if !t.Kind.Port().Additive() && len(b.always) > 0 {
			return fmt.Errorf("peer: sets %s and %s: block %d, %s: what experts of kind %s contribute does not add up, so only one such set can be on at a layer: %w",
				b.always[0].set.Name, set.Name, t.Block, t.Site, t.Kind.Name(), ErrPlace)
		}
		b.always = append(b.always, a)
		return nil
	}
	if k, ok := t.Kind.(adapters.Gatherer); ok && t.Rows.Format == BF16 {
		a.gather = k
	}
	b.routed = append(b.routed, a)
	if t.Site != llama.Beside {
		s.routes[l.router.Block] = true
	}
	return nil
}

// Sets returns the sets in the order in which they are added.
func (s *Stack) Sets() []*Set { return s.sets }

// Forward adds what the sets contribute beside a block to y. x and y: [tokens, hidden]; x is the input of the block's
// feed-forward layer. Neither may be changed by others meanwhile. What they change at linear layers is for Begin.
func (s *Stack) Forward(block int, y, x []float32, tokens int) error {
	f := s.begin()
	defer f.End()
	return f.Forward(block, y, x, tokens)
}

// Begin returns the seam of one forward pass.
func (s *Stack) Begin() llama.Pass { return s.begin() }

// byName orders sets.
func byName(a, b *Set) int { return cmp.Compare(a.Name, b.Name) }
