package peft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gopeft/peft/adapters/exchange"
	"github.com/gopeft/peft/adapters/transfer"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/registry"
)

// MergeOptions of Merge and Unmerge.
type MergeOptions struct {
	Format Format   // FormatGGUF or FormatHF
	Type   string   // of the matrices: F32, F16, BF16 or, in GGUF, Q8_0; default F16
	Data   []string // text that the written model is compared on; default: short passages of many kinds
}

// MergeResult is what Merge or Unmerge wrote, and how far the logits of the written model are from what they should be.
type MergeResult struct {
	File      string  `json:"file"`
	Format    Format  `json:"format"`
	Type      string  `json:"type"`
	Bytes     int64   `json:"bytes"`
	Tokens    int     `json:"tokens"`    // whose logits were compared
	Max       float64 `json:"max"`       // largest difference of a logit
	Mean      float64 `json:"mean"`      // mean difference, without its sign
	Change    float64 `json:"change"`    // mean difference that the adapters themselves make
	Spread    float64 `json:"spread"`    // standard deviation of the logits of a token
	Tolerance float64 `json:"tolerance"` // largest mean difference that is accepted
}

// ErrMerge reports a written model that computes something else than it should.
var ErrMerge = errors.New("the merged model computes something else")

func (o *MergeOptions) check() error {
	o.Type = cmp.Or(o.Type, "F16")
	switch _, known := rounding[o.Type]; {
	case o.Format != FormatGGUF && o.Format != FormatHF:
		return fmt.Errorf("a model as %q, want %s or %s: %w", o.Format, FormatGGUF, FormatHF, ErrFormat)
	case !known || o.Format == FormatHF && o.Type == "Q8_0":
		return fmt.Errorf("matrices of %q in %s, want F32, F16, BF16 or, in %s, Q8_0: %w", o.Type, o.Format, FormatGGUF, ErrFormat)
	}
	for _, f := range o.Data {
		if err := exists("data", f); err != nil {
			return err
		}
	}
	return nil
}

// Merge writes the base with sets merged into its weights as a model that needs neither: a GGUF file or a Hugging Face
// directory. Sets are named as "name", "name@revision" or, at another strength, "name*0.5". Sets that are no LoRA or IA³ at
// linear layers, or stand in cells, give exchange.ErrUnsupported with the reason, a weight that is no longer finite
// exchange.ErrNotFinite. The written model is read again and its logits are compared with those of the base with the sets
// on; where they differ by more than the type's rounding explains, nothing is left behind and the error wraps ErrMerge.
func (e *Engine) Merge(ctx context.Context, sets []string, out string, o MergeOptions) (*MergeResult, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("peft: merge: %w", err)
	}
	if len(sets) == 0 {
		return nil, errors.New("peft: merge: no set named")
	}
	b, err := e.Base()
	if err != nil {
		return nil, err
	}
	var all []exchange.Weighted
	for _, name := range sets {
		ref, strength, err := parseScaled(name)
		if err != nil {
			return nil, err
		}
		set, err := e.setOfBase(ref)
		if err != nil {
			return nil, err
		}
		a, err := transfer.FromSet(set.Scaled(strength), &b.Model.Config, b.Name)
		if err != nil {
			return nil, fmt.Errorf("peft: merge: %w", err)
		}
		all = append(all, exchange.Weighted{Adapter: a, Strength: 1})
	}
	_, seam, err := e.withSets(ctx, sets)
	if err != nil {
		return nil, err
	}
	src, err := exchange.Merge(b.Model.Source(), &b.Model.Config, all...)
	if err != nil {
		return nil, fmt.Errorf("peft: merge: %w", err)
	}
	with, err := e.inF32(b)
	if err != nil {
		return nil, err
	}
	return e.writeModel(ctx, b, src, out, o, func(written *base.Base) (*trial, error) {
		return &trial{want: reader{with, seam}, got: reader{written.Model, nil}, without: reader{with, nil}}, nil
	})
}

