package peft

import (
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// Base returns the base, loading it at the first call. Its products are with the weights as they are stored, where the
// machine multiplies those, and in f32 otherwise; see Options.Activations.
func (e *Engine) Base() (*base.Base, error) { return e.loadBase(false) }

// loadBase is Base; with print, its fingerprint is computed beside the loading.
func (e *Engine) loadBase(print bool) (*base.Base, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.base != nil {
		return e.base, nil
	}
	path, name, err := LocateBase(e.opt.Cache, e.opt.Base)
	if err != nil {
		return nil, err
	}
	prec := kernels.Stored
	if e.opt.Activations == 8 {
		prec = kernels.Int8
	}
	b, err := base.Open(path, base.Options{Precision: prec, Pool: e.pool, Fingerprint: print})
	if err != nil {
		return nil, err
	}
	if name != "" {
		b.Name = name // the directory's is a commit
	}
	e.base = b
	return b, nil
}

// inF32 returns the base's model with products in f32, packing it at the first call.
func (e *Engine) inF32(b *base.Base) (*llama.Model, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var err error
	if e.f32 == nil {
		e.f32, err = b.Model.WithPrecision(kernels.F32)
	}
	return e.f32, err
}
