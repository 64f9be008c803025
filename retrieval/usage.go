package retrieval

import "math"

// Usage says how evenly a layer's cells were selected by some text. Of few selections for many cells only Max says much:
// even uniform ones would leave cells out, and KL is at least log(cells/selections).
type Usage struct {
	Block  int     `json:"block"`
	Tokens int     `json:"tokens"`
	Hit    float64 `json:"hit"`        // share of the cells selected at least once
	Top1   float64 `json:"top1_hit"`   // share of the cells that were a head's best at least once
	KL     float64 `json:"kl_uniform"` // KL divergence of the selections from uniform, nats
	Max    float64 `json:"max_share"`  // share of all selections that fell on the busiest cell
}

// Report is what Calibrate found on text it held out.
type Report struct {
	Tokens  int     `json:"tokens"`   // that the statistics were made from
	HeldOut int     `json:"held_out"` // that Layers were measured on
	Layers  []Usage `json:"layers"`
}

// Counter counts selections a cell.
type Counter struct {
	Tokens  int
	Hits    []uint32 // [cells] selections
	TopHits []uint32 // [cells] selections as a head's best
	topk    int
	ofLayer int
}

// NewCounter returns a counter for l's cells.
func (l *Layer) NewCounter() *Counter {
	return &Counter{Hits: make([]uint32, l.Cells()), TopHits: make([]uint32, l.Cells()), topk: l.TopK, ofLayer: l.Block}
}

// Add counts the selections of r. A count stops at its largest value.
func (c *Counter) Add(r *Routing) {
	c.Tokens += r.Tokens
	for i, cell := range r.Cells {
		c.Hits[cell] = saturate(c.Hits[cell])
		if i%c.topk == 0 {
			c.TopHits[cell] = saturate(c.TopHits[cell])
		}
	}
}

func saturate(v uint32) uint32 {
	if v == math.MaxUint32 {
		return v
	}
	return v + 1
}

// Usage sums up.
func (c *Counter) Usage() Usage {
	u := Usage{Block: c.ofLayer, Tokens: c.Tokens}
	n := float64(len(c.Hits))
	for i, p := range shares(c.Hits) {
		if p > 0 {
			u.Hit += 1 / n
			u.KL += p * math.Log(p*n)
			u.Max = max(u.Max, p)
		}
		if c.TopHits[i] > 0 {
			u.Top1 += 1 / n
		}
	}
	return u
}
