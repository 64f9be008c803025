package peft

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/adrg/xdg"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/registry"
)

// Options of Open.
type Options struct {
	// Registry is the directory of the registry; empty for DefaultRegistry.
	Registry string
	// Base names the frozen model: "builtin", a .gguf file, a Hugging Face directory, or a pulled model as "owner/name", as
	// "name" where no other owner has one of that name, and of several GGUF files as "owner/name/FILE". It is loaded when it
	// is first needed, so that work on the registry alone does not wait for it.
	Base string
	// Cache is the directory of pulled models; empty for DefaultCache.
	Cache string
	// Threads is how many worker threads compute; 0 means one a processor.
	Threads int
	// Activations is to how many bits what is multiplied with quantised weights is rounded: 16, nearly f32, which 0 means
	// too, or 8, which is faster. Weights that are not quantised are then multiplied in bf16.
	Activations int
	// Progress, when not nil, is told how long work goes on. It is called from one goroutine at a time.
	Progress func(Progress)
	// Warn, when not nil, receives what a user should know although nothing failed.
	Warn func(msg string)
}

// Progress is one report on long work.
type Progress struct {
	Task  string `json:"task"`           // what is being done, such as "train manual"
	Done  int    `json:"done"`           // units done
	Total int    `json:"total"`          // units in all; 0 when not known
	Unit  string `json:"unit"`           // such as "steps" or "tokens"
	Note  string `json:"note,omitempty"` // more about the moment, such as the loss
	Step  *Step  `json:"step,omitempty"` // of a training, where the units are its steps
}

// Step is a step of a training.
type Step struct {
	Loss            float64 `json:"loss"`               // of its batch, nats a trained token
	HeldOut         float64 `json:"held_out,omitempty"` // perplexity of the held-out text; 0 where it was not measured
	TokensPerSecond float64 `json:"tokens_per_second"`  // of this step
	SecondsLeft     float64 `json:"seconds_left"`       // of the training, expected
}

// Engine is a base with a registry of routers and expert sets. Its methods may be called from several goroutines.
type Engine struct {
	opt Options
	*state
}

// state is what an engine has in common with those that Reporting makes of it.
type state struct {
	reg    *registry.DB
	pool   *kernels.Pool
	claims claims
	making chan struct{} // holds a token while a router is made

	mu   sync.Mutex // guards what is loaded lazily
	base *base.Base
	f32  *llama.Model // the base with products in f32, where Base has others
	sets setCache
}

// DefaultRegistry is the registry's directory when none is named: peft in the user's data directory.
func DefaultRegistry() string { return filepath.Join(xdg.DataHome, "peft") }

// Open opens the registry and remembers the base. Errors wrap registry.ErrLocked, registry.ErrCorrupt or
// registry.ErrNoSpace where they apply.
func Open(o Options) (*Engine, error) {
	if o.Registry == "" {
		o.Registry = DefaultRegistry()
	}
	if o.Base == "" {
		o.Base = "builtin"
	}
	if o.Threads == 0 {
		o.Threads = runtime.NumCPU()
	}
	if o.Threads < 1 {
		return nil, fmt.Errorf("peft: %d threads, want at least 1", o.Threads)
	}
	if o.Activations == 0 {
		o.Activations = 16
	}
	if o.Activations != 8 && o.Activations != 16 {
		return nil, fmt.Errorf("peft: activations of %d bits, want 8 or 16", o.Activations)
	}
	reg, err := registry.Open(o.Registry, registry.Options{Warn: o.Warn})
	if err != nil {
		return nil, err
	}
	if n := reg.Swept(); n > 0 && o.Warn != nil {
		o.Warn(fmt.Sprintf("removed %d chunks that an interrupted write had left", n))
	}
	return &Engine{opt: o, state: &state{reg: reg, pool: kernels.NewPool(o.Threads), making: make(chan struct{}, 1), sets: newSetCache()}}, nil
}

// Reporting returns the same engine with other callbacks, so that what runs side by side reports apart. Work waits for
// progress to return. Only the engine that Open returned is closed.
func (e *Engine) Reporting(progress func(Progress), warn func(msg string)) *Engine {
	o := e.opt
	o.Progress, o.Warn = progress, warn
	return &Engine{opt: o, state: e.state}
}

// Options returns what the engine was opened with, its defaults filled in.
func (e *Engine) Options() Options { return e.opt }

// Close ends the engine. Nothing else may be running.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var err error
	if e.base != nil {
		err = e.base.Close()
		e.base = nil
	}
	e.pool.Close()
	return errors.Join(err, e.reg.Close())
}

// Registry returns the engine's registry.
func (e *Engine) Registry() *registry.DB { return e.reg }

func (e *Engine) progress(p Progress) {
	if e.opt.Progress != nil {
		e.opt.Progress(p)
	}
}

func (e *Engine) warnf(format string, a ...any) {
	if e.opt.Warn != nil {
		e.opt.Warn(fmt.Sprintf(format, a...))
	}
}
