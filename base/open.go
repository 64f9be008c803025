package base

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/gopeft/peft/base/builtin"
	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/safetensors"
	"github.com/gopeft/peft/base/tokenizer"
	"github.com/gopeft/peft/kernels"
)

// Builtin is the reference of the model that is part of the program.
const Builtin = "builtin"

// ErrNotBase reports a reference that names no model.
var ErrNotBase = errors.New("no base model")

// Base is an open model. Its methods may be used from several goroutines.
type Base struct {
	Model     *llama.Model
	Tokenizer *tokenizer.Tokenizer
	Name      string // the file's or directory's name, or "builtin"

	files   files
	dir     string // of a Hugging Face base
	config  llama.Config
	hash    func(w io.Writer) error // of the tensors as stored
	once    sync.Once
	print   string
	hashErr error
	ahead   sync.WaitGroup // until a fingerprint that Open began is there
}

// files are a base's, mapped.
type files interface {
	io.Closer
	Forget()
}

// Options of Open.
type Options struct {
	Precision kernels.Precision // of the products with weights
	Pool      *kernels.Pool     // nil for one thread
	// Fingerprint computes the fingerprint beside the loading, for work that will need it.
	Fingerprint bool
}

// Open opens "builtin", a .gguf file, of a split model any of its files, or a Hugging Face directory with config.json, safetensors and tokenizer.json.
func Open(ref string, o Options) (*Base, error) {
	if ref == Builtin {
		data, err := builtin.GGUF()
		if err != nil {
			return nil, err
		}
		f, err := gguf.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("base %s: %w", ref, err)
		}
		return fromGGUF(Builtin, f, o)
	}
	st, err := os.Stat(ref)
	if err != nil {
		return nil, fmt.Errorf("base %q is neither %s nor a file or directory: %w: %w", ref, Builtin, ErrNotBase, err)
	}
	var b *Base
	if st.IsDir() {
		b, err = openHF(ref, o)
	} else {
		var f *gguf.File
		if f, err = gguf.Open(ref); err == nil {
			b, err = fromGGUF(gguf.Name(ref), f, o)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("base %s: %w", ref, err)
	}
	return b, nil
}

func fromGGUF(name string, f *gguf.File, o Options) (*Base, error) {
	b := &Base{Name: name, files: f}
	b.hash = func(w io.Writer) error {
		infos := slices.Clone(f.Tensors())
		slices.SortFunc(infos, func(x, y gguf.TensorInfo) int { return strings.Compare(x.Name, y.Name) })
		for _, t := range infos {
			raw, err := f.Raw(t.Name)
			if err != nil {
				return err
			}
			if err := hashTensor(w, t.Name, t.Type.String(), t.Shape, raw); err != nil {
				return err
			}
		}
		return nil
	}
	var err error
	if b.config, err = llama.ConfigFromGGUF(f); err == nil {
		err = b.load(llama.FromGGUF(f, b.config), func() (*tokenizer.Tokenizer, error) { return tokenizer.FromGGUF(f.Meta) }, o)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func openHF(dir string, o Options) (*Base, error) {
	read := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
	config, err := read("config.json")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotBase, err)
	}
	c, err := llama.ConfigFromHF(config)
	if err != nil {
		return nil, err
	}
	tok, err := read("tokenizer.json")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotBase, err)
	}
	tokConfig, err := read("tokenizer_config.json")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	chat, err := read("chat_template.jinja")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ends, err := endTokens(dir)
	if err != nil {
		return nil, err
	}
	f, err := safetensors.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	b := &Base{Name: filepath.Base(filepath.Clean(dir)), files: f, dir: dir, config: c}
	b.hash = func(w io.Writer) error {
		for _, name := range f.Names() {
			t, _ := f.Info(name)
			raw, err := f.Raw(name)
			if err != nil {
				return err
			}
			if err := hashTensor(w, name, t.DType, t.Shape, raw); err != nil {
				return err
			}
		}
		return nil
	}
	if err := b.load(llama.FromSafetensors(f, c), func() (*tokenizer.Tokenizer, error) {
		t, err := tokenizer.FromHF(tok, tokConfig)
		if err != nil {
			return nil, err
		}
		if len(chat) > 0 {
			t.SetChat(string(chat))
		}
		return t, endAt(t, ends)
	}, o); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// load builds the tokenizer and, if asked to, computes the fingerprint while the model is packed.
func (b *Base) load(src llama.Source, tok func() (*tokenizer.Tokenizer, error), o Options) error {
	var tokErr error
	built := make(chan struct{})
	b.ahead.Add(1)
	go func() {
		defer b.ahead.Done()
		b.Tokenizer, tokErr = tok()
		close(built)
		if tokErr == nil && o.Fingerprint {
			_, _ = b.Fingerprint() // whoever asks gets the error
		}
	}()
	var err error
	b.Model, err = llama.New(b.config, src, o.Precision, o.Pool)
	<-built
	if tokErr != nil {
		return tokErr
	}
	if n := b.Tokenizer.Vocab(); n > b.config.Vocab {
		return fmt.Errorf("the tokenizer has %d tokens, the model %d: they do not belong together: %w", n, b.config.Vocab, llama.ErrConfig)
	}
	b.files.Forget()
	return err
}

// Close unmaps the model's files. Nothing may use the model afterwards.
func (b *Base) Close() error {
	b.ahead.Wait()
	return b.files.Close()
}

// Fingerprint identifies the model: the SHA-256, in hexadecimal, of its configuration, its tensors as stored and its
// tokenizer. Expert sets and routers belong to one fingerprint.
func (b *Base) Fingerprint() (string, error) {
	b.once.Do(func() {
		h := sha256.New()
		config, err := json.Marshal(b.config)
		if err == nil {
			h.Write(config)
			h.Write([]byte(b.Tokenizer.Hash()))
			err = b.hash(h)
		}
		b.files.Forget()
		b.print, b.hashErr = hex.EncodeToString(h.Sum(nil)), err
	})
	return b.print, b.hashErr
}

func hashTensor(w io.Writer, name, kind string, shape []int, raw []byte) error {
	if _, err := fmt.Fprintf(w, "%q %s %v ", name, kind, shape); err != nil {
		return err
	}
	if err := binary.Write(w, binary.LittleEndian, uint64(len(raw))); err != nil {
		return err
	}
	_, err := w.Write(raw)
	return err
}
