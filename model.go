package peft

import (
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/kernels"
)

// Base returns the base, loading it at the first call. Its products are in f32.
func (e *Engine) Base() (*base.Base, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.base != nil {
		return e.base, nil
	}
	b, err := base.Open(e.opt.Base, base.Options{Precision: kernels.F32, Pool: e.pool})
	if err != nil {
		return nil, err
	}
	e.base = b
	return b, nil
}