// Unmerge takes an adapter out of the open base, a model that it was merged into, and writes what is left, as Merge does.
// from is the adapter's directory or file, or a set's name, whatever base that set is for. What merging has lost, such as
// the lengths of rows under a DoRA, gives exchange.ErrUnsupported. The written model with the adapter is compared with the
// open base.
func (e *Engine) Unmerge(ctx context.Context, from, out string, o MergeOptions) (*MergeResult, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("peft: unmerge: %w", err)
	}
	b, err := e.Base()
	if err != nil {
		return nil, err
	}
	c := &b.Model.Config
	a, err := e.adapterOf(from, c)
	if err != nil {
		return nil, fmt.Errorf("peft: unmerge %s: %w", from, err)
	}
	src, err := exchange.Unmerge(b.Model.Source(), c, a)
	if err != nil {
		return nil, fmt.Errorf("peft: unmerge %s: %w", from, err)
	}
	whole, err := e.inF32(b)
	if err != nil {
		return nil, err
	}
	return e.writeModel(ctx, b, src, out, o, func(written *base.Base) (*trial, error) {
		again, err := exchange.Merge(written.Model.Source(), c, exchange.Weighted{Adapter: a, Strength: 1})
		if err != nil {
			return nil, err
		}
		m, err := llama.New(*c, again, kernels.F32, e.pool)
		return &trial{want: reader{whole, nil}, got: reader{m, nil}, without: reader{written.Model, nil}}, err
	})
}

// adapterOf reads an adapter from a directory or file, or makes it of a set in the registry.
func (e *Engine) adapterOf(from string, c *llama.Config) (*exchange.Adapter, error) {
	f, err := formatOf(from)
	switch {
	case err == nil && f != FormatPEFT:
		return readAdapter(from, f, c)
	case err == nil:
		return nil, fmt.Errorf("a set that peft export wrote; import it, and name it: %w", ErrFormat)
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	s := e.reg.Snapshot()
	defer s.Close()
	m, err := findSet(s, from)
	if errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrName) {
		return nil, fmt.Errorf("neither a file or directory nor a set: %w", err)
	}
	if err != nil {
		return nil, err
	}
	set, err := e.cachedSet(s, m)
	if err != nil {
		return nil, err
	}
	return transfer.FromSet(set, c, "")
}

// writeModel writes the base with weights of src beside out, compares what should compute the same, and only then puts the
// model in its place. between tells what should, given the written model.
func (e *Engine) writeModel(ctx context.Context, b *base.Base, src llama.Source, out string, o MergeOptions, between func(written *base.Base) (*trial, error)) (res *MergeResult, err error) {
	if list, err := os.ReadDir(out); err == nil && (len(list) > 0 || o.Format == FormatGGUF) {
		return nil, fmt.Errorf("peft: write %s: a directory with %d files: %w", out, len(list), os.ErrExist)
	}
	if in, err := os.Stat(e.opt.Base); err == nil {
		if to, err := os.Stat(out); err == nil && os.SameFile(in, to) {
			return nil, fmt.Errorf("peft: write %s: that is the open base: %w", out, os.ErrExist)
		}
	}
	texts, err := e.comparisonTexts(b, o.Data)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(filepath.Clean(out)), ".merge-*")
	if err != nil {
		return nil, fmt.Errorf("peft: write %s: %w", out, err)
	}
	defer func() {
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			res = nil
		}
	}()
	model := filepath.Join(dir, filepath.Base(out))
	e.progress(Progress{Task: "write the model", Total: 1, Unit: "models"})
	if o.Format == FormatHF {
		err = b.WriteHF(model, src, o.Type)
	} else {
		types := map[string]gguf.Type{"F32": gguf.F32, "F16": gguf.F16, "BF16": gguf.BF16, "Q8_0": gguf.Q8_0}
		err = writeFile(model, func(w io.Writer) error { return b.WriteGGUF(w, src, types[o.Type]) })
	}
	if err != nil {
		return nil, fmt.Errorf("peft: write %s: %w", out, err)
	}
	e.progress(Progress{Task: "write the model", Done: 1, Total: 1, Unit: "models"})
	written, err := base.Open(model, base.Options{Precision: kernels.F32, Pool: e.pool})
	if err != nil {
		return nil, fmt.Errorf("peft: read %s again: %w", out, err)
	}
	defer func() { err = errors.Join(err, written.Close()) }()
	t, err := between(written)
	if err != nil {
		return nil, err
	}
	res = &MergeResult{File: out, Format: o.Format, Type: o.Type}
	if err := e.compare(ctx, res, t, texts); err != nil {
		return nil, fmt.Errorf("peft: write %s: %w", out, err)
	}
	if err := os.Rename(model, out); err != nil {
		return nil, fmt.Errorf("peft: write %s: %w", out, err)
	}
	res.Bytes, err = sizeOf(out)
	return res, err
}
