package kernels

import "math"

// Softmax writes the softmax of every row: x, y: [rows, cols]; y may be x.
func Softmax(p *Pool, y, x []float32, rows, cols int) {
	p.Run(rows, rowGrain, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			softmaxRow(y[r*cols:(r+1)*cols], x[r*cols:(r+1)*cols])
		}
	})
}

func softmaxRow(y, x []float32) {
	if len(x) == 0 {
		return
	}
	Scale(1/ExpSum(y, x, Max(x)), y)
}

// SoftmaxBackward writes dx = y∘(dy - Σ y·dy) a row; y is the forward's result; dx may be dy.
func SoftmaxBackward(p *Pool, dx, dy, y []float32, rows, cols int) {
	p.Run(rows, rowGrain, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			d, g, v := dx[r*cols:(r+1)*cols], dy[r*cols:(r+1)*cols], y[r*cols:(r+1)*cols]
			subMul(d, v, g, Dot(v, g))
		}
	})
}

// CrossEntropy writes loss[row] = weights[row]·(-log softmax(logits[row])[targets[row]]) in nats: logits: [rows, vocab].
// nil weights are all 1; a row of weight 0 costs nothing. With grad the logits become the loss's gradient
// weights[row]·(softmax - onehot).
func CrossEntropy(p *Pool, loss, logits []float32, targets []int32, weights []float32, rows, vocab int, grad bool) {
	crossEntropies.run(p, rows, 1, crossEntropy{loss, logits, weights, targets, vocab, 0, grad})
}

// CrossEntropyCapped is CrossEntropy of the logits after SoftCap with that limit; the gradient is that of the logits before.
func CrossEntropyCapped(p *Pool, loss, logits []float32, targets []int32, weights []float32, rows, vocab int, limit float32, grad bool) {
	crossEntropies.run(p, rows, 1, crossEntropy{loss, logits, weights, targets, vocab, limit, grad})
}

// crossEntropy is one call's operands.
type crossEntropy struct {
	loss, logits, weights []float32
	targets               []int32
	vocab                 int
	limit                 float32 // 0 for none
	grad                  bool
}

var crossEntropies = keep((*crossEntropy).losses)

func (o *crossEntropy) losses(lo, hi int) {
	buf := getF32(o.vocab)
	defer putF32(buf)
	for r := lo; r < hi; r++ {
		x, w := o.logits[r*o.vocab:(r+1)*o.vocab], float32(1)
		if o.weights != nil {
			w = o.weights[r]
		}
		if w == 0 {
			o.loss[r] = 0
			if o.grad {
				clear(x)
			}
			continue
		}
		if o.limit > 0 {
			softCap(x, o.limit)
		}
		m, target := Max(x), x[o.targets[r]]
		e := *buf
		if o.grad {
			if o.limit > 0 {
				copy(e, x)
			}
			e = x
		}
		s := ExpSum(e, x, m)
		o.loss[r] = w * float32(math.Log(float64(s))+float64(m)-float64(target))
		if o.grad {
			Scale(w/s, x)
			x[o.targets[r]] -= w
			if o.limit > 0 {
				softCapGrad(x, *buf, o.limit)
			}
		}
	}
}
