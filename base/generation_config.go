package base

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gopeft/peft/base/tokenizer"
)

// endTokens returns the tokens that generation_config.json ends a text at, none where there is no such file. Models whose
// turns end otherwise than their texts name both there.
func endTokens(dir string) ([]int32, error) {
	const name = "generation_config.json"
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var c struct {
		EOS json.RawMessage `json:"eos_token_id"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(c.EOS) == 0 || string(c.EOS) == "null" {
		return nil, nil
	}
	var list []int32
	if json.Unmarshal(c.EOS, &list) == nil {
		return list, nil
	}
	var one int32
	if err := json.Unmarshal(c.EOS, &one); err != nil {
		return nil, fmt.Errorf("%s: eos_token_id %s is neither a token nor a list of them", name, c.EOS)
	}
	return []int32{one}, nil
}

// endAt adds end tokens to those of the tokenizer's own configuration.
func endAt(t *tokenizer.Tokenizer, ids []int32) error {
	for _, id := range ids {
		if id < 0 || int(id) >= t.Vocab() {
			return fmt.Errorf("generation_config.json ends texts at token %d, the tokenizer has 0 to %d", id, t.Vocab()-1)
		}
		if !t.IsEOS(id) {
			t.EOS = append(t.EOS, id)
		}
	}
	return nil
}
