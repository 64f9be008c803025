package retrieval

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/gopeft/peft/kernels"
)

// Limits of a Config. MaxSubKeys gives 16,777,216 cells.
const (
	MaxHeads   = 64
	MaxTopK    = 256
	MaxSubKeys = 4096
	MaxHalfDim = 512
)

// Config is the shape of a layer's router.
type Config struct {
	Heads   int `json:"heads"`    // query networks, each with its own grid of sub-keys over the same cells
	TopK    int `json:"top_k"`    // k, the cells a head selects
	SubKeys int `json:"sub_keys"` // n, the sub-keys of each half; the grid has n·n cells
	HalfDim int `json:"half_dim"` // dimensions of half a query
}

// DefaultConfig returns the configuration to start from for inputs of that width: 4 heads, k = 16, 16 × 16 cells, and
// half queries of 32 dimensions or as many as half the width has.
func DefaultConfig(hidden int) Config {
	return Config{Heads: 4, TopK: 16, SubKeys: 16, HalfDim: max(1, min(32, hidden/2))}
}

// DefaultBlocks returns every second block of a base with that many, from the second on; a base of one block gets 0.
func DefaultBlocks(layers int) []int {
	if layers == 1 {
		return []int{0}
	}
	blocks := make([]int, 0, layers/2)
	for b := 1; b < layers; b += 2 {
		blocks = append(blocks, b)
	}
	return blocks
}

// folds reports whether multiplying sub-keys and query networks beforehand makes routing cheaper. The products need f32,
// the factors only bf16.
func (c Config) folds() bool { return 2*c.SubKeys <= c.HalfDim }

// Cells returns n².
func (c Config) Cells() int { return c.SubKeys * c.SubKeys }

// Check reports the first thing about c that cannot be.
func (c Config) Check() error {
	for _, f := range []struct {
		name     string
		got, max int
	}{{"heads", c.Heads, MaxHeads}, {"top-k", c.TopK, MaxTopK}, {"sub-keys", c.SubKeys, MaxSubKeys}, {"half query dimensions", c.HalfDim, MaxHalfDim}} {
		if f.got < 1 || f.got > f.max {
			return fmt.Errorf("retrieval: %s %d, want 1 to %d", f.name, f.got, f.max)
		}
	}
	if c.TopK > c.Cells() {
		return fmt.Errorf("retrieval: top-k %d of %d × %d = %d cells; more sub-keys are needed", c.TopK, c.SubKeys, c.SubKeys, c.Cells())
	}
	return nil
}

// Layer routes the inputs of one block. The exported fields are the whole of it; [Layer.Changed] must be called after
// they were changed.
type Layer struct {
	Config
	Block  int // of the base
	Hidden int // width of the input

	Mean, InvStd []float32 // [hidden] of the standardisation x̂ = (x - Mean)·InvStd; both nil for x̂ = x

	W []float32 // [heads, 2, half, hidden] query networks
	B []float32 // [heads, 2, half]

	Keys [2][]float32 // of each half, [heads, n, half]
	Bias [2][]float32 // of each half, [heads, n]: -½‖key‖² makes the score a nearest-key search
	Temp []float32    // [heads] temperature of the softmax over the selected scores

	OutScale   float32  // the layer's output is multiplied by it: the median RMS of the block's feed-forward output
	Background []uint32 // [cells] how often each cell was selected on background text; nil when not known

	ready atomic.Pointer[packed]
}

// packed is what Route computes with.
type packed struct {
	fold    *kernels.Packed // [heads·2·n, hidden] sub-keys times query networks; nil when that is no saving
	foldB   []float32       // [heads·2·n]
	queries *kernels.Packed // [heads·2·half, hidden]
	keys    []*kernels.Packed
	order   []pair // candidates of the product
	blocks  []pair // bounds on the k-th best of them
	invTemp []float32
}

// Changed makes Route see changed fields.
func (l *Layer) Changed() { l.ready.Store(nil) }

