package main

import (
	"fmt"
	"math"
	"path/filepath"

	"github.com/gopeft/peft/retrieval"
)

// result is what one router selects.
type result struct {
	Config retrieval.Config `json:"config"`
	Block  int              `json:"block"`
	Texts  []string         `json:"texts"`
	Made   int              `json:"made"` // tokens from which the router was made
	Curve  []point          `json:"curve"`
}

// point is how the cells were used by the first tokens of those that did not make the router.
type point struct {
	Tokens     int     `json:"tokens"`
	Selections int     `json:"selections"`
	Hit        float64 `json:"hit"`     // share of the cells selected at least once
	KL         float64 `json:"kl"`      // KL divergence of the selections from uniform, nats
	GateKL     float64 `json:"gate_kl"` // the same of the cells' summed gates, as in arXiv 2407.04153
	Max        float64 `json:"max"`     // selections of the busiest cell, in those it would have if all had the same
}

// even returns the share of cells that so many selections would hit if each fell anywhere with the same chance.
func (p point) even(cells int) float64 { return -math.Expm1(-float64(p.Selections) / float64(cells)) }

// count routes the tokens that did not make the router, and looks at the use of the cells each time they are twice as many.
func (b *bench) count(l *retrieval.Layer) result {
	r := result{Config: l.Config, Block: b.block, Made: b.made}
	for _, t := range b.texts {
		r.Texts = append(r.Texts, filepath.Base(t))
	}
	x, cells := b.states[b.made*b.hidden:], l.Cells()
	hits, gates := make([]float64, cells), make([]float64, cells)
	total := len(x) / b.hidden
	var routing retrieval.Routing
	next := 1024
	for at := 0; at < total; {
		n := min(512, total-at)
		l.Route(b.pool, &routing, x[at*b.hidden:(at+n)*b.hidden], n)
		for i, cell := range routing.Cells {
			hits[cell]++
			gates[cell] += float64(routing.Gates[i])
		}
		at += n
		if at >= next || at == total {
			r.Curve = append(r.Curve, look(at, at*l.Heads*l.TopK, hits, gates))
			next *= 2
		}
	}
	return r
}

func look(tokens, selections int, hits, gates []float64) point {
	p := point{Tokens: tokens, Selections: selections}
	n := float64(len(hits))
	for _, h := range hits {
		if h > 0 {
			p.Hit += 1 / n
			p.Max = max(p.Max, h*n/float64(selections))
		}
	}
	p.KL = fromUniform(hits)
	p.GateKL = fromUniform(gates)
	return p
}

// fromUniform returns the KL divergence of weights, as shares of their sum, from uniform ones, in nats.
func fromUniform(w []float64) float64 {
	var sum, kl float64
	for _, v := range w {
		sum += v
	}
	for _, v := range w {
		if v > 0 {
			kl += v / sum * math.Log(v/sum*float64(len(w)))
		}
	}
	return kl
}

// evenTokens returns after how many tokens even selections would have hit that share of the cells.
func evenTokens(r result, share float64) string {
	perToken := float64(r.Config.Heads * r.Config.TopK)
	return fmt.Sprintf("%.0f", -math.Log1p(-share)*float64(r.Config.Cells())/perToken)
}

// reached returns after how many tokens, of those at which it was looked, that share of the cells was hit.
func reached(r result, share float64) string {
	for _, p := range r.Curve {
		if p.Hit >= share {
			return fmt.Sprintf("at most %d", p.Tokens)
		}
	}
	return "not reached"
}
