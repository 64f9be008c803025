package kernels

// microGeneric is the reference of micro.
func microGeneric(n, k int, a []float32, lda int, b, c []float32, ldc int, acc bool) {
	mulPanel(n, k, a, lda, 1, b, c, ldc, acc)
}

func microTransposedGeneric(k int, a []float32, lda int, b, c []float32, ldc int, acc bool) {
	mulPanel(8, k, a, 1, lda, b, c, ldc, acc)
}

// mulPanel multiplies n rows of a, whose element (r, i) stands at r·rs + i·cs, with k rows of a panel. It takes four k at
// a time, so that a sum is loaded and stored once for four products; the order of additions is that of k.
func mulPanel(n, k int, a []float32, rs, cs int, b, c []float32, ldc int, acc bool) {
	for r := range n {
		var t [panel]float32
		x := a[r*rs:]
		i := 0
		for ; i+4 <= k; i += 4 {
			x0, x1, x2, x3 := x[i*cs], x[(i+1)*cs], x[(i+2)*cs], x[(i+3)*cs]
			v := (*[4 * panel]float32)(b[i*panel:])
			for j := range t {
				s := t[j]
				s += x0 * v[j]
				s += x1 * v[panel+j]
				s += x2 * v[2*panel+j]
				s += x3 * v[3*panel+j]
				t[j] = s
			}
		}
		for ; i < k; i++ {
			x0, v := x[i*cs], (*[panel]float32)(b[i*panel:])
			for j := range t {
				t[j] += x0 * v[j]
			}
		}
		storeGeneric(c[r*ldc:], &t, acc)
	}
}

func storeGeneric(c []float32, t *[panel]float32, acc bool) {
	d := (*[panel]float32)(c)
	if acc {
		for j := range t {
			t[j] += d[j]
		}
	}
	*d = *t
}

// microBF16Generic is the reference of microBF16. Only a weight packed by another implementation comes here.
func microBF16Generic(n, pairs int, a []uint16, lda int, b []uint16, c []float32, ldc int, acc bool) {
	for r := range n {
		var t [panel]float32
		for i := range pairs {
			x, y := bf16(a[r*lda+2*i]), bf16(a[r*lda+2*i+1])
			row := b[i*panel*2 : (i+1)*panel*2]
			for j := range t {
				t[j] += x*bf16(row[2*j]) + y*bf16(row[2*j+1])
			}
		}
		storeGeneric(c[r*ldc:], &t, acc)
	}
}
