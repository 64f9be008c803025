package llama

import (
	"fmt"
	"strings"

	"github.com/gopeft/peft/kernels"
)

// Site is a place in a block where adapters work.
type Site uint8

// The sites. All but Beside are linear layers.
const (
	Beside Site = iota // beside the feed-forward layer, on its normed input
	Query
	Key
	Value
	Out
	Gate
	Up
	Down
	siteCount
)

// siteNames are Hugging Face's names of the linear layers.
var siteNames = [siteCount]string{"beside", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// String returns the name that Hugging Face gives the layer, or "beside".
func (s Site) String() string {
	if s < siteCount {
		return siteNames[s]
	}
	return fmt.Sprintf("Site(%d)", uint8(s))
}

// LayerName returns the name that Hugging Face gives a linear layer of a block, such as "model.layers.3.self_attn.q_proj".
func LayerName(block int, s Site) string {
	part := "self_attn."
	if s == Gate || s == Up || s == Down {
		part = "mlp."
	}
	return layerName(block, part+s.String())
}

// ParseSite is the inverse of String. The error wraps ErrUnsupported.
func ParseSite(name string) (Site, error) {
	for s, n := range siteNames {
		if n == name {
			return Site(s), nil
		}
	}
	return 0, fmt.Errorf("site %q is not among %s: %w", name, strings.Join(siteNames[:], ", "), ErrUnsupported)
}

// LinearSites are the linear layers of a block, in the order in which a token passes them.
func LinearSites() []Site { return []Site{Query, Key, Value, Out, Gate, Up, Down} }

// Dims returns the widths of a site's input and output.
func (c *Config) Dims(s Site) (in, out int) {
	switch s {
	case Query:
		return c.Hidden, c.AttnWidth()
	case Key, Value:
		return c.Hidden, c.KVHeads * c.HeadDim
	case Out:
		return c.AttnWidth(), c.Hidden
	case Gate, Up:
		return c.Hidden, c.FFN
	case Down:
		return c.FFN, c.Hidden
	default:
		return c.Hidden, c.Hidden
	}
}

// Sited is a Seam that also changes linear layers.
type Sited interface {
	Seam
	// FFNInput sees each feed-forward layer's normed input, [tokens, hidden], before the layer's products.
	FFNInput(block int, x []float32, tokens int) error
	// Linear returns what works at a linear layer of a block; nil where nothing does.
	Linear(block int, s Site) Linear
}

// Linear changes what one linear layer makes of its input.
type Linear interface {
	// Before returns what the layer's product reads in place of its input x: [tokens, in]; x itself where nothing changes.
	// Layers that share their input with others (queries, keys and values; gate and up) are not asked.
	Before(x []float32, tokens int) []float32
	// After changes y: [tokens, out], a row every stride values, before it is rotated or activated. x is the layer's own
	// input, as Before got it.
	After(y []float32, stride int, x []float32, tokens int) error
	// Whole reports whether After must have the layer's own output as y. Otherwise y may be the residual stream with that
	// output added.
	Whole() bool
}

// Mixed is a Linear that is several, one after the other, of which some must have the layer's own output and others not:
// each then gets its own product.
type Mixed interface {
	Linear
	// Run returns what works on the rows from that one on, nil where nothing does, and how many they are.
	Run(row int) (l Linear, tokens int)
}

// Watcher is a Seam that wants to see the residual stream before each block: [tokens, hidden].
type Watcher interface {
	Seam
	Watch(block int, stream []float32, tokens int)
}

// Passing is a Seam that keeps something during a forward pass: its methods are called on what Begin returns.
type Passing interface {
	Seam
	Begin() Pass
}

// Pass is the seam of one forward pass. End is called after the last block, or when one failed.
type Pass interface {
	Seam
	End()
}

// at lets the adapters of a fused layer's parts work on its output y: [tokens, stride].
func (b *Block) at(s Sited, y []float32, stride int, x []float32, tokens int, sites ...Site) error {
	if s == nil {
		return nil
	}
	for _, site := range sites {
		_, out := b.m.Config.Dims(site)
		if l := s.Linear(b.Index, site); l != nil {
			if err := l.After(y, stride, x, tokens); err != nil {
				return fmt.Errorf("%s: %w", site, err)
			}
		}
		y = y[out:]
	}
	return nil
}

// addTo adds a linear layer's output, and what its adapters make of it, to the residual stream y: [tokens, hidden]; of post,
// if the family has it, the norm of that. own has room for the output alone.
func (b *Block) addTo(s Sited, site Site, w *weight, post norm, y, own, x []float32, tokens int) error {
	var l Linear
	if s != nil {
		l = s.Linear(b.Index, site)
	}
	m, ok := l.(Mixed)
	if !ok {
		return b.addRows(l, site, w, post, y, own, x, tokens)
	}
	in, hid := len(x)/tokens, b.m.Config.Hidden
	for row := 0; row < tokens; {
		part, n := m.Run(row)
		to := row + n
		if err := b.addRows(part, site, w, post, y[row*hid:to*hid], own, x[row*in:to*in], n); err != nil {
			return err
		}
		row = to
	}
	return nil
}

// addRows is addTo for what works on all rows; l may be nil.
func (b *Block) addRows(l Linear, site Site, w *weight, post norm, y, own, x []float32, tokens int) error {
	if l == nil && post.w == nil {
		w.mul(b.m.pool, y, x, tokens, true)
		return nil
	}
	read := x
	if l != nil {
		read = l.Before(x, tokens)
	}
	if post.w == nil && !l.Whole() {
		w.mul(b.m.pool, y, read, tokens, true)
		if err := l.After(y, b.m.Config.Hidden, x, tokens); err != nil {
			return fmt.Errorf("%s: %w", site, err)
		}
		return nil
	}
	own = own[:tokens*b.m.Config.Hidden]
	w.mul(b.m.pool, own, read, tokens, false)
	if l != nil {
		if err := l.After(own, b.m.Config.Hidden, x, tokens); err != nil {
			return fmt.Errorf("%s: %w", site, err)
		}
	}
	if post.w != nil {
		b.m.post(y, y, own, post, nil, tokens)
	} else {
		kernels.Add(y[:len(own)], y[:len(own)], own)
	}
	return nil
}
