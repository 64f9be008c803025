package peft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/registry"
	"github.com/gopeft/peft/retrieval"
)

// AddOptions of AddExperts.
type AddOptions struct {
	Data []string // files of the set's domain: new experts are placed in the cells that are most its own
	// From is a file that Export wrote, or another program's adapter: a Hugging Face PEFT directory, a GGUF file or the name of
	// a pulled one. An adapter gets its gate from Data, and none without; with Routed its ranks become experts in cells.
	From string
	// Cover is the share of its response that the cells are to have in which an expert of an imported adapter stands, with
	// Routed; default 0.9. See transfer.Probe.
	Cover float64
	Adapter
	Experts int // in cells, over all layers; default: one for every cell; see Placing
	Seed    uint64
	// ReportTokens is how much of each other text is read to see what an imported set does to it, default 2048; below 0: none.
	ReportTokens int
	Placing
}

// AddResult is what AddExperts did.
type AddResult struct {
	Name         string  `json:"name"`
	Revision     int     `json:"revision"`
	Experts      int     `json:"experts"`
	Bytes        int64   `json:"bytes"`
	Seconds      float64 `json:"seconds"`
	RouterSHA256 string  `json:"router_sha256"`
}

// ErrSetExists reports a name that is taken.
var ErrSetExists = errors.New("the registry already has this set")

// placementTokens is how much of the data is read to place experts.
const placementTokens = 8192

// reserved are names that mean something else where sets are named.
var reserved = []string{"base", "auto", base.Builtin, "none", "self"}

// AddExperts adds a set of untrained experts, whose output is zero until they are trained, or imports one. Base, router
// and every other set stay as they are.
func (e *Engine) AddExperts(ctx context.Context, name string, o AddOptions) (*AddResult, error) {
	start := time.Now()
	release, err := e.claims.take(name, "add")
	if err != nil {
		return nil, err
	}
	defer release()
	s := e.reg.Snapshot()
	err = freeName(s, name)
	s.Close()
	if err != nil {
		return nil, err
	}
	if len(o.Data) == 0 && o.From == "" {
		return nil, errors.New("peft: add experts: give data to place them by, or a file to import")
	}
	var m *registry.Manifest
	if o.From != "" {
		m, err = e.importFrom(ctx, name, o)
	} else {
		m, err = e.addNew(ctx, name, o)
	}
	if err != nil {
		return nil, err
	}
	info, err := infoOf(m)
	if err != nil {
		return nil, err
	}
	return &AddResult{Name: name, Revision: m.Revision, Experts: info.Experts, Bytes: info.Bytes, Seconds: time.Since(start).Seconds(), RouterSHA256: info.RouterSHA256}, nil
}

// freeName reports a name that a new set cannot take.
func freeName(s *registry.Snapshot, name string) error {
	if err := registry.CheckName(name); err != nil {
		return err
	}
	if slices.Contains(reserved, name) {
		return fmt.Errorf("name %q means something else; choose another: %w", name, registry.ErrName)
	}
	_, err := s.Manifest(nsSets, name, 0)
	if err == nil {
		return fmt.Errorf("expert set %s: %w; remove it first, or train it with finetune", name, ErrSetExists)
	}
	if errors.Is(err, registry.ErrNotFound) {
		return nil
	}
	return err
}

func (e *Engine) addNew(ctx context.Context, name string, o AddOptions) (*registry.Manifest, error) {
	set, text, err := e.newSet(ctx, name, o)
	if err != nil {
		return nil, err
	}
	b, err := e.Base()
	if err != nil {
		return nil, err
	}
	r, err := e.router(ctx)
	if err != nil {
		return nil, err
	}
	own, err := e.ownOf(ctx, b, r, set, text)
	if err != nil {
		return nil, err
	}
	return e.storeSet(ctx, set, b.Name, o.Data, nil, own)
}

// newText is the data of a new set: what of it its cells and its gate are chosen by, its selections, and what is held out.
type newText struct {
	made   []tune.Sequence
	counts [][]uint32
	held   []tune.Sequence
}

// newText reads a new set's data.
func (e *Engine) newText(ctx context.Context, b *base.Base, r *retrieval.Router, d *tune.Data) (*newText, error) {
	t := new(newText)
	t.made, t.held = ownText(d, min(256, b.Model.Config.MaxSeq))
	var err error
	t.counts, err = e.count(ctx, b, r, t.made)
	return t, err
}