// pack returns the packed weights, made at the first call after a change.
func (l *Layer) pack(p *kernels.Pool) *packed {
	if k := l.ready.Load(); k != nil {
		return k
	}
	c := l.Config
	k := &packed{order: candidates(c), blocks: blocks(c), invTemp: make([]float32, c.Heads)}
	for h, t := range l.Temp {
		k.invTemp[h] = 1 / t
	}
	if c.folds() {
		f, b := l.folded()
		k.fold, k.foldB = kernels.PackNT(p, f, c.Heads*2*c.SubKeys, l.Hidden, kernels.F32), b
	}
	k.queries = kernels.PackNT(p, l.W, c.Heads*2*c.HalfDim, l.Hidden, kernels.F32)
	for h := range c.Heads {
		for half := range 2 {
			k.keys = append(k.keys, kernels.PackNT(p, l.keys(h, half), c.SubKeys, c.HalfDim, kernels.F32))
		}
	}
	l.ready.Store(k)
	return k
}

// folded multiplies sub-keys and query networks: score = (K·W)·x̂ + (K·B + bias), [heads, 2, n, hidden] and [heads, 2, n].
func (l *Layer) folded() (f, b []float32) {
	n, d, hid := l.SubKeys, l.HalfDim, l.Hidden
	f, b = make([]float32, l.Heads*2*n*hid), make([]float32, l.Heads*2*n)
	for h := range l.Heads {
		for half := range 2 {
			keys, bias, at := l.keys(h, half), l.bias(h, half), (h*2+half)*d
			for i := range n {
				to := (h*2+half)*n + i
				b[to] = bias[i]
				for j, key := range keys[i*d : (i+1)*d] {
					kernels.Axpy(key, l.W[(at+j)*hid:(at+j+1)*hid], f[to*hid:(to+1)*hid])
					b[to] += key * l.B[at+j]
				}
			}
		}
	}
	return f, b
}

// keys returns one head's sub-keys of one half, [n, half].
func (l *Layer) keys(head, half int) []float32 {
	w := l.SubKeys * l.HalfDim
	return l.Keys[half][head*w : (head+1)*w]
}

func (l *Layer) bias(head, half int) []float32 {
	return l.Bias[half][head*l.SubKeys : (head+1)*l.SubKeys]
}

// Check reports the first field whose size or value does not fit the configuration.
func (l *Layer) Check() error {
	if err := l.Config.Check(); err != nil {
		return err
	}
	if l.Block < 0 || l.Hidden < 1 {
		return fmt.Errorf("retrieval: block %d with inputs of width %d", l.Block, l.Hidden)
	}
	c, q := l.Config, l.Heads*2*l.HalfDim
	type field struct {
		name string
		v    []float32
		n    int
	}
	fields := []field{
		{"W", l.W, q * l.Hidden}, {"B", l.B, q}, {"Temp", l.Temp, c.Heads},
		{"Keys[0]", l.Keys[0], c.Heads * c.SubKeys * c.HalfDim}, {"Keys[1]", l.Keys[1], c.Heads * c.SubKeys * c.HalfDim},
		{"Bias[0]", l.Bias[0], c.Heads * c.SubKeys}, {"Bias[1]", l.Bias[1], c.Heads * c.SubKeys},
	}
	if l.Mean != nil || l.InvStd != nil {
		fields = append(fields, field{"Mean", l.Mean, l.Hidden}, field{"InvStd", l.InvStd, l.Hidden})
	}
	for _, f := range fields {
		if len(f.v) != f.n {
			return fmt.Errorf("retrieval: layer of block %d: %s has %d values, want %d", l.Block, f.name, len(f.v), f.n)
		}
		if i := notFinite(f.v); i >= 0 {
			return fmt.Errorf("retrieval: layer of block %d: %s[%d] is %g", l.Block, f.name, i, f.v[i])
		}
	}
	for h, t := range l.Temp {
		if t <= 0 {
			return fmt.Errorf("retrieval: layer of block %d: temperature %g of head %d, want > 0", l.Block, t, h)
		}
	}
	if notFinite([]float32{l.OutScale}) >= 0 {
		return fmt.Errorf("retrieval: layer of block %d: output scale %g", l.Block, l.OutScale)
	}
	if l.Background != nil && len(l.Background) != c.Cells() {
		return fmt.Errorf("retrieval: layer of block %d: background counts of %d cells, want %d", l.Block, len(l.Background), c.Cells())
	}
	return nil
}

// notFinite returns the position of the first NaN or infinity, -1 when there is none.
func notFinite(v []float32) int {
	for i, x := range v {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return i
		}
	}
	return -1
}
