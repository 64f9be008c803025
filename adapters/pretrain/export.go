package pretrain

import (
	"fmt"
	"io"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/tokenizer"
)

// writeGGUF writes a dense model as llama.cpp reads the architecture llama.
func writeGGUF(w io.Writer, about About, s Shape, p *weights, tok *tokenizer.Tokenizer, t gguf.Type) error {
	c := llama.Config{Vocab: s.Vocab, Hidden: s.Hidden, Layers: s.Layers, Heads: s.Heads, KVHeads: s.KVHeads, HeadDim: s.HeadDim, FFN: s.FFN,
		MaxSeq: s.Context, NormEps: s.NormEps, RopeTheta: s.RopeTheta, Tied: true}
	meta, err := c.GGUF()
	if err != nil {
		return err
	}
	for _, e := range []gguf.KV{{Key: "general.name", Value: about.Name}, {Key: "general.description", Value: about.Description}, {Key: "general.license", Value: about.License}} {
		if e.Value != "" {
			meta = append(meta, e)
		}
	}
	kv, err := tok.GGUF()
	if err != nil {
		return err
	}
	for _, e := range kv {
		meta = append(meta, gguf.KV{Key: e.Key, Value: e.Value})
	}
	return llama.WriteGGUF(w, &c, namedWeights(&c, p), meta, t)
}

// named are a model's weights by Hugging Face's names; they are a llama.Source.
type named struct {
	values map[string][]float32
	shapes map[string][]int
}

// Tensor implements llama.Source.
func (n named) Tensor(name string) ([]float32, []int, error) {
	v, ok := n.values[name]
	if !ok {
		return nil, nil, fmt.Errorf("no weight %q", name)
	}
	return v, n.shapes[name], nil
}

func namedWeights(c *llama.Config, p *weights) named {
	n := named{map[string][]float32{"model.embed_tokens.weight": p.embed, "model.norm.weight": p.norm}, map[string][]int{}}
	q, k, up := c.AttnWidth()*c.Hidden, c.KVHeads*c.HeadDim*c.Hidden, c.FFN*c.Hidden
	for i, l := range p.layers {
		for part, v := range map[string][]float32{
			"input_layernorm": l.attnNorm, "post_attention_layernorm": l.ffnNorm,
			"self_attn.q_proj": l.qkv[:q], "self_attn.k_proj": l.qkv[q : q+k], "self_attn.v_proj": l.qkv[q+k:], "self_attn.o_proj": l.out,
			"mlp.gate_proj": l.gateUp[:up], "mlp.up_proj": l.gateUp[up:], "mlp.down_proj": l.down,
		} {
			n.values[fmt.Sprintf("model.layers.%d.%s.weight", i, part)] = v
		}
	}
	for _, w := range c.Weights() {
		n.shapes[w.Name] = w.Shape
	}
	return n
}
