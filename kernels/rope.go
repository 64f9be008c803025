package kernels

// RoPE rotates in place the first heads·headDim elements of rows ld apart (arXiv 2104.09864, section 3.4): element i of
// the first half of a head and element i of its second half turn together by the angle of position pos[t], whose cosine
// and sine stand in cos and sin: [maxPos, headDim/2].
func RoPE(p *Pool, x []float32, ld, tokens, heads, headDim int, pos []int32, cos, sin []float32) {
	ropes.run(p, tokens, rowGrain, rope{x, cos, sin, pos, ld, heads, headDim, 1})
}

// RoPEBackward turns gradients back, in place: a rotation's gradient is its inverse.
func RoPEBackward(p *Pool, dx []float32, ld, tokens, heads, headDim int, pos []int32, cos, sin []float32) {
	ropes.run(p, tokens, rowGrain, rope{dx, cos, sin, pos, ld, heads, headDim, -1})
}

// rope is one call's operands.
type rope struct {
	x, cos, sin        []float32
	pos                []int32
	ld, heads, headDim int
	sign               float32 // of the angles
}

var ropes = keep((*rope).turn)

func (o *rope) turn(lo, hi int) {
	h := o.headDim / 2
	for t := lo; t < hi; t++ {
		c, s := o.cos[int(o.pos[t])*h:][:h], o.sin[int(o.pos[t])*h:][:h]
		for n := range o.heads {
			head := o.x[t*o.ld+n*o.headDim:][:o.headDim]
			rotate(head[:h], head[h:], c, s, o.sign)
		}
	}
}
