package kernels

func softmaxGradGeneric(s, d []float32, factor, lse, delta float32) {
	for i, x := range s {
		s[i] = exp32(factor*x - lse)
		d[i] = factor * s[i] * (d[i] - delta)
	}
}

func maxRowsGeneric(top, x []float32, ld, n int) {
	for i := range top {
		top[i] = maxGeneric(x[i*ld:][:n])
	}
}

func expRowsGeneric(sum, x []float32, ld, n int, factor float32, top []float32) {
	for i := range sum {
		sum[i] = 0
		for j, v := range x[i*ld:][:n] {
			e := exp32(factor*v - top[i])
			x[i*ld+j] = e
			sum[i] += e
		}
	}
}

func expRowsBF16Generic(sum []float32, dst []uint16, x []float32, ld, n int, factor float32, top []float32) {
	for i := range sum {
		sum[i] = 0
		for j, v := range x[i*ld:][:n] {
			e := exp32(factor*v - top[i])
			dst[i*ld+j] = roundBF16(e)
			sum[i] += e
		}
	}
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
