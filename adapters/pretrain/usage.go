package pretrain

import "math"

// Usage says how evenly a text used one layer's experts, as in the tables of arXiv 2407.04153.
type Usage struct {
	Block int     `json:"block"`
	Used  float64 `json:"used"`       // share of the experts that a token selected
	KL    float64 `json:"kl_uniform"` // KL divergence of the experts' summed gates from uniform, nats
}

// gateSums are the gates of each expert of one layer, summed over tokens.
type gateSums []float64

func (s gateSums) add(expert int, gate float32) { s[expert] += float64(gate) }

func (s gateSums) usage(block int) Usage {
	u, sum, n := Usage{Block: block}, 0.0, float64(len(s))
	for _, v := range s {
		sum += v
	}
	for _, v := range s {
		if v > 0 {
			u.Used += 1 / n
			u.KL += v / sum * math.Log(v/sum*n)
		}
	}
	return u
}

// newUsage returns the sums of each block, nil where it has no experts.
func (s Shape) newUsage() []gateSums {
	all := make([]gateSums, s.Layers)
	for i := range all {
		switch s.Instead.at(i) {
		case PEER, PKM:
			all[i] = make(gateSums, s.Instead.retrieval().Cells())
		case MoE:
			all[i] = make(gateSums, s.Instead.Experts)
		}
	}
	return all
}
