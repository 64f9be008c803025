package retrieval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/gopeft/peft/kernels"
)

// Sample is what one block's feed-forward layer saw on background text.
type Sample struct {
	X      []float32 // [tokens, hidden] its input
	Tokens int
	OutRMS []float32 // [hidden] root mean square of its output in each dimension; nil for an output scale of 1
}

// Source gives the samples of a base's blocks.
type Source interface {
	// Sample returns that block's sample, which stays unchanged until Calibrate returns.
	Sample(block int) (Sample, error)
}

// Options of Calibrate. Zero values mean the defaults named.
type Options struct {
	Config     Config  // of every layer; zero: DefaultConfig
	Base       string  // fingerprint of the base
	Blocks     []int   // that get a layer, ascending
	Hidden     int     // width of the base
	Seed       uint64  // of rotations and clusters
	Components int     // principal components that queries see; 0: 128
	Iterations int     // of k-means; 0: 12
	HeldOut    float64 // share of the sample, its end, that the report is measured on; 0: 0.2
	// Done, when not nil, is told each time another layer is ready. Calls come one at a time.
	Done func(layers int)
}

// Calibrate makes a router from background text without training: for each layer the input is standardised, projected on
// its principal components and whitened; each head rotates them at random and takes two halves, whose sub-keys are
// cluster centres; the temperature is the mean standard deviation of a head's selected scores. The same options and
// samples give the same router, to the bit.
func Calibrate(ctx context.Context, p *kernels.Pool, o Options, src Source) (*Router, *Report, error) {
	if err := o.complete(); err != nil {
		return nil, nil, err
	}
	r := &Router{Base: o.Base, Seed: o.Seed, Hidden: o.Hidden, Layers: make([]*Layer, len(o.Blocks))}
	rep := &Report{Layers: make([]Usage, len(o.Blocks))}
	errs := make([]error, len(o.Blocks))
	done := make(chan struct{}, len(o.Blocks))
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		n := 0
		for range done {
			if n++; o.Done != nil {
				o.Done(n)
			}
		}
	}()
	samples := make([]Sample, len(o.Blocks))
	for i, b := range o.Blocks {
		samples[i], errs[i] = src.Sample(b)
		if errs[i] == nil {
			errs[i] = o.checkSample(b, samples[i])
		}
	}
	if err := errors.Join(errs...); err == nil {
		p.Run(len(o.Blocks), 1, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				if errs[i] = ctx.Err(); errs[i] == nil {
					r.Layers[i], rep.Layers[i], errs[i] = o.layer(p, o.Blocks[i], samples[i])
					done <- struct{}{}
				}
			}
		})
	}
	close(done)
	<-finished
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("retrieval: calibrate: %w", err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	rep.HeldOut = rep.Layers[0].Tokens
	rep.Tokens = samples[0].Tokens - rep.HeldOut
	return r, rep, r.Check()
}

func (o *Options) complete() error {
	if o.Config == (Config{}) {
		o.Config = DefaultConfig(o.Hidden)
	}
	if err := o.Config.Check(); err != nil {
		return err
	}
	if o.Components == 0 {
		o.Components = 128
	}
	if o.Iterations == 0 {
		o.Iterations = 12
	}
	if o.HeldOut == 0 {
		o.HeldOut = 0.2
	}
	switch {
	case o.Hidden < 1 || o.Components < 1 || o.Iterations < 1 || o.HeldOut < 0 || o.HeldOut >= 1:
		return fmt.Errorf("retrieval: calibrate with width %d, %d components, %d iterations, %g held out", o.Hidden, o.Components, o.Iterations, o.HeldOut)
	case len(o.Blocks) == 0:
		return errors.New("retrieval: calibrate without a block")
	case !slices.IsSorted(o.Blocks) || o.Blocks[0] < 0 || len(slices.Compact(slices.Clone(o.Blocks))) != len(o.Blocks):
		return fmt.Errorf("retrieval: blocks %v, want each once, ascending", o.Blocks)
	case 2*o.Config.HalfDim > o.Hidden:
		return fmt.Errorf("retrieval: two half queries of %d dimensions from inputs of width %d; take at most %d", o.Config.HalfDim, o.Hidden, o.Hidden/2)
	}
	return nil
}

// held returns how many of a sample's tokens the report is measured on.
func (o *Options) held(tokens int) int { return int(float64(tokens) * o.HeldOut) }

func (o *Options) checkSample(block int, s Sample) error {
	need := max(o.Config.SubKeys, 2*o.Config.HalfDim+1)
	if n := s.Tokens - o.held(s.Tokens); n < need {
		return fmt.Errorf("retrieval: block %d: %d tokens of background text, want at least %d for %d sub-keys of %d dimensions; give more text",
			block, n, need, o.Config.SubKeys, o.Config.HalfDim)
	}
	if len(s.X) != s.Tokens*o.Hidden || (s.OutRMS != nil && len(s.OutRMS) != o.Hidden) {
		return fmt.Errorf("retrieval: block %d: sample of %d values and %d output scales for %d tokens of width %d", block, len(s.X), len(s.OutRMS), s.Tokens, o.Hidden)
	}
	if i := notFinite(s.X); i >= 0 {
		return fmt.Errorf("retrieval: block %d: input of token %d is %g; the base does not work on this text", block, i/o.Hidden, s.X[i])
	}
	return nil
}

