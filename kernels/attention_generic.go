package kernels

func softmaxGradGeneric(s, d []float32, factor, lse, delta float32) {
	for i, x := range s {
		s[i] = exp32(factor*x - lse)
		d[i] = factor * s[i] * (d[i] - delta)
	}
}

func expSumBF16Generic(dst []uint16, x []float32, factor, shift float32) float32 {
	var s float32
	for i, v := range x {
		e := exp32(factor*v - shift)
		dst[i] = roundBF16(e)
		s += e
	}
	return s
}

func softmaxGradBF16Generic(n int, s, d []float32, ld int, p, ds, rows []uint16, factor float32, lse, delta []float32) {
	for r := range 2 {
		for i, x := range s[r*ld:][:n] {
			e := exp32(factor*x - lse[r])
			g := roundBF16(factor * e * (d[r*ld+i] - delta[r]))
			p[2*i+r], ds[2*i+r], rows[r*ld+i] = roundBF16(e), g, g
		}
	}
}
