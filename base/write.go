package base

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
)

// WriteGGUF writes the base as a GGUF file with weights of src, such as its own changed by adapters. Matrices are of type t:
// F32, F16, BF16 or Q8_0.
func (b *Base) WriteGGUF(w io.Writer, src llama.Source, t gguf.Type) error {
	meta, err := b.metadata()
	if err != nil {
		return fmt.Errorf("base %s as GGUF: %w", b.Name, err)
	}
	return llama.WriteGGUF(w, &b.config, src, meta, t)
}

// metadata returns what a GGUF file of the base says: what its own says, or what its configuration and tokenizer give.
func (b *Base) metadata() ([]gguf.KV, error) {
	var meta []gguf.KV
	if f, ok := b.files.(*gguf.File); ok {
		for _, key := range slices.Sorted(maps.Keys(f.Meta)) {
			if key != "general.alignment" { // the writer's own
				meta = append(meta, gguf.KV{Key: key, Value: f.Meta[key]})
			}
		}
		return meta, nil
	}
	meta, err := b.config.GGUF()
	if err != nil {
		return nil, err
	}
	meta = append(meta, gguf.KV{Key: "general.name", Value: b.Name})
	kv, err := b.Tokenizer.GGUF()
	for _, e := range kv {
		meta = append(meta, gguf.KV{Key: e.Key, Value: e.Value})
	}
	return meta, err
}

// beside are the files of a Hugging Face directory that go with the weights, whatever those are.
var beside = []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
	"tokenizer.model", "chat_template.jinja", "generation_config.json", "LICENSE"}

// WriteHF writes the base as a Hugging Face directory with weights of src as F32, F16 or BF16. Its other files are copied
// from the base's own directory; a base from a GGUF file gets new ones. The directory must not be there, or be empty.
func (b *Base) WriteHF(dir string, src llama.Source, dtype string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("base %s as a directory: %w", b.Name, err)
		}
	}()
	if list, err := os.ReadDir(dir); err == nil && len(list) > 0 {
		return fmt.Errorf("%s holds %d files: %w", dir, len(list), os.ErrExist)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".model-*")
	if err != nil {
		return err
	}
	if err = b.writeHF(tmp, src, dtype); err == nil {
		if err = os.Chmod(tmp, 0o755); err == nil {
			err = os.Rename(tmp, dir)
		}
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return nil
}

func (b *Base) writeHF(dir string, src llama.Source, dtype string) error {
	files, err := b.around(dtype)
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		return err
	}
	return errors.Join(llama.WriteSafetensors(f, &b.config, src, dtype), f.Close())
}

// around returns the files beside the weights.
func (b *Base) around(dtype string) (map[string][]byte, error) {
	config, err := b.config.HF(dtype)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"config.json": config}
	if b.dir == "" {
		files["tokenizer.json"], files["tokenizer_config.json"], err = b.Tokenizer.HF()
		if err != nil {
			return nil, fmt.Errorf("%w; a GGUF file can be written", err)
		}
		files["generation_config.json"], err = json.Marshal(map[string]any{"eos_token_id": b.Tokenizer.EOS})
		return files, err
	}
	for _, name := range append([]string{"config.json"}, beside...) {
		content, err := os.ReadFile(filepath.Join(b.dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[name] = content
	}
	files["config.json"], err = retyped(files["config.json"], config)
	return files, err
}

// retyped returns a base's own config.json with the element type of another, and without what was said of how its weights
// were quantised.
func retyped(own, other []byte) ([]byte, error) {
	var c, o map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(own, &c), json.Unmarshal(other, &o)); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	delete(c, "quantization_config")
	delete(c, "torch_dtype") // the older name
	c["dtype"] = o["dtype"]
	return json.MarshalIndent(c, "", "  ")
}
