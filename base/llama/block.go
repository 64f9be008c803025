package llama

import (
	"fmt"
	"strings"

	"github.com/gopeft/peft/kernels"
)

// Block is one decoder block.
type Block struct {
	Index int

	m        *Model
	attnNorm norm
	ffnNorm  norm
	attnPost norm      // of attention's output, in families that have it
	ffnPost  norm      // of the feed-forward layer's
	query    []float32 // [headDim], norm of a query head, likewise
	key      []float32 // [headDim], of a key head
	qkv      weight    // [(heads+2·kv)·headDim, hidden]: query, key, value
	out      weight    // [hidden, heads·headDim]
	gateUp   weight    // [UpWidth, hidden]
	down     weight    // [hidden, ffn]
	prepared bool
}

// norm is RMSNorm's weight, or LayerNorm's weight and bias: [hidden].
type norm struct{ w, b []float32 }

func (m *Model) loadBlock(i int, from *Model) (*Block, error) {
	b := &Block{Index: i, m: m}
	if err := b.loadNorms(); err != nil {
		return nil, err
	}
	parts := b.parts()
	if from != nil {
		for j, p := range from.Blocks[i].parts() {
			parts[j].codes = p.codes
		}
	}
	for _, p := range parts {
		p.n = 0
		for _, r := range p.rows {
			p.n += r
		}
		if err := p.loadBias(m.src); err != nil {
			return nil, err
		}
		done, err := p.packCodes(m, nil, p.names, p.rows)
		if err != nil {
			return nil, err
		}
		if done {
			continue
		}
		data, err := p.load(m.src)
		if err != nil {
			return nil, err
		}
		p.forward = kernels.PackNT(nil, data, p.n, p.k, m.packed())
	}
	m.forget()
	return b, nil
}

// loadNorm loads a norm of that name.
func (m *Model) loadNorm(name string) (n norm, err error) {
	if n.w, err = load(m.src, name+".weight", m.Config.Hidden); err == nil && m.Config.traits().layerNorm {
		n.b, err = load(m.src, name+".bias", m.Config.Hidden)
	}
	return n, err
}

// loadNorms loads those that the family has.
func (b *Block) loadNorms() (err error) {
	c, t := &b.m.Config, b.m.Config.traits()
	type named struct {
		n    *norm
		name string
	}
	norms := []named{{&b.attnNorm, "input_layernorm"}, {&b.ffnNorm, "post_attention_layernorm"}}
	if t.postNorms {
		norms = []named{norms[0], {&b.attnPost, "post_attention_layernorm"}, {&b.ffnNorm, "pre_feedforward_layernorm"}, {&b.ffnPost, "post_feedforward_layernorm"}}
	}
	for _, n := range norms {
		if *n.n, err = b.m.loadNorm(layerName(b.Index, n.name)); err != nil {
			return err
		}
	}
	if t.headNorms {
		if b.query, err = load(b.m.src, blockName(b.Index, "self_attn.q_norm"), c.HeadDim); err == nil {
			b.key, err = load(b.m.src, blockName(b.Index, "self_attn.k_norm"), c.HeadDim)
		}
	}
	return err
}

func layerName(i int, part string) string { return fmt.Sprintf("model.layers.%d.%s", i, part) }

func blockName(i int, part string) string { return layerName(i, part) + ".weight" }

// part is one of a block's linear layers, made of related weights joined.
type part struct {
	*weight
	names  []string
	rows   []int // of each
	biased bool
}

func (b *Block) parts() []part {
	c, hd := b.m.Config, b.m.Config.HeadDim
	t := c.traits()
	b.qkv.k, b.out.k, b.gateUp.k, b.down.k = c.Hidden, c.Heads*hd, c.Hidden, c.FFN
	name := func(parts ...string) []string {
		for i, p := range parts {
			parts[i] = blockName(b.Index, p)
		}
		return parts
	}
	up, rows := name("mlp.gate_proj", "mlp.up_proj"), []int{c.FFN, c.FFN}
	if t.plain {
		up, rows = up[1:], rows[1:]
	}
	return []part{
		{&b.qkv, name("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), []int{c.Heads * hd, c.KVHeads * hd, c.KVHeads * hd}, t.bias || t.qkvBias},
		{&b.out, name("self_attn.o_proj"), []int{c.Hidden}, t.bias},
		{&b.gateUp, up, rows, t.bias},
		{&b.down, name("mlp.down_proj"), []int{c.Hidden}, t.bias},
	}
}

// loadBias loads the layer's bias, if it has one.
func (p *part) loadBias(src Source) error {
	if !p.biased {
		return nil
	}
	for i, name := range p.names {
		x, err := load(src, strings.TrimSuffix(name, "weight")+"bias", p.rows[i])
		if err != nil {
			return err
		}
		p.bias = append(p.bias, x...)
	}
	return nil
}

// load returns the layer's weight [n, k].
func (p *part) load(src Source) ([]float32, error) {
	var data []float32
	for i, name := range p.names {
		x, err := load(src, name, p.rows[i], p.k)
		if err != nil {
			return nil, err
		}
		if len(p.names) == 1 {
			return x, nil
		}
		data = append(data, x...)
	}
	return data, nil
}
