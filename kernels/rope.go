package kernels

// RoPE rotates in place the first heads·headDim elements of rows ld apart (arXiv 2104.09864, section 3.4): element i of
// the first half of a head and element i of its second half turn together by the angle of position pos[t], whose cosine
// and sine stand in cos and sin: [maxPos, headDim/2].
func RoPE(p *Pool, x []float32, ld, tokens, heads, headDim int, pos []int32, cos, sin []float32) {
	rope(p, x, ld, tokens, heads, headDim, pos, cos, sin, 1)
}

// RoPEBackward turns gradients back, in place: a rotation's gradient is its inverse.
func RoPEBackward(p *Pool, dx []float32, ld, tokens, heads, headDim int, pos []int32, cos, sin []float32) {
	rope(p, dx, ld, tokens, heads, headDim, pos, cos, sin, -1)
}

func rope(p *Pool, x []float32, ld, tokens, heads, headDim int, pos []int32, cos, sin []float32, sign float32) {
	h := headDim / 2
	p.Run(tokens, rowGrain, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			c, s := cos[int(pos[t])*h:][:h], sin[int(pos[t])*h:][:h]
			for n := range heads {
				head := x[t*ld+n*headDim:][:headDim]
				rotate(head[:h], head[h:], c, s, sign)
			}
		}
	})
}
