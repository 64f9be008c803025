package peft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/registry"
	"github.com/gopeft/peft/retrieval"
)

// InitOptions of Init. Zero values mean the defaults.
type InitOptions struct {
	Background string // a text file; empty or "self": text sampled from the base
	Layers     []int  // blocks that get a PEER layer; default: every second one
	Heads      int    // default 4
	TopK       int    // cells a head selects, default 16
	SubKeys    int    // n of the n × n cells of a layer, default 16
	Seed       uint64
	Train      bool // query networks and sub-keys on background text, from what calibration gives
	Steps      int  // of that, default 200
}

// InitResult is what Init made.
type InitResult struct {
	RouterSHA256    string            `json:"router_sha256"`
	BaseFingerprint string            `json:"base_fingerprint"`
	Blocks          []int             `json:"blocks"`
	Cells           int               `json:"cells"` // of each layer
	Background      string            `json:"background"`
	Seconds         float64           `json:"seconds"`
	Report          *retrieval.Report `json:"report"`
	Training        *RouterTraining   `json:"training,omitempty"` // where it was trained
}

// ErrRouterExists reports that the base has a router already. Sets belong to it, so it never changes.
var ErrRouterExists = errors.New("the base already has a router")

// Parts of a stored router.
const (
	partRouter     = "router"
	partSeen       = "seen"       // background tokens it was made from
	partBackground = "background" // others, for measuring
)

type routerRecord struct {
	InitResult
	Base string `json:"base"`
}

