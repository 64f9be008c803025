package main

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopeft/peft/base/basetest"
	"github.com/gopeft/peft/base/gguf"
)

// TestE2EBadBase opens bases that are broken, hostile or of kinds that peft does not know.
func TestE2EBadBase(t *testing.T) {
	p := newProgram(t, "builtin")
	text := p.file("good.txt", "Some plain words to learn, line after line.\n")
	p.run("add-experts", "a", "--data", text)
	good := must(os.ReadFile(filepath.Join("..", "..", "base", "builtin", "model", "base.gguf")))
	const weight = "blk.1.ffn_down.weight"
	// info patches the numbers behind a tensor's name: the count of its dimensions, two of them, its type and its offset.
	info := func(field int, v uint64) []byte {
		b := bytes.Clone(good)
		at := bytes.Index(b, []byte(weight)) + len(weight)
		switch field {
		case 0:
			binary.LittleEndian.PutUint32(b[at:], uint32(v))
		case 3:
			binary.LittleEndian.PutUint32(b[at+4+2*8:], uint32(v))
		case 4:
			binary.LittleEndian.PutUint64(b[at+4+2*8+4:], v)
		default:
			binary.LittleEndian.PutUint64(b[at+4+(field-1)*8:], v)
		}
		return b
	}
	count := func(at int, v uint64) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint64(b[at:], v)
		return b
	}
	for name, c := range map[string]struct {
		file  []byte
		words []string
	}{
		"half of it":      {good[:len(good)/2], []string{"truncated"}},
		"head only":       {good[:30], []string{"cannot stand"}},
		"huge tensors":    {count(8, 1<<60), []string{"tensors", "cannot stand"}},
		"huge keys":       {count(16, math.MaxUint64), []string{"keys", "cannot stand"}},
		"dimensions":      {info(0, 1<<31), []string{weight}},
		"overflow":        {info(1, 1<<62), []string{weight}},
		"past the end":    {info(4, 1<<40), []string{weight}},
		"type":            {info(3, 99), []string{weight, "99"}},
		"two of a name":   {bytes.Replace(good, []byte("blk.1.attn_q.weight"), []byte("blk.0.attn_q.weight"), 1), []string{"blk.0.attn_q.weight", "twice"}},
		"missing tensor":  {bytes.Replace(good, []byte(weight), []byte("blk.1.ffn_dawn.weight"), 1), []string{weight}},
		"architecture":    {rewrite(t, good, "general.architecture", "mamba", ""), []string{"mamba", "llama"}},
		"no merges":       {rewrite(t, good, "tokenizer.ggml.merges", nil, ""), []string{"merges"}},
		"other tokenizer": {rewrite(t, good, "tokenizer.ggml.model", "rwkv", ""), []string{"tokenizer", "rwkv", "gpt2"}},
		"no scores":       {rewrite(t, good, "tokenizer.ggml.model", "llama", ""), []string{"tokenizer", "scores"}},
		"not a number":    {rewrite(t, good, "", nil, weight), []string{"layers.1.mlp.down_proj", "NaN"}},
	} {
		q := *p
		q.base = p.file(name+".gguf", string(c.file))
		t.Log(name)
		q.fails(1, c.words, "generate", "x")
		q.fails(1, c.words, "finetune", "a", "--data", text)
	}
	if got := p.run("show", "a")["revision"].(float64); got != 1 {
		t.Errorf("the registry was touched: a@%v", got)
	}
	p.run("verify")
}

// rewrite returns the file with a key changed, or left out, or with a tensor whose third value is no number.
func rewrite(t *testing.T, file []byte, key string, value any, nan string) []byte {
	f, err := gguf.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	var meta []gguf.KV
	for _, k := range slices.Sorted(maps.Keys(f.Meta)) {
		v := f.Meta[k]
		if k == key {
			v = value
		}
		if v != nil {
			meta = append(meta, gguf.KV{Key: k, Value: v})
		}
	}
	var tensors []gguf.Tensor
	for _, i := range f.Tensors() {
		data, shape, err := f.Tensor(i.Name)
		if err != nil {
			t.Fatal(err)
		}
		typ := i.Type
		if i.Name == nan {
			data[2], typ = float32(math.NaN()), gguf.F32
		}
		tensors = append(tensors, gguf.Tensor{Name: i.Name, Shape: shape, Type: typ, Data: data})
	}
	var out bytes.Buffer
	if err := gguf.Write(&out, meta, tensors); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestE2EBadDirectory opens Hugging Face directories whose parts are broken or absent.
func TestE2EBadDirectory(t *testing.T) {
	p := newProgram(t, "builtin")
	from := basetest.Shared(t, "fixtures/tiny-llama31-rope")
	config, weights := must(os.ReadFile(filepath.Join(from, "config.json"))), must(os.ReadFile(filepath.Join(from, "model.safetensors")))
	header := func(json string, data int) []byte {
		b := binary.LittleEndian.AppendUint64(nil, uint64(len(json)))
		return append(append(b, json...), make([]byte, data)...)
	}
	huge := bytes.Clone(weights)
	binary.LittleEndian.PutUint64(huge, math.MaxUint64)
	for name, c := range map[string]struct {
		config, tokenizer, weights []byte
		words                      []string
	}{
		"no tokenizer":  {config, nil, weights, []string{"tokenizer.json"}},
		"no weights":    {config, []byte("{}"), nil, []string{"safetensors"}},
		"no merges":     {config, []byte(`{"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1}}}`), weights, []string{"merges"}},
		"broken JSON":   {config, []byte(`{"model":{"type":`), weights, []string{"tokenizer"}},
		"truncated":     {config, []byte("{}"), weights[:len(weights)/2], []string{"truncated"}},
		"huge header":   {config, []byte("{}"), huge, []string{"header"}},
		"overflow":      {config, []byte("{}"), header(`{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}}`, 8), []string{"shape"}},
		"past the end":  {config, []byte("{}"), header(`{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, 8), []string{"truncated"}},
		"two of a name": {config, []byte("{}"), header(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), []string{"twice"}},
		"architecture":  {[]byte(`{"model_type":"mamba"}`), []byte("{}"), weights, []string{"mamba"}},
	} {
		dir := t.TempDir()
		for file, b := range map[string][]byte{"config.json": c.config, "tokenizer.json": c.tokenizer, "model.safetensors": c.weights} {
			if b == nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		q := *p
		q.base = dir
		t.Log(name)
		q.fails(1, c.words, "generate", "x")
	}
}
