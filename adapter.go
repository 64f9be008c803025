package peft

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/gopeft/peft/adapters"
	"github.com/gopeft/peft/adapters/bottleneck"
	"github.com/gopeft/peft/adapters/ia3"
	"github.com/gopeft/peft/adapters/lora"
	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/retrieval"
)

// Adapter says what the experts of a new set are, and where they work. The zero value is neurons in cells beside the
// feed-forward layers of the router's blocks. Experts of the other kinds are always on, as the adapters that other programs
// know, unless they are routed.
type Adapter struct {
	Kind       string  // neuron, neuron-gelu, lora, ia3 or bottleneck
	Rank       int     // of lora and bottleneck; default 8, in cells 1
	Alpha      float64 // of lora, whose scale is Alpha/Rank; default twice the rank
	RSLoRA     bool    // the scale of lora is Alpha/√Rank
	DoRA       bool    // lora learns the norms of the weight's rows too
	Activation string  // of bottleneck: relu, gelu or silu; default relu
	// Targets name sites: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj in every block, or all-linear for
	// all of these, or beside for the place beside the feed-forward layers of the router's blocks. Of the linear layers,
	// experts in cells are at those for which the router selects cells. The default is for lora q_proj and v_proj, for ia3
	// k_proj, v_proj and down_proj, and for the others beside.
	Targets []string
	Routed  bool // in cells
}

// Kinds of experts by the names that Adapter.Kind takes.
const (
	kindLoRA       = "lora"
	kindIA3        = "ia3"
	kindBottleneck = "bottleneck"
	allLinear      = "all-linear"
)

var neurons = []*neuron.Kind{neuron.SiLU, neuron.GELU}

// ErrAdapter reports options of an Adapter that do not go together.
var ErrAdapter = errors.New("no such adapter")

// neurons reports whether the experts are neurons, which are always in cells.
func (a *Adapter) neurons() bool { return a.neuron() != nil }

func (a *Adapter) neuron() adapters.Kind {
	for _, k := range neurons {
		if k.Name() == cmp.Or(a.Kind, neuron.SiLU.Name()) {
			return k
		}
	}
	return nil
}

// alwaysOn reports whether the experts are in no cells.
func (a *Adapter) alwaysOn() bool { return !a.Routed && !a.neurons() }

// check reports the first option that cannot be.
func (a *Adapter) check() error {
	fail := func(format string, v ...any) error {
		return fmt.Errorf("peft: "+format+": %w", append(v, ErrAdapter)...)
	}
	low := a.Kind == kindLoRA || a.Kind == kindBottleneck
	switch {
	case !a.neurons() && !low && a.Kind != kindIA3:
		return fmt.Errorf("peft: kind %q: %w; there are %s, %s, %s, %s and %s", a.Kind, peer.ErrUnknownKind, neurons[0].Name(), neurons[1].Name(), kindLoRA, kindIA3, kindBottleneck)
	case a.Rank != 0 && !low:
		return fail("experts of kind %s have no rank, got %d", cmp.Or(a.Kind, neurons[0].Name()), a.Rank)
	case a.Kind != kindLoRA && (a.Alpha != 0 || a.RSLoRA || a.DoRA):
		return fail("alpha, rsLoRA and DoRA are for experts of kind %s, not %s", kindLoRA, cmp.Or(a.Kind, neurons[0].Name()))
	case a.Kind != kindBottleneck && a.Activation != "":
		return fail("an activation is for experts of kind %s", kindBottleneck)
	case a.DoRA && a.Routed:
		return fail("what DoRA changes does not add up, so it cannot be in cells")
	}
	sites, err := a.sites()
	if err != nil {
		return err
	}
	for _, s := range sites {
		if _, err := a.kind(s); err != nil {
			return err
		}
	}
	return nil
}