// Init makes the base's router from background text: see retrieval.Calibrate. It trains it only if asked to. The other
// commands call it with defaults when it is needed.
func (e *Engine) Init(ctx context.Context, o InitOptions) (*InitResult, error) {
	b, err := e.Base()
	if err != nil {
		return nil, err
	}
	print, err := b.Fingerprint()
	if err != nil {
		return nil, err
	}
	select {
	case e.making <- struct{}{}:
		defer func() { <-e.making }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s := e.reg.Snapshot()
	m, err := s.Manifest(nsRouters, print, 0)
	s.Close()
	if err == nil {
		return nil, fmt.Errorf("%w (made %s); use another --registry to try other shapes", ErrRouterExists, m.Created.Local().Format(time.DateTime))
	}
	if !errors.Is(err, registry.ErrNotFound) {
		return nil, err
	}
	start := time.Now()
	layers := b.Model.Config.Layers
	blocks := o.Layers
	if len(blocks) == 0 {
		blocks = retrieval.DefaultBlocks(layers)
	}
	for _, blk := range blocks {
		if blk < 0 || blk >= layers {
			return nil, fmt.Errorf("peft: init: block %d, the base has 0 to %d", blk, layers-1)
		}
	}
	cfg := retrieval.DefaultConfig(b.Model.Config.Hidden)
	for v, to := range map[*int]*int{&o.Heads: &cfg.Heads, &o.TopK: &cfg.TopK, &o.SubKeys: &cfg.SubKeys} {
		if *v != 0 {
			*to = *v
		}
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	rec := peer.NewRecorder(blocks, b.Model.Config.Hidden, backgroundTokens)
	seen, held, err := e.background(ctx, b, o, rec)
	if err != nil {
		return nil, err
	}
	router, report, err := retrieval.Calibrate(ctx, e.pool, retrieval.Options{
		Config: cfg, Base: print, Blocks: blocks, Hidden: b.Model.Config.Hidden, Seed: o.Seed,
		Done: func(n int) {
			e.progress(Progress{Task: "make the router", Done: n, Total: len(blocks), Unit: "layers"})
		},
	}, rec)
	if err != nil {
		return nil, err
	}
	var training *RouterTraining
	if o.Train {
		if router, report, training, err = e.trainRouter(ctx, b, o, router, report, rec, seen); err != nil {
			return nil, err
		}
	}
	sum, err := router.SHA256()
	if err != nil {
		return nil, err
	}
	res := InitResult{Training: training, RouterSHA256: sum, BaseFingerprint: print, Blocks: blocks, Cells: cfg.Cells(), Background: o.Background, Report: report}
	if res.Background == "" {
		res.Background = selfBackground
	}
	res.Seconds = time.Since(start).Seconds()
	return &res, e.storeRouter(ctx, b.Name, router, seen, held, &res)
}

func (e *Engine) storeRouter(ctx context.Context, name string, router *retrieval.Router, seen, held []int32, res *InitResult) error {
	data, err := router.Marshal()
	if err != nil {
		return err
	}
	t, err := e.reg.Begin(ctx, nsRouters, router.Base)
	if err != nil {
		return err
	}
	put := func(part string, b []byte) error {
		w, err := t.Part(part)
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	}
	if err := errors.Join(put(partRouter, data), put(partSeen, encodeTokens(seen)), put(partBackground, encodeTokens(held))); err != nil {
		return errors.Join(err, t.Abort())
	}
	_, err = t.Commit(routerRecord{*res, name})
	return err
}

const (
	selfBackground   = "self"
	backgroundTokens = 8192 // that the router is made from
	backgroundSeq    = 128  // tokens of a sampled text
	backgroundBatch  = 64   // texts sampled at a time
	heldBackground   = 2048 // tokens kept for measuring
)

// background runs background text through the base with rec in its seam, and returns the tokens that rec saw and others.
func (e *Engine) background(ctx context.Context, b *base.Base, o InitOptions, rec *peer.Recorder) (seen, held []int32, err error) {
	if o.Background == "" || o.Background == selfBackground {
		return e.sampleBackground(ctx, b, o.Seed, rec)
	}
	d, err := tune.ReadFiles(b.Tokenizer, []string{o.Background}, true)
	if err != nil {
		return nil, nil, err
	}
	seqs := d.Sequences(min(256, b.Model.Config.MaxSeq))
	for i := len(seqs) - 1; i > 0 && len(held) < heldBackground; i-- {
		held = append(held, seqs[i].Tokens...)
		seqs = seqs[:i]
	}
	for i, s := range seqs {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if _, err := b.Model.Forward(llama.One(s.Tokens, nil), rec); err != nil {
			return nil, nil, err
		}
		seen = append(seen, s.Tokens...)
		e.progress(Progress{Task: "read background", Done: min(len(seen), backgroundTokens), Total: backgroundTokens, Unit: "tokens"})
		if rec.Full() || i == len(seqs)-1 {
			break
		}
	}
	return seen, held, nil
}

// sampleBackground lets the base write texts, several at a time.
func (e *Engine) sampleBackground(ctx context.Context, b *base.Base, seed uint64, rec *peer.Recorder) (seen, held []int32, err error) {
	begin := b.Tokenizer.BOS
	if id, ok := b.Tokenizer.ID("<|endoftext|>"); ok {
		begin = id
	}
	if begin < 0 && len(b.Tokenizer.EOS) > 0 {
		begin = b.Tokenizer.EOS[0]
	}
	if begin < 0 {
		return nil, nil, errors.New("peft: init: the tokenizer has no token to begin a text with; give --background FILE")
	}
	total := backgroundTokens + heldBackground
	steps := min(backgroundSeq, b.Model.Config.MaxSeq)
	for done := 0; done < total; {
		var seam llama.Seam
		if done < backgroundTokens {
			seam = rec
		}
		texts, err := sampleTexts(ctx, b, begin, min(backgroundBatch, (total-done+steps-1)/steps), steps, seed+uint64(done), seam, func(n int) {
			e.progress(Progress{Task: "sample background", Done: min(done+n, total), Total: total, Unit: "tokens"})
		})
		if err != nil {
			return nil, nil, err
		}
		for _, t := range texts {
			done += len(t)
			if seam == nil {
				held = append(held, t...)
			} else {
				seen = append(seen, t...)
			}
		}
	}
	return seen, held, nil
}

// sampleTexts samples n texts of so many tokens from the base at temperature 1.
func sampleTexts(ctx context.Context, b *base.Base, begin int32, n, steps int, seed uint64, seam llama.Seam, done func(tokens int)) ([][]int32, error) {
	texts := make([][]int32, n)
	samplers := make([]*base.Sampler, n)
	batch := llama.Batch{}
	for i := range texts {
		var err error
		if samplers[i], err = base.NewSampler(base.Sampling{Temperature: 1, Seed: seed + uint64(i)}); err != nil {
			return nil, err
		}
		texts[i] = []int32{begin}
		batch.Seqs = append(batch.Seqs, llama.Seq{Len: 1, Cache: b.Model.NewCache()})
	}
	logits := make([]float32, n*b.Model.Config.Vocab)
	for step := 1; step < steps; step++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		batch.Tokens = batch.Tokens[:0]
		for _, t := range texts {
			batch.Tokens = append(batch.Tokens, t[len(t)-1])
		}
		x, err := b.Model.Forward(batch, seam)
		if err != nil {
			return nil, err
		}
		b.Model.Logits(logits, x, n)
		v := b.Model.Config.Vocab
		b.Model.Pool().Run(n, 1, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				texts[i] = append(texts[i], samplers[i].Next(logits[i*v:(i+1)*v]))
			}
		})
		done(step * n)
	}
	return texts, nil
}

