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
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/transfer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/registry"
)

// Format is a form that a set can have outside the registry.
type Format string

// The formats.
const (
	FormatPEFT Format = "peft" // this program's own: everything that belongs to a set
	FormatHF   Format = "hf"   // a directory as Hugging Face PEFT has it: adapter_config.json, adapter_model.safetensors
	FormatGGUF Format = "gguf" // a GGUF file as llama.cpp's --lora has it
)

// ErrFormat reports a file of none of the formats, or one that is not for what is to be written.
var ErrFormat = errors.New("unknown format")

// formatOf tells by what it holds which format a file or directory has.
func formatOf(path string) (Format, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if st.IsDir() {
		if exchange.IsPEFT(path) {
			return FormatHF, nil
		}
		return "", fmt.Errorf("%s is a directory without the adapter_config.json of Hugging Face PEFT: %w", path, ErrFormat)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	var magic [4]byte
	n, err := io.ReadFull(f, magic[:])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	switch string(magic[:n]) {
	case "GGUF":
		return FormatGGUF, nil
	case "PK\x03\x04": // a zip archive
		return FormatPEFT, nil
	}
	if dir := filepath.Dir(path); exchange.IsPEFT(dir) {
		return "", fmt.Errorf("%s is a part of an adapter; give its directory, %s: %w", path, dir, ErrFormat)
	}
	return "", fmt.Errorf("%s is no file that peft export wrote and no GGUF file; a Hugging Face adapter is a directory: %w", path, ErrFormat)
}

// readAdapter reads another program's adapter for a base.
func readAdapter(path string, f Format, c *llama.Config) (*exchange.Adapter, error) {
	if f == FormatHF {
		return exchange.ReadPEFT(path, c)
	}
	return exchange.ReadGGUF(path, c)
}

// importFrom adds a set from a file of any format.
func (e *Engine) importFrom(ctx context.Context, name string, o AddOptions) (*registry.Manifest, error) {
	o.From = e.pulled(o.From)
	f, err := formatOf(o.From)
	if err != nil {
		return nil, fmt.Errorf("peft: import: %w", err)
	}
	given := o.Adapter
	if given.Routed = false; given.neurons() {
		given.Kind = ""
	}
	if given.Kind != "" || given.Rank != 0 || given.Alpha != 0 || given.RSLoRA || given.DoRA || given.Activation != "" || len(given.Targets) > 0 || o.Experts != 0 || o.Placing != (Placing{}) {
		return nil, fmt.Errorf("peft: import %s: what is imported says itself what its experts are and how many: %w", o.From, ErrAdapter)
	}
	if f == FormatPEFT {
		return e.importSet(ctx, name, o)
	}
	m, err := e.importAdapter(ctx, name, f, o)
	if err != nil {
		return nil, fmt.Errorf("peft: import %s: %w", o.From, err)
	}
	return m, nil
}

// pulled returns where an adapter of that name was pulled to, and the name itself where it is a file's or nobody's.
func (e *Engine) pulled(name string) string {
	if _, err := os.Stat(name); err == nil {
		return name
	}
	if path, _, err := openCache(e.opt.Cache).Locate(name); err == nil {
		return path
	}
	return name
}

// importAdapter adds another program's adapter.
func (e *Engine) importAdapter(ctx context.Context, name string, f Format, o AddOptions) (*registry.Manifest, error) {
	b, err := e.Base()
	if err != nil {
		return nil, err
	}
	a, err := readAdapter(o.From, f, &b.Model.Config)
	if err != nil {
		return nil, err
	}
	if a.Modules[0].LoRA == nil && o.Routed { // before a router is made for nothing
		return nil, fmt.Errorf("an IA³ has no ranks that could be experts in cells; import it without routing: %w", ErrAdapter)
	}
	var d *tune.Data
	if len(o.Data) > 0 {
		if d, err = tune.ReadFiles(b.Tokenizer, o.Data, true); err != nil {
			return nil, err
		}
		e.leftOut(d)
	}
	r, err := e.router(ctx)
	if err != nil {
		return nil, err
	}
	var text *newText
	if d != nil {
		if text, err = e.newText(ctx, b, r.Router, d); err != nil {
			return nil, err
		}
	}
	var set *peer.Set
	if o.Routed {
		set, err = e.routed(ctx, b, r, name, a, text, o.Cover)
	} else {
		set, err = transfer.ToSet(name, a, b.Model, r.Router)
	}
	if err != nil {
		return nil, err
	}
	own := &ownership{}
	if text == nil {
		e.warnf("%s gets no gate, and --auto will not know it: an adapter brings no text of its own; give some with --data", name)
	} else if own, err = e.ownOf(ctx, b, r, set, text); err != nil {
		return nil, err
	}
	if n := reportLength(o.ReportTokens); n > 0 {
		if own.lost, err = e.forgetting(ctx, b, r, set, own, nil, n); err != nil {
			return nil, err
		}
	}
	return e.storeSet(ctx, set, b.Name, append([]string{o.From}, o.Data...), nil, own)
}

// routed takes a LoRA apart and places its singular directions in cells: by a sample of its text, or without one by the
// background; see transfer.Probe.
func (e *Engine) routed(ctx context.Context, b *base.Base, r *storedRouter, name string, a *exchange.Adapter, text *newText, cover float64) (*peer.Set, error) {
	p, err := transfer.NewProbe(a, b.Model, r.Router, e.pool)
	if err != nil {
		return nil, err
	}
	o := transfer.Routing{Cover: cmp.Or(cover, defaultCover)}
	seqs := tune.Cut(r.seen, backgroundSeq)
	if text != nil {
		seqs, o.Counts = text.made, text.counts
		others, err := e.others(r.Router, name)
		if err != nil {
			return nil, err
		}
		for _, l := range r.Layers {
			against := [][]uint32{}
			if l.Background != nil {
				against = append(against, l.Background)
			}
			for _, s := range others {
				if c := s.Selections(r.Router, l); c != nil {
					against = append(against, c)
				}
			}
			o.Against = append(o.Against, against)
		}
	}
	if err := e.readPart(ctx, b.Model, "measure responses", seqs, placementTokens, p, p.Blocks()); err != nil {
		return nil, err
	}
	set, err := p.Set(name, o)
	if err != nil {
		return nil, err
	}
	set.Convert(e.pool, set.Keeps()) // to be measured as it is stored
	stay := 0
	for _, t := range set.Tables {
		stay += index(t.AlwaysOn())
	}
	if stay > 0 {
		e.warnf("%s stays always on at %d of its %d layers, for which the router, with layers beside blocks %v, selects no cells", name, stay, len(set.Tables), r.Blocks())
	}
	return set, nil
}

// defaultCover is the share of its response that an imported expert's cells have, by measurement: docs/learning.md.
const defaultCover = 0.9
