package retrieval

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
)

// ErrCorrupt is wrapped by errors about stored bytes that do not make sense.
var ErrCorrupt = errors.New("corrupt data")

// Router holds the layers of one base. It is made once and then never changes.
type Router struct {
	Base   string // fingerprint of the base it was made for
	Seed   uint64 // of Calibrate
	Hidden int    // width of the base
	Layers []*Layer

	sum struct {
		once sync.Once
		hex  string
		err  error
	}
}

// Layer returns the layer beside that block of the base, or nil.
func (r *Router) Layer(block int) *Layer {
	for _, l := range r.Layers {
		if l.Block == block {
			return l
		}
	}
	return nil
}

// Blocks returns the blocks that have a layer, ascending.
func (r *Router) Blocks() []int {
	b := make([]int, len(r.Layers))
	for i, l := range r.Layers {
		b[i] = l.Block
	}
	return b
}

// Check reports the first thing that makes r unusable.
func (r *Router) Check() error {
	if len(r.Layers) == 0 {
		return errors.New("retrieval: router without layers")
	}
	for i, l := range r.Layers {
		if err := l.Check(); err != nil {
			return err
		}
		if l.Hidden != r.Hidden {
			return fmt.Errorf("retrieval: layer of block %d has width %d, its router %d", l.Block, l.Hidden, r.Hidden)
		}
		if i > 0 && l.Block <= r.Layers[i-1].Block {
			return fmt.Errorf("retrieval: layer of block %d after that of block %d", l.Block, r.Layers[i-1].Block)
		}
	}
	return nil
}

// SHA256 returns the hash of Marshal's bytes in hexadecimal. It is computed at the first call; r must not change after.
func (r *Router) SHA256() (string, error) {
	r.sum.once.Do(func() {
		b, err := r.Marshal()
		r.sum.hex, r.sum.err = hashOf(b), err
	})
	return r.sum.hex, r.sum.err
}

func hashOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

const routerMagic = "peft-router-1\n"

// Marshal returns r's stored form: the same router gives the same bytes on every machine.
func (r *Router) Marshal() ([]byte, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	e := encoder{b: []byte(routerMagic)}
	e.bytes([]byte(r.Base))
	e.uint(r.Seed)
	e.uint(uint64(r.Hidden))
	e.uint(uint64(len(r.Layers)))
	for _, l := range r.Layers {
		for _, v := range []int{l.Block, l.Heads, l.TopK, l.SubKeys, l.HalfDim, len(l.Mean), len(l.Background)} {
			e.uint(uint64(v))
		}
		for _, v := range [][]float32{l.Mean, l.InvStd, l.W, l.B, l.Keys[0], l.Keys[1], l.Bias[0], l.Bias[1], l.Temp, {l.OutScale}} {
			e.floats(v)
		}
		for _, c := range l.Background {
			e.uint(uint64(c))
		}
	}
	return e.b, nil
}

// UnmarshalRouter reads what Marshal wrote. Errors wrap ErrCorrupt.
func UnmarshalRouter(data []byte) (*Router, error) {
	if len(data) < len(routerMagic) || string(data[:len(routerMagic)]) != routerMagic {
		return nil, fmt.Errorf("retrieval: %d bytes are no router: %w", len(data), ErrCorrupt)
	}
	d := decoder{b: data[len(routerMagic):]}
	r := &Router{Base: string(d.bytes()), Seed: d.uint(), Hidden: d.int(1 << 20)}
	for range d.int(1 << 16) {
		l := d.layer(r.Hidden)
		if d.err != nil {
			break
		}
		r.Layers = append(r.Layers, l)
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("retrieval: router: %w", err)
	}
	if err := r.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrCorrupt)
	}
	r.sum.once.Do(func() { r.sum.hex = hashOf(data) }) // there is one form of a router: these are Marshal's bytes
	return r, nil
}

func (d *decoder) layer(hidden int) *Layer {
	l := &Layer{Block: d.int(1 << 20), Hidden: hidden}
	l.Config = Config{Heads: d.int(MaxHeads), TopK: d.int(MaxTopK), SubKeys: d.int(MaxSubKeys), HalfDim: d.int(MaxHalfDim)}
	mean, counts := d.int(hidden), d.int(l.Cells())
	q, keys := l.Heads*2*l.HalfDim, l.Heads*l.SubKeys
	if mean > 0 {
		l.Mean, l.InvStd = d.floats(mean), d.floats(mean)
	}
	l.W, l.B = d.floats(q*hidden), d.floats(q)
	l.Keys = [2][]float32{d.floats(keys * l.HalfDim), d.floats(keys * l.HalfDim)}
	l.Bias = [2][]float32{d.floats(keys), d.floats(keys)}
	l.Temp = d.floats(l.Heads)
	if s := d.floats(1); len(s) == 1 {
		l.OutScale = s[0]
	}
	if counts > 0 {
		l.Background = d.counts(counts)
	}
	return l
}
