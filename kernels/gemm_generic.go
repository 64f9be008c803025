package kernels

// microGeneric is the reference of micro.
func microGeneric(n, k int, a []float32, lda int, b, c []float32, ldc int, acc bool) {
	var t [panel]float32
	for r := range n {
		clear(t[:])
		for i := range k {
			addScaled(&t, a[r*lda+i], b[i*panel:])
		}
		storeGeneric(c[r*ldc:], &t, acc)
	}
}

func microTransposedGeneric(k int, a []float32, lda int, b, c []float32, ldc int, acc bool) {
	var t [panel]float32
	for r := range 8 {
		clear(t[:])
		for i := range k {
			addScaled(&t, a[i*lda+r], b[i*panel:])
		}
		storeGeneric(c[r*ldc:], &t, acc)
	}
}

func addScaled(t *[panel]float32, x float32, row []float32) {
	for j, v := range row[:panel] {
		t[j] += x * v
	}
}

func storeGeneric(c []float32, t *[panel]float32, acc bool) {
	c = c[:panel]
	for j, v := range t {
		if acc {
			v += c[j]
		}
		c[j] = v
	}
}

func microBF16Generic(n, pairs int, a []uint16, lda int, b []uint16, c []float32, ldc int, acc bool) {
	var t [panel]float32
	for r := range n {
		clear(t[:])
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
