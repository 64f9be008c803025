package kernels

// RMSNormHeads is RMSNorm, in place, of each of the first heads·dim elements' heads in rows ld apart: x: [tokens, ld],
// w: [dim]. For the backward, kept: [tokens, heads·(dim+1)] gets the heads as they were and their 1/rms; it may be nil.
func RMSNormHeads(p *Pool, x []float32, ld, tokens, heads, dim int, w []float32, eps float32, kept []float32) {
	headNorms.run(p, tokens, rowGrain, headNorm{x: x, kept: kept, rmsNorm: rmsNorm{w: w, dim: dim, eps: eps}, ld: ld, heads: heads})
}

// RMSNormHeadsBackward replaces gradients dy of the result by those of the heads as they were: dy: [tokens, ld]; w and kept
// are the forward's.
func RMSNormHeadsBackward(p *Pool, dy []float32, ld, tokens, heads, dim int, w, kept []float32) {
	headNormBackwards.run(p, tokens, rowGrain, headNorm{x: dy, kept: kept, rmsNorm: rmsNorm{w: w, dim: dim}, ld: ld, heads: heads})
}

// headNorm is one call's operands; x is dy in the backward. rmsNorm's rows are the heads of one token.
type headNorm struct {
	x, kept []float32
	rmsNorm
	ld, heads int
}

var headNorms, headNormBackwards = keep((*headNorm).forward), keep((*headNorm).backward)

// token returns the norm of a token's heads, and the heads themselves in x.
func (o *headNorm) token(t int) (rmsNorm, []float32) {
	n, width := o.rmsNorm, o.heads*o.dim
	row := o.x[t*o.ld:][:width]
	if o.kept != nil {
		kept := o.kept[t*(width+o.heads):][:width+o.heads]
		n.x, n.rstd = kept[:width], kept[width:]
	}
	return n, row
}

func (o *headNorm) forward(lo, hi int) {
	for t := lo; t < hi; t++ {
		n, row := o.token(t)
		if n.x == nil {
			n.x = row
		} else {
			copy(n.x, row)
		}
		n.y = row
		n.forward(0, o.heads)
	}
}

func (o *headNorm) backward(lo, hi int) {
	buf := getF32(o.heads * o.dim)
	defer putF32(buf)
	for t := lo; t < hi; t++ {
		n, row := o.token(t)
		n.y, n.dy = *buf, row
		n.backward(0, o.heads)
		copy(row, *buf)
	}
}
