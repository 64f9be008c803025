package pretrain

import (
	"fmt"
	"io"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/tokenizer"
)

// writeGGUF writes the model as llama.cpp reads the architecture llama: rows of queries and keys permuted so that the
// two dimensions that turn together are neighbours, no output tensor because the embedding is the head too.
func writeGGUF(w io.Writer, about About, s Shape, p *weights, tok *tokenizer.Tokenizer, t gguf.Type) error {
	u := func(key string, v int) gguf.KV { return gguf.KV{Key: key, Value: uint32(v)} }
	meta := []gguf.KV{
		{Key: "general.architecture", Value: "llama"},
		u("general.file_type", map[gguf.Type]int{gguf.F32: 0, gguf.F16: 1, gguf.Q8_0: 7}[t]),
		u("llama.vocab_size", s.Vocab),
		u("llama.context_length", s.Context),
		u("llama.embedding_length", s.Hidden),
		u("llama.block_count", s.Layers),
		u("llama.feed_forward_length", s.FFN),
		u("llama.attention.head_count", s.Heads),
		u("llama.attention.head_count_kv", s.KVHeads),
		u("llama.attention.key_length", s.HeadDim),
		u("llama.attention.value_length", s.HeadDim),
		u("llama.rope.dimension_count", s.HeadDim),
		{Key: "llama.rope.freq_base", Value: s.RopeTheta},
		{Key: "llama.attention.layer_norm_rms_epsilon", Value: s.NormEps},
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
	var tensors []gguf.Tensor
	matrix := func(name string, v []float32, rows, cols int) {
		tensors = append(tensors, gguf.Tensor{Name: name + ".weight", Shape: []int{rows, cols}, Type: t, Data: v})
	}
	vector := func(name string, v []float32) {
		tensors = append(tensors, gguf.Tensor{Name: name + ".weight", Shape: []int{len(v)}, Type: gguf.F32, Data: v})
	}
	hd, kd, h := s.Heads*s.HeadDim, s.KVHeads*s.HeadDim, s.Hidden
	matrix("token_embd", p.embed, s.Vocab, h)
	for i, l := range p.layers {
		b := fmt.Sprintf("blk.%d.", i)
		vector(b+"attn_norm", l.attnNorm)
		matrix(b+"attn_q", permuteHeads(l.qkv[:hd*h], s.HeadDim, h), hd, h)
		matrix(b+"attn_k", permuteHeads(l.qkv[hd*h:(hd+kd)*h], s.HeadDim, h), kd, h)
		matrix(b+"attn_v", l.qkv[(hd+kd)*h:], kd, h)
		matrix(b+"attn_output", l.out, h, hd)
		vector(b+"ffn_norm", l.ffnNorm)
		matrix(b+"ffn_gate", l.gateUp[:s.FFN*h], s.FFN, h)
		matrix(b+"ffn_up", l.gateUp[s.FFN*h:], s.FFN, h)
		matrix(b+"ffn_down", l.down, h, s.FFN)
	}
	vector("output_norm", p.norm)
	return gguf.Write(w, meta, tensors)
}

// permuteHeads interleaves the two halves of each head's rows: row i of the first half, row i of the second, and so on.
func permuteHeads(w []float32, headDim, cols int) []float32 {
	out, half := make([]float32, len(w)), headDim/2
	for r := range len(w) / cols {
		head, d := r/headDim, r%headDim
		from := head*headDim + d%2*half + d/2
		copy(out[r*cols:(r+1)*cols], w[from*cols:])
	}
	return out
}
