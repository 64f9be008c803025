package main

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/gopeft/peft/retrieval"
)

// result is one router's.
type result struct {
	Base      string           `json:"base"`
	Block     int              `json:"block"`
	Config    retrieval.Config `json:"config"`
	Queries   string           `json:"queries"`
	Keys      string           `json:"sub_keys"`
	Calibrate int              `json:"calibrate"` // tokens that it was made from
	Seed      uint64           `json:"seed"`
	Tokens99  int              `json:"tokens_99,omitempty"` // after which 99 % of the cells were hit; 0: never
	Curve     []point          `json:"curve"`
}

// point is the use of the cells by so many tokens.
type point struct {
	Tokens     int     `json:"tokens"`
	Selections int     `json:"selections"`
	Hit        float64 `json:"hit"`         // share of the cells that were selected
	KL         float64 `json:"kl"`          // divergence of the selections from uniform, nats
	GateKL     float64 `json:"kl_by_gates"` // the same of the cells' summed gates, which is what arXiv 2407.04153 calls unevenness
	Max        float64 `json:"max_share"`   // share of all selections that fell on the busiest cell
}

// same tells whether a result is of this call's settings.
func (r *result) same(b *bench) bool {
	return r.Block == b.block && r.Config == b.config && r.Calibrate == b.calibrate && r.Seed == b.seed && r.Curve[len(r.Curve)-1].Tokens == b.tokens
}

// use counts selections and gates of each cell.
type use struct {
	hits  []uint32
	gates []float64
	hit   int // cells
}

func (u *use) add(cell uint32, gate float64) {
	if u.hits[cell] == 0 {
		u.hit++
	}
	u.hits[cell]++
	u.gates[cell] += gate
}

func (u *use) point(tokens, selections int) point {
	n := float64(len(u.hits))
	p := point{Tokens: tokens, Selections: selections, Hit: float64(u.hit) / n}
	var sum float64
	for _, g := range u.gates {
		sum += g
	}
	for i, h := range u.hits {
		if h == 0 {
			continue
		}
		share, gate := float64(h)/float64(selections), u.gates[i]/sum
		p.KL += share * math.Log(share*n)
		p.Max = max(p.Max, share)
		if gate > 0 {
			p.GateKL += gate * math.Log(gate*n)
		}
	}
	return p
}

// batch is how many tokens are routed at a time. The first point of a curve is there.
const batch = 1024

// route makes a router from the first inputs and lets it route the others.
func (b *bench) route(ctx context.Context, m made, x []float32) (result, error) {
	hidden, picks := b.base.Model.Config.Hidden, b.config.Heads*b.config.TopK
	res := result{Base: b.base.Name, Block: b.block, Config: b.config, Queries: m.queried, Keys: m.keyed, Calibrate: b.calibrate, Seed: b.seed}
	rng := rand.New(rand.NewPCG(b.seed, 0))
	choose := func(r *retrieval.Routing, _ []float32) {
		for i := range r.Cells {
			r.Cells[i] = uint32(rng.IntN(b.config.Cells()))
		}
	}
	if m.name != uniformName {
		l, err := b.layer(ctx, m, x[:b.calibrate*hidden])
		if err != nil {
			return res, err
		}
		choose = func(r *retrieval.Routing, x []float32) { l.Route(b.pool, r, x, batch) }
	}
	u := use{hits: make([]uint32, b.config.Cells()), gates: make([]float64, b.config.Cells())}
	r := &retrieval.Routing{Cells: make([]uint32, batch*picks), Gates: slices.Repeat([]float32{1}, batch*picks)}
	next := batch
	for done := 0; done < b.tokens; {
		if err := ctx.Err(); err != nil {
			return res, err
		}
		choose(r, x[(b.calibrate+done)*hidden:])
		done += batch
		for i, cell := range r.Cells {
			u.add(cell, float64(r.Gates[i]))
		}
		if res.Tokens99 == 0 && float64(u.hit) >= 0.99*float64(len(u.hits)) {
			res.Tokens99 = done
		}
		if done == next || done == b.tokens {
			res.Curve = append(res.Curve, u.point(done, done*picks))
			next *= 2
		}
	}
	return res, nil
}
