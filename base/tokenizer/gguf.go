package tokenizer

import (
	"fmt"
	"math"
	"slices"
)

// Token types of GGUF.
const (
	typeNormal  = 1
	typeControl = 3
	typeUser    = 4
)

// KV is one entry of GGUF metadata.
type KV struct {
	Key   string
	Value any
}

// FromGGUF reads a tokenizer from GGUF metadata (tokenizer.ggml.* and tokenizer.chat_template).
func FromGGUF(meta map[string]any) (*Tokenizer, error) {
	model, _ := meta["tokenizer.ggml.model"].(string)
	if model != "gpt2" && model != "llama" {
		return nil, fmt.Errorf("tokenizer %q: only byte-level BPE (gpt2) and SentencePiece's (llama) are known: %w", model, ErrUnsupported)
	}
	tokens, _ := meta["tokenizer.ggml.tokens"].([]string)
	merges, _ := meta["tokenizer.ggml.merges"].([]string)
	types, hasTypes := meta["tokenizer.ggml.token_type"].([]int32)
	if hasTypes && len(types) != len(tokens) {
		return nil, fmt.Errorf("%d token types for %d tokens: %w", len(types), len(tokens), ErrInvalid)
	}
	s := spec{tokens: tokens, merges: merges, bos: -1}
	for i, t := range types {
		if t == typeControl || t == typeUser {
			s.added = append(s.added, added{id: int32(i), text: tokens[i], plain: t == typeUser})
		}
	}
	var err error
	if model == "llama" {
		err = s.scored(meta, types)
	} else {
		pre, _ := meta["tokenizer.ggml.pre"].(string)
		s.split, err = byName(pre)
		s.whole = pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3"
	}
	if err != nil {
		return nil, err
	}
	if s.bos, err = tokenID(meta, "tokenizer.ggml.bos_token_id", len(tokens)); err != nil {
		return nil, err
	}
	for _, key := range []string{"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"} {
		id, err := tokenID(meta, key, len(tokens))
		if err != nil {
			return nil, err
		}
		if id >= 0 && !slices.Contains(s.eos, id) {
			s.eos = append(s.eos, id)
		}
	}
	s.template, _ = meta["tokenizer.chat_template"].(string)
	return build(s)
}

// scored takes what SentencePiece's vocabularies have in GGUF: scores of the tokens, and whether a mark is put before texts.
func (s *spec) scored(meta map[string]any, types []int32) error {
	scores, _ := meta["tokenizer.ggml.scores"].([]float32)
	if len(scores) != len(s.tokens) {
		return fmt.Errorf("%d scores for %d tokens: %w", len(scores), len(s.tokens), ErrInvalid)
	}
	unk, err := tokenID(meta, "tokenizer.ggml.unknown_token_id", len(s.tokens))
	if err != nil {
		return err
	}
	s.pieces = &pieces{prefix: always, unk: unk}
	if add, ok := meta["tokenizer.ggml.add_space_prefix"].(bool); ok && !add {
		s.pieces.prefix = never
	}
	s.merges, s.ranks, err = mergesByScore(s.tokens, scores, func(id int) bool {
		return types == nil || types[id] == typeNormal || types[id] == typeUser
	})
	return err
}

// tokenID returns the id that an entry names, -1 when there is no such entry.
func tokenID(meta map[string]any, key string, vocab int) (int32, error) {
	v, ok := meta[key]
	if !ok {
		return -1, nil
	}
	var id int64
	switch x := v.(type) {
	case uint32:
		id = int64(x)
	case int32:
		id = int64(x)
	case uint64:
		id = int64(min(x, math.MaxInt64))
	case int64:
		id = x
	default:
		return 0, fmt.Errorf("%s is a %T, not a token id: %w", key, v, ErrInvalid)
	}
	if id < 0 || id >= int64(vocab) {
		return 0, fmt.Errorf("%s is %d, outside the vocabulary of %d: %w", key, id, vocab, ErrInvalid)
	}
	return int32(id), nil
}

// GGUF returns the metadata that FromGGUF and llama.cpp read. It serves tokenizers with the splitter smollm or gpt-2.
func (t *Tokenizer) GGUF() ([]KV, error) {
	pre := ""
	if t.pieces != nil {
		return nil, fmt.Errorf("tokenizer: GGUF for %v: %w", t.pieces, ErrUnsupported)
	}
	switch t.split.String() {
	case "digits → gpt2":
		pre = "smollm"
	case "gpt2":
		pre = "gpt-2"
	default:
		return nil, fmt.Errorf("tokenizer: GGUF for pre-tokenizer %v: %w", t.split, ErrUnsupported)
	}
	types := make([]int32, len(t.tokens))
	for i := range types {
		types[i] = typeNormal
	}
	for _, a := range t.list {
		types[a.id] = typeControl
		if a.plain {
			types[a.id] = typeUser
		}
	}
	kv := []KV{
		{"tokenizer.ggml.model", "gpt2"},
		{"tokenizer.ggml.pre", pre},
		{"tokenizer.ggml.tokens", t.tokens},
		{"tokenizer.ggml.token_type", types},
		{"tokenizer.ggml.merges", t.pairs},
		{"tokenizer.ggml.add_bos_token", false},
	}
	if t.BOS >= 0 {
		kv = append(kv, KV{"tokenizer.ggml.bos_token_id", uint32(t.BOS)})
	}
	if len(t.EOS) > 0 {
		kv = append(kv, KV{"tokenizer.ggml.eos_token_id", uint32(t.EOS[0])})
	}
	if len(t.EOS) > 1 {
		kv = append(kv, KV{"tokenizer.ggml.eot_token_id", uint32(t.EOS[1])})
	}
	if t.template != "" {
		kv = append(kv, KV{"tokenizer.chat_template", t.template})
	}
	return kv, nil
}
