package kernels

import "math"

func dotGeneric(x, y []float32) float32 {
	var s float32
	for i, v := range x {
		s += v * y[i]
	}
	return s
}

func axpyGeneric(a float32, x, y []float32) {
	for i, v := range x {
		y[i] += a * v
	}
}

func bf16(w uint16) float32 { return math.Float32frombits(uint32(w) << 16) }

func dotBF16Generic(x []float32, w []uint16) float32 {
	var s float32
	for i, v := range x {
		s += v * bf16(w[i])
	}
	return s
}

func axpyBF16Generic(a float32, w []uint16, y []float32) {
	for i, v := range w {
		y[i] += a * bf16(v)
	}
}

func addGeneric(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

func mulGeneric(dst, a, b []float32) {
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

func scaleGeneric(a float32, x []float32) {
	for i := range x {
		x[i] *= a
	}
}

func subMulGeneric(dst, a, b []float32, s float32) {
	for i := range dst {
		dst[i] = a[i] * (b[i] - s)
	}
}

func rotateGeneric(x, y, cos, sin []float32, sign float32) {
	for i, a := range x {
		b, c, s := y[i], cos[i], sign*sin[i]
		x[i] = a*c - b*s
		y[i] = b*c + a*s
	}
}

func mulScaleGeneric(dst, a, b []float32, s float32) {
	for i := range dst {
		dst[i] = a[i] * s * b[i]
	}
}

func maxGeneric(x []float32) float32 {
	m := x[0]
	for _, v := range x[1:] {
		if v > m {
			m = v
		}
	}
	return m
}

func exp32(x float32) float32 {
	switch { // as in assembly, whose exponents overflow a little early
	case x < -87.7:
		return 0
	case x > 88.376:
		return float32(math.Inf(1))
	}
	return float32(math.Exp(float64(x)))
}

func expSumGeneric(dst, x []float32, shift float32) float32 {
	var s float32
	for i, v := range x {
		dst[i] = exp32(v - shift)
		s += dst[i]
	}
	return s
}

func sigmoid(x float32) float32 { return 1 / (1 + exp32(-x)) }

func siluGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = v * sigmoid(v)
	}
}

func siluBackwardGeneric(dx, dy, x []float32) {
	for i, v := range x {
		s := sigmoid(v)
		dx[i] = dy[i] * s * (1 + v*(1-s))
	}
}

func swigluGeneric(dst, g, u []float32) {
	for i, v := range g {
		dst[i] = v * sigmoid(v) * u[i]
	}
}

func swigluBackwardGeneric(dg, du, dy, g, u []float32) {
	for i, v := range g {
		s := sigmoid(v)
		y, d := v*s, dy[i]
		dg[i] = d * u[i] * (s + y*(1-s))
		du[i] = d * y
	}
}

func adamGeneric(w, g, m, v []float32, lr, beta1, beta2, eps, decay, c1, c2 float32) {
	for i, d := range g {
		m[i] = beta1*(m[i]-d) + d
		v[i] = beta2*(v[i]-d*d) + d*d
		step := m[i]/c1/(float32(math.Sqrt(float64(v[i]/c2)))+eps) + decay*w[i]
		w[i] -= lr * step
	}
}

func roundBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if f != f {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

func toBF16Generic(dst []uint16, x []float32) {
	for i, v := range x {
		dst[i] = roundBF16(v)
	}
}

func fromBF16Generic(dst []float32, w []uint16) {
	for i, v := range w {
		dst[i] = bf16(v)
	}
}