// storedRouter is a router with the background tokens that are kept beside it.
type storedRouter struct {
	*retrieval.Router
	seen []int32 // it was made from these, a text of backgroundSeq tokens after the other
	held []int32 // and not from these

	once     sync.Once // for what the base says, which may be loaded later
	prompter *prompter
}

// router returns the base's router, making it with defaults when there is none.
func (e *Engine) router(ctx context.Context) (*storedRouter, error) {
	b, err := e.Base()
	if err != nil {
		return nil, err
	}
	print, err := b.Fingerprint()
	if err != nil {
		return nil, err
	}
	r, err := e.cachedRouter(print)
	if errors.Is(err, registry.ErrNotFound) {
		if _, err = e.Init(ctx, InitOptions{}); err != nil && !errors.Is(err, ErrRouterExists) {
			return nil, err
		}
		r, err = e.cachedRouter(print)
	}
	if err != nil {
		return nil, err
	}
	r.once.Do(func() { r.prompter = newPrompter(b.Tokenizer) })
	return r, nil
}

// cachedRouter returns the router of the base of that fingerprint and keeps it.
func (e *Engine) cachedRouter(print string) (*storedRouter, error) {
	e.mu.Lock()
	r := e.sets.router
	e.mu.Unlock()
	if r != nil && r.Base == print {
		return r, nil
	}
	return once(&e.sets.loading, "router "+print, func() (*storedRouter, error) {
		r, err := e.loadRouter(print)
		if err != nil {
			return nil, err
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.sets.router = r
		return r, nil
	})
}

func (e *Engine) loadRouter(print string) (*storedRouter, error) {
	s := e.reg.Snapshot()
	defer s.Close()
	m, err := s.Manifest(nsRouters, print, 0)
	if err != nil {
		return nil, err
	}
	read := func(name string) ([]byte, error) {
		p, ok := m.Part(name)
		if !ok {
			return nil, fmt.Errorf("peft: router has no part %q: %w", name, registry.ErrCorrupt)
		}
		return s.ReadPart(p)
	}
	data, err := read(partRouter)
	if err != nil {
		return nil, err
	}
	r := &storedRouter{}
	if r.Router, err = retrieval.UnmarshalRouter(data); err != nil {
		return nil, err
	}
	for part, tokens := range map[string]*[]int32{partSeen: &r.seen, partBackground: &r.held} {
		if data, err = read(part); err != nil {
			return nil, err
		}
		*tokens = decodeTokens(data)
	}
	return r, nil
}

func encodeTokens(ids []int32) []byte {
	b := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	return b
}

func decodeTokens(b []byte) []int32 {
	ids := make([]int32, len(b)/4)
	for i := range ids {
		ids[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return ids
}

// leftOut says how many records of the data do not count, and why.
func (e *Engine) leftOut(d *tune.Data) {
	for _, why := range slices.Sorted(maps.Keys(d.Dropped)) {
		e.warnf("left out %d records of the data: %s", d.Dropped[why], why)
	}
}

// exists reports a missing or unreadable file with the name of the option that gave it.
func exists(what, file string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