// sites returns the targets, each once, in order.
func (a *Adapter) sites() ([]llama.Site, error) {
	var sites []llama.Site
	for _, t := range a.Targets {
		if t == allLinear {
			sites = append(sites, llama.LinearSites()...)
			continue
		}
		s, err := llama.ParseSite(t)
		if err != nil {
			return nil, fmt.Errorf("peft: target %q: %w; there are %s, %v and %s", t, ErrAdapter, llama.Beside, llama.LinearSites(), allLinear)
		}
		sites = append(sites, s)
	}
	if len(sites) == 0 {
		switch a.Kind {
		case kindLoRA:
			sites = []llama.Site{llama.Query, llama.Value}
		case kindIA3:
			sites = []llama.Site{llama.Key, llama.Value, llama.Down}
		default:
			sites = []llama.Site{llama.Beside}
		}
	}
	slices.Sort(sites)
	return slices.Compact(sites), nil
}

// kind returns the kind at a site.
func (a *Adapter) kind(s llama.Site) (adapters.Kind, error) {
	rank := a.Rank
	if rank == 0 {
		if rank = 8; a.Routed {
			rank = 1
		}
	}
	switch a.Kind {
	case kindLoRA:
		k := lora.Kind{Rank: rank, Alpha: a.Alpha, Stabilised: a.RSLoRA}
		if k.Alpha == 0 {
			k.Alpha = float64(2 * rank)
		}
		if err := k.Check(); err != nil {
			return nil, fmt.Errorf("peft: %w: %w", ErrAdapter, err)
		}
		if a.DoRA {
			if s == llama.Beside {
				return nil, fmt.Errorf("peft: DoRA changes the norms of a linear layer's weight, and %s there is none: %w", s, ErrAdapter)
			}
			return lora.DoRA{Kind: k}, nil
		}
		return k, nil
	case kindIA3:
		switch s {
		case llama.Beside:
			return nil, fmt.Errorf("peft: %s rescales a linear layer, and %s there is none: %w", kindIA3, s, ErrAdapter)
		case llama.Down: // Hugging Face's feed-forward module
			return ia3.Input, nil
		}
		return ia3.Output, nil
	case kindBottleneck:
		k := bottleneck.Kind{Rank: rank, Act: bottleneck.Activation(cmp.Or(a.Activation, string(bottleneck.ReLU))), Serial: s != llama.Beside}
		if err := k.Check(); err != nil {
			return nil, fmt.Errorf("peft: %w: %w", ErrAdapter, err)
		}
		return k, nil
	}
	return a.neuron(), nil
}

// spots returns where a new set's tables are. Those in cells stand in the cells that place says for each of the router's
// layers.
func (a *Adapter) spots(c *llama.Config, r *retrieval.Router, place func(tables int) ([]peer.Placement, error)) ([]peer.Spot, error) {
	sites, err := a.sites()
	if err != nil {
		return nil, err
	}
	sites = slices.DeleteFunc(sites, func(s llama.Site) bool { // a family without gates
		missing := s != llama.Beside && !slices.Contains(c.LinearSites(), s)
		if missing && slices.Contains(a.Targets, s.String()) {
			err = fmt.Errorf("peft: target %s: the base has %s and %v: %w", s, llama.Beside, c.LinearSites(), ErrAdapter)
		}
		return missing
	})
	if err != nil {
		return nil, err
	}
	var spots []peer.Spot
	for block := range c.Layers {
		for _, s := range sites {
			if (s == llama.Beside || !a.alwaysOn()) && (peer.RoutedBy(r, block, s) == nil || s == llama.Beside && r.Layer(block) == nil) {
				continue
			}
			k, err := a.kind(s)
			if err != nil {
				return nil, err
			}
			spots = append(spots, peer.Spot{Block: block, Site: s, Kind: k, Dims: peer.Widths(c, s, k)})
		}
	}
	if len(spots) == 0 {
		return nil, fmt.Errorf("peft: no block has a site %v for experts in cells; the router's blocks are %v: %w", sites, r.Blocks(), ErrAdapter)
	}
	if a.alwaysOn() {
		return spots, nil
	}
	places, err := place(len(spots))
	if err != nil {
		return nil, err
	}
	for i := range spots {
		spots[i].Placement = places[slices.Index(r.Layers, peer.RoutedBy(r, spots[i].Block, spots[i].Site))]
	}
	return spots, nil
}
