package tune

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/kernels"
)

// RouterRate is the default peak learning rate of TrainRouter for query networks and sub-keys, relative to the root mean
// square of what they start from: a step changes a weight by about that share of a typical one.
const RouterRate = 0.02

// TrainRouter trains query networks and sub-keys of t's layers together with the rows of t's set, in the frozen base, by
// dense and sparse Adam. A sub-key's bias stays -½‖key‖², and temperatures stay as they are. Of o it takes Steps,
// BatchTokens, LearningRate (of the rows), betas, WarmUp, Decay, Floor, Clip, Seed and Progress. A cancelled context ends
// it with the context's error; the router is then of no use. The layers are changed in place: what is known of the router
// as a whole, such as its hash, holds no longer.
func TrainRouter(ctx context.Context, m *llama.Model, t *peer.Training, train []Sequence, o Options, rate float64) error {
	o.Defaults()
	if err := o.Check(); err != nil {
		return err
	}
	if !(rate > 0) || math.IsInf(rate, 0) {
		return fmt.Errorf("tune: learning rate %v of the router, want more than 0", rate)
	}
	for _, s := range train {
		if len(s.Tokens) > o.BatchTokens {
			return fmt.Errorf("tune: a sequence of %d tokens does not fit a batch of %d", len(s.Tokens), o.BatchTokens)
		}
	}
	if len(train) == 0 {
		return fmt.Errorf("tune: no text to train the router on: %w", ErrData)
	}
	r := &routerRun{run: run{o: o, m: m, t: t, tables: t.Set.Tables}}
	r.adam = newAdam(&o, r.tables)
	for _, b := range t.Blocks() {
		r.layers = append(r.layers, newRouterLayer(t.Layer(b), rate/o.LearningRate))
	}
	defer func() {
		for _, l := range r.layers {
			l.train.RouterGrad = nil
		}
	}()
	g, err := newGraph(m, t, max(graphTokens, longest(train)))
	if err != nil {
		return err
	}
	if err := r.loop(ctx, g, train); err != nil {
		_ = g.close()
		return err
	}
	return g.close()
}

func longest(seqs []Sequence) int {
	n := 0
	for _, s := range seqs {
		n = max(n, len(s.Tokens))
	}
	return n
}

// routerRun is a run that trains the router too.
type routerRun struct {
	run
	layers []*routerLayer
}

func (r *routerRun) loop(ctx context.Context, g *graph, train []Sequence) error {
	data := &feed{seqs: train, size: r.o.BatchTokens, seed: r.o.Seed}
	sched := Schedule{Peak: r.o.LearningRate, WarmUp: r.o.WarmUp, Steps: r.o.Steps, Decay: r.o.Decay, Floor: r.o.Floor}
	for r.step < r.o.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		start, b := time.Now(), data.next()
		loss, grads, err := g.run(b)
		if err != nil {
			return err
		}
		squares := 0.0
		for _, l := range r.layers {
			l.tieBias()
			squares += l.squaredNorm()
		}
		rows := peer.RowNorm(grads...)
		norm := math.Sqrt(rows*rows + squares)
		if !finite(float64(loss)) || !finite(norm) {
			return fmt.Errorf("step %d of the router has loss %v and gradient norm %v; a lower learning rate may help: %w", r.step+1, loss, norm, ErrDiverged)
		}
		lr, scale := sched.At(r.step), float32(min(1, r.o.Clip/max(norm, 1e-30)))
		r.adam.update(r.m.Pool(), r.tables, grads, float32(lr), scale)
		for _, l := range r.layers {
			l.update(r.adam, float32(lr), scale)
		}
		r.step++
		if r.o.Progress != nil {
			r.o.Progress(Progress{Step: r.step, Steps: r.o.Steps, Loss: float64(loss), HeldOut: math.NaN(), GradNorm: norm, LearningRate: lr,
				TokensPerSecond: float64(len(b.Tokens)) / time.Since(start).Seconds()})
		}
	}
	return nil
}

// routerLayer is what is trained of one layer's router: query networks, their shifts and the sub-keys.
type routerLayer struct {
	train  *peer.TrainLayer
	params []routerParam
}

type routerParam struct {
	w, g, m, v []float32
	rate       float32 // times the rows' learning rate
}

func newRouterLayer(t *peer.TrainLayer, rate float64) *routerLayer {
	l := t.Router
	g := l.NewGrad()
	t.RouterGrad = g
	r := &routerLayer{train: t}
	for _, p := range []struct {
		w, g []float32
		size float64
	}{{l.W, g.W, rms(l.W)}, {l.B, g.B, 1}, {l.Keys[0], g.Keys[0], rms(l.Keys[0])}, {l.Keys[1], g.Keys[1], rms(l.Keys[1])}} { // queries have unit variance
		r.params = append(r.params, routerParam{p.w, p.g, make([]float32, len(p.w)), make([]float32, len(p.w)), float32(rate * p.size)})
	}
	return r
}

func rms(v []float32) float64 {
	return float64(kernels.Norm2(v)) / math.Sqrt(float64(len(v)))
}

// tieBias hands the gradient of the biases on to the sub-keys they belong to.
func (r *routerLayer) tieBias() {
	l, g := r.train.Router, r.train.RouterGrad
	for half, d := range g.Bias {
		for i, b := range d {
			at := i * l.HalfDim
			kernels.Axpy(-b, l.Keys[half][at:at+l.HalfDim], g.Keys[half][at:at+l.HalfDim])
		}
		clear(d)
	}
}

func (r *routerLayer) squaredNorm() float64 {
	var sum float64
	for _, p := range r.params {
		for row := range slices.Chunk(p.g, 4096) {
			sum += float64(kernels.Dot(row, row))
		}
	}
	return sum
}

// update makes the step that a's tables have just made.
func (r *routerLayer) update(a *Adam, lr, scale float32) {
	c1 := float32(1 - math.Pow(float64(a.Beta1), float64(a.step)))
	c2 := float32(1 - math.Pow(float64(a.Beta2), float64(a.step)))
	for _, p := range r.params {
		if scale != 1 {
			kernels.Scale(scale, p.g)
		}
		kernels.Adam(p.w, p.g, p.m, p.v, lr*p.rate, a.Beta1, a.Beta2, a.Eps, 0, c1, c2)
		clear(p.g)
	}
	r.train.Router.TieBias()
}