// layer calibrates one layer.
func (o *Options) layer(p *kernels.Pool, block int, s Sample) (*Layer, Usage, error) {
	c, hid := o.Config, o.Hidden
	l := &Layer{Config: c, Block: block, Hidden: hid, OutScale: median(s.OutRMS, 1)}
	rows := s.Tokens - o.held(s.Tokens)
	l.Mean, l.InvStd = moments(s.X, rows, hid)
	xh := make([]float32, rows*hid)
	p.Run(rows, 64, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			standardise(xh[i*hid:(i+1)*hid], s.X[i*hid:(i+1)*hid], l.Mean, l.InvStd)
		}
	})
	white, err := whitening(p, xh, rows, hid, min(o.Components, hid))
	if err != nil {
		return nil, Usage{}, fmt.Errorf("block %d: %w", block, err)
	}
	comps := len(white) / hid
	d := 2 * c.HalfDim
	if comps < d {
		return nil, Usage{}, fmt.Errorf("retrieval: block %d: the inputs vary in %d directions, two half queries of %d dimensions need %d; take fewer",
			block, comps, c.HalfDim, d)
	}
	rnd := rand.New(rand.NewPCG(o.Seed, uint64(block)))
	l.W, l.B = make([]float32, c.Heads*d*hid), make([]float32, c.Heads*d)
	row := make([]float64, hid)
	for h := range c.Heads {
		rot := rotation(d, comps, rnd)
		for i := range d {
			clear(row)
			for j, r := range rot[i*comps : (i+1)*comps] {
				for t, w := range white[j*hid : (j+1)*hid] {
					row[t] += r * w
				}
			}
			for t, v := range row {
				l.W[(h*d+i)*hid+t] = float32(v)
			}
		}
	}
	l.round(l.W)
	l.cluster(p, xh, rows, o.Iterations, rnd)
	l.Temp = make([]float32, c.Heads)
	for h := range l.Temp {
		l.Temp[h] = 1
	}
	return l, l.measure(p, s, rows), nil
}

// round makes values such that bf16 holds them where they are what routing multiplies: reading them is then half the work.
func (l *Layer) round(v []float32) {
	if !l.folds() {
		h := make([]uint16, len(v))
		kernels.ToBF16(h, v)
		kernels.FromBF16(v, h)
	}
}

// cluster sets the sub-keys of every head and half.
func (l *Layer) cluster(p *kernels.Pool, xh []float32, rows, iterations int, rnd *rand.Rand) {
	d, n := l.HalfDim, l.SubKeys
	for half := range 2 {
		l.Keys[half], l.Bias[half] = make([]float32, 0, l.Heads*n*d), make([]float32, 0, l.Heads*n)
	}
	q := make([]float32, rows*d)
	for h := range l.Heads {
		for half := range 2 {
			at := (h*2 + half) * d
			kernels.MatMulNT(p, q, xh, l.W[at*l.Hidden:(at+d)*l.Hidden], rows, d, l.Hidden, false)
			keys := cluster(p, q, rows, d, n, iterations, rnd)
			l.round(keys)
			l.Keys[half] = append(l.Keys[half], keys...)
			l.Bias[half] = append(l.Bias[half], halfNorms(keys, n, d)...)
		}
	}
}

// measure routes the whole sample: the first rows set the temperatures, the others are reported on, and all are counted.
func (l *Layer) measure(p *kernels.Pool, s Sample, rows int) Usage {
	const batch = 512
	hid := l.Hidden
	std := make([]float64, l.Heads)
	all, held := l.NewCounter(), l.NewCounter()
	r := Routing{scores: true}
	for lo := 0; lo < s.Tokens; {
		hi := min(lo+batch, s.Tokens)
		if lo < rows {
			hi = min(hi, rows)
		}
		l.Route(p, &r, s.X[lo*hid:hi*hid], hi-lo)
		all.Add(&r)
		if lo >= rows {
			held.Add(&r)
		} else {
			for i := range r.Tokens * l.Heads {
				std[i%l.Heads] += deviation(r.Gates[i*l.TopK : (i+1)*l.TopK])
			}
		}
		lo = hi
	}
	for h := range std {
		if t := std[h] / float64(rows); t > 1e-6 {
			l.Temp[h] = float32(t)
		}
	}
	l.Changed()
	l.Background = all.Hits
	return held.Usage()
}

// deviation returns the standard deviation.
func deviation(v []float32) float64 {
	var sum, sq float64
	for _, x := range v {
		sum += float64(x)
	}
	mean := sum / float64(len(v))
	for _, x := range v {
		sq += (float64(x) - mean) * (float64(x) - mean)
	}
	return math.Sqrt(sq / float64(len(v)))
}

// median returns the middle of v, or empty for no values.
func median(v []float32, empty float32) float32 {
	if len(v) == 0 {
		return empty
	}
	s := slices.Clone(v)
	slices.Sort(s)
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
