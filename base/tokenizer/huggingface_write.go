package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
)

// HF returns a tokenizer.json and a tokenizer_config.json that FromHF and Hugging Face's tokenizers read. It serves
// tokenizers with the splitter smollm or gpt-2.
func (t *Tokenizer) HF() (tokenizerJSON, configJSON []byte, err error) {
	if t.pieces != nil {
		return nil, nil, fmt.Errorf("tokenizer: tokenizer.json for %v: %w", t.pieces, ErrUnsupported)
	}
	bytes := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	var pre any
	switch t.split.String() {
	case "digits → gpt2":
		pre = map[string]any{"type": "Sequence", "pretokenizers": []any{map[string]any{"type": "Digits", "individual_digits": true}, bytes}}
	case "gpt2":
		pre = bytes
	default:
		return nil, nil, fmt.Errorf("tokenizer: tokenizer.json for pre-tokenizer %v: %w", t.split, ErrUnsupported)
	}
	vocab := make(map[string]int, len(t.tokens))
	for id, tok := range t.tokens {
		if first, twice := vocab[tok]; twice {
			return nil, nil, fmt.Errorf("tokenizer: tokenizer.json: tokens %d and %d are both %q: %w", first, id, tok, ErrUnsupported)
		}
		vocab[tok] = id
	}
	list := []map[string]any{}
	for _, a := range t.list {
		list = append(list, map[string]any{"id": a.id, "content": a.text, "single_word": false, "lstrip": a.lstrip, "rstrip": a.rstrip,
			"normalized": false, "special": !a.plain})
	}
	merges := make([][]string, len(t.pairs))
	for i, m := range t.pairs {
		merges[i] = strings.SplitN(m, " ", 2)
	}
	config := map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false}
	if t.BOS >= 0 {
		config["bos_token"] = t.tokens[t.BOS]
	}
	if len(t.EOS) > 0 {
		config["eos_token"] = t.tokens[t.EOS[0]]
	}
	if t.template != "" {
		config["chat_template"] = t.template
	}
	tokenizerJSON, err = json.Marshal(map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": list, "normalizer": nil, "pre_tokenizer": pre, "post_processor": nil,
		"decoder": map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"model": map[string]any{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": t.whole, "vocab": vocab, "merges": merges},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("tokenizer: tokenizer.json: %w", err)
	}
	configJSON, err = json.MarshalIndent(config, "", "  ")
	return tokenizerJSON, configJSON, err
}