// newSet makes a set of untrained experts, placed by the data; the registry does not have it yet.
func (e *Engine) newSet(ctx context.Context, name string, o AddOptions) (set *peer.Set, text *newText, err error) {
	err = o.Adapter.check()
	if err == nil {
		err = o.Placing.check()
	}
	if err == nil && o.alwaysOn() && (o.Experts != 0 || o.Placing != Placing{}) {
		err = fmt.Errorf("peft: experts of kind %s are always on, and have no number or place in cells unless they are routed: %w", o.Kind, ErrAdapter)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, f := range o.Data {
		if err := exists("data", f); err != nil {
			return nil, nil, err
		}
	}
	b, err := e.Base()
	if err != nil {
		return nil, nil, err
	}
	d, err := tune.ReadFiles(b.Tokenizer, o.Data, true)
	if err != nil {
		return nil, nil, err
	}
	e.leftOut(d)
	r, err := e.router(ctx)
	if err != nil {
		return nil, nil, err
	}
	text, err = e.newText(ctx, b, r.Router, d)
	if err != nil {
		return nil, nil, err
	}
	others, err := e.others(r.Router, name)
	if err != nil {
		return nil, nil, err
	}
	spots, err := o.spots(&b.Model.Config, r.Router, func(tables int) ([]peer.Placement, error) {
		return o.place(r.Router, text.counts, others, o.Experts, tables)
	})
	if err != nil {
		return nil, nil, err
	}
	f := peer.BF16
	if o.alwaysOn() {
		f = peer.F32
	}
	if set, err = peer.NewSetAt(e.pool, name, r.Router, spots, o.Seed, f); err == nil {
		err = set.Fit(peer.NewWeights(b.Model), true)
	}
	return set, text, err
}

// count runs data through the base and counts the cells that it selects.
func (e *Engine) count(ctx context.Context, b *base.Base, r *retrieval.Router, seqs []tune.Sequence) ([][]uint32, error) {
	c := peer.NewCounter(r, e.pool)
	err := e.readPart(ctx, b.Model, "count cells", seqs, placementTokens, c, r.Layers[len(r.Layers)-1].Block+1)
	return c.Counts(), err
}

// readPart runs sequences of at most so many tokens in all, evenly from all over the data, through the model's first blocks
// with seam in them.
func (e *Engine) readPart(ctx context.Context, m *llama.Model, task string, seqs []tune.Sequence, tokens int, seam llama.Seam, blocks int) error {
	picked := tune.Spread(seqs, tokens)
	done, total := 0, 0
	for _, s := range picked {
		total += len(s.Tokens)
	}
	for _, s := range picked {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := m.ForwardTo(llama.One(s.Tokens, nil), seam, blocks); err != nil {
			return err
		}
		done += len(s.Tokens)
		e.progress(Progress{Task: task, Done: done, Total: total, Unit: "tokens"})
	}
	return nil
}

// others returns the sets of the same router but name, for placement.
func (e *Engine) others(r *retrieval.Router, name string) ([]*peer.Set, error) {
	s := e.reg.Snapshot()
	defer s.Close()
	var sets []*peer.Set
	for _, n := range s.Names(nsSets) {
		if n == name {
			continue
		}
		set, err := e.loadSet(s, r, n)
		if errors.Is(err, ErrOtherBase) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// storeSet commits a set as a new revision with what else belongs to it; own may be nil.
func (e *Engine) storeSet(ctx context.Context, set *peer.Set, baseName string, source []string, tr *Training, own *ownership) (*registry.Manifest, error) {
	r, err := e.router(ctx)
	if err != nil {
		return nil, err
	}
	sum, err := r.SHA256()
	if err != nil {
		return nil, err
	}
	rec := setRecord{Kind: set.Kind(), Experts: set.Experts(), AlwaysOn: set.AlwaysOn(), Base: baseName, Fingerprint: r.Base, RouterSHA256: sum, Source: source, Training: tr}
	for _, t := range set.Tables {
		if !slices.Contains(rec.Layers, t.Block) {
			rec.Layers = append(rec.Layers, t.Block)
		}
		if s := t.Site.String(); !slices.Contains(rec.Sites, s) && t.Site != llama.Beside {
			rec.Sites = append(rec.Sites, s)
		}
	}
	if len(rec.Sites) > 0 && slices.ContainsFunc(set.Tables, func(t *peer.Table) bool { return t.Site == llama.Beside }) {
		rec.Sites = slices.Insert(rec.Sites, 0, llama.Beside.String())
	}
	own.record(&rec)
	t, err := e.reg.Begin(ctx, nsSets, set.Name)
	if err != nil {
		return nil, err
	}
	part := func(name string) (io.Writer, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return t.Part(name)
	}
	if err = set.Encode(part, set.Keeps()); err == nil {
		err = own.encode(part)
	}
	if err != nil {
		return nil, errors.Join(err, t.Abort())
	}
	return t.Commit(rec)
}
