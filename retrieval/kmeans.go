package retrieval

import (
	"math/rand/v2"

	"github.com/gopeft/peft/kernels"
)

// cluster returns n centres [n, dim] of the points [rows, dim]: seeds drawn with probability in proportion to the squared
// distance from those before (k-means++), then Lloyd's iterations. A cluster that loses all its points starts again at
// the point farthest from its own centre. Same points and same rnd give the same bits. rows ≥ n.
func cluster(p *kernels.Pool, points []float32, rows, dim, n, iterations int, rnd *rand.Rand) []float32 {
	centres := seedClusters(points, rows, dim, n, rnd)
	of := make([]int32, rows)
	dist := make([]float32, rows) // squared distance from the centre, less the point's own norm
	norm := make([]float32, rows)
	for i := range norm {
		x := points[i*dim : (i+1)*dim]
		norm[i] = kernels.Dot(x, x)
	}
	sums, count := make([]float64, n*dim), make([]int, n)
	for range iterations {
		assign(p, of, dist, points, rows, dim, centres, n)
		clear(sums)
		clear(count)
		for i, c := range of {
			s := sums[int(c)*dim : (int(c)+1)*dim]
			for j, x := range points[i*dim : (i+1)*dim] {
				s[j] += float64(x)
			}
			count[c]++
		}
		for c := range n {
			to := centres[c*dim : (c+1)*dim]
			if count[c] == 0 {
				far := 0
				for i := range dist {
					if dist[i]+norm[i] > dist[far]+norm[far] {
						far = i
					}
				}
				copy(to, points[far*dim:(far+1)*dim])
				dist[far] = -norm[far]
				continue
			}
			for j := range to {
				to[j] = float32(sums[c*dim+j] / float64(count[c]))
			}
		}
	}
	return centres
}

func seedClusters(points []float32, rows, dim, n int, rnd *rand.Rand) []float32 {
	centres := make([]float32, n*dim)
	dist := make([]float64, rows)
	next := rnd.IntN(rows)
	for c := range n {
		centre := centres[c*dim : (c+1)*dim]
		copy(centre, points[next*dim:(next+1)*dim])
		var sum float64
		cc := kernels.Dot(centre, centre)
		for i := range dist {
			x := points[i*dim : (i+1)*dim]
			d := max(0, float64(kernels.Dot(x, x)+cc-2*kernels.Dot(x, centre)))
			if c == 0 || d < dist[i] {
				dist[i] = d
			}
			sum += dist[i]
		}
		at := rnd.Float64() * sum
		next = rows - 1
		for i, d := range dist {
			if at -= d; at < 0 {
				next = i
				break
			}
		}
	}
	return centres
}

// assign finds each point's nearest centre, by the largest x·c - ½‖c‖².
func assign(p *kernels.Pool, of []int32, dist, points []float32, rows, dim int, centres []float32, n int) {
	w := kernels.PackNT(p, centres, n, dim, kernels.F32)
	half := halfNorms(centres, n, dim)
	p.Run(rows, 256, func(lo, hi int) {
		s := make([]float32, (hi-lo)*n)
		kernels.MulPacked(nil, s, points[lo*dim:hi*dim], hi-lo, w, false)
		for i := lo; i < hi; i++ {
			row := s[(i-lo)*n : (i-lo+1)*n]
			best := 0
			for c := range row {
				row[c] += half[c]
				if row[c] > row[best] {
					best = c
				}
			}
			of[i], dist[i] = int32(best), -2*row[best]
		}
	})
}

// halfNorms returns -½‖c‖² of each row.
func halfNorms(centres []float32, n, dim int) []float32 {
	b := make([]float32, n)
	for i := range b {
		c := centres[i*dim : (i+1)*dim]
		b[i] = -kernels.Dot(c, c) / 2
	}
	return b
}
