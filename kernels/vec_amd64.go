//go:build !noasm

package kernels

import "unsafe"

// The assembly works on whole vectors; the reference does what is left.

func dot(x, y []float32) float32 {
	if active == Generic {
		return dotGeneric(x, y)
	}
	var s float32
	n := len(x) &^ 7
	if active == AVX512 {
		n = len(x) &^ 15
		s = dotAVX512(n, unsafe.SliceData(x), unsafe.SliceData(y))
	} else {
		s = dotAVX2(n, unsafe.SliceData(x), unsafe.SliceData(y))
	}
	return s + dotGeneric(x[n:], y[n:])
}

func axpy(a float32, x, y []float32) {
	if active == Generic {
		axpyGeneric(a, x, y)
		return
	}
	n := len(x) &^ 7
	if active == AVX512 {
		n = len(x) &^ 15
		axpyAVX512(n, a, unsafe.SliceData(x), unsafe.SliceData(y))
	} else {
		axpyAVX2(n, a, unsafe.SliceData(x), unsafe.SliceData(y))
	}
	axpyGeneric(a, x[n:], y[n:])
}

func dotBF16(x []float32, w []uint16) float32 {
	if active == Generic {
		return dotBF16Generic(x, w)
	}
	var s float32
	n := len(x) &^ 7
	if active == AVX512 {
		n = len(x) &^ 15
		s = dotBF16AVX512(n, unsafe.SliceData(x), unsafe.SliceData(w))
	} else {
		s = dotBF16AVX2(n, unsafe.SliceData(x), unsafe.SliceData(w))
	}
	return s + dotBF16Generic(x[n:], w[n:])
}

func axpyBF16(a float32, w []uint16, y []float32) {
	if active == Generic {
		axpyBF16Generic(a, w, y)
		return
	}
	n := len(w) &^ 7
	if active == AVX512 {
		n = len(w) &^ 15
		axpyBF16AVX512(n, a, unsafe.SliceData(w), unsafe.SliceData(y))
	} else {
		axpyBF16AVX2(n, a, unsafe.SliceData(w), unsafe.SliceData(y))
	}
	axpyBF16Generic(a, w[n:], y[n:])
}

func add(dst, a, b []float32) {
	if active == Generic {
		addGeneric(dst, a, b)
		return
	}
	n := len(dst) &^ 7
	if active == AVX512 {
		n = len(dst) &^ 15
		addAVX512(n, unsafe.SliceData(dst), unsafe.SliceData(a), unsafe.SliceData(b))
	} else {
		addAVX2(n, unsafe.SliceData(dst), unsafe.SliceData(a), unsafe.SliceData(b))
	}
	addGeneric(dst[n:], a[n:], b[n:])
}

func mul(dst, a, b []float32) {
	if active == Generic {
		mulGeneric(dst, a, b)
		return
	}
	n := len(dst) &^ 7
	if active == AVX512 {
		n = len(dst) &^ 15
		mulAVX512(n, unsafe.SliceData(dst), unsafe.SliceData(a), unsafe.SliceData(b))
	} else {
		mulAVX2(n, unsafe.SliceData(dst), unsafe.SliceData(a), unsafe.SliceData(b))
	}
	mulGeneric(dst[n:], a[n:], b[n:])
}

func scale(a float32, x []float32) {
	if active == Generic {
		scaleGeneric(a, x)
		return
	}
	n := len(x) &^ 7
	if active == AVX512 {
		n = len(x) &^ 15
		scaleAVX512(n, a, unsafe.SliceData(x))
	} else {
		scaleAVX2(n, a, unsafe.SliceData(x))
	}
	scaleGeneric(a, x[n:])
}

func subMul(dst, a, b []float32, s float32) {
	if active == Generic {
		subMulGeneric(dst, a, b, s)
		return
	}
	n := len(dst) &^ 7
	if active == AVX512 {
		n = len(dst) &^ 15
		subMulAVX512(n, unsafe.SliceData(dst), unsafe.SliceData(a), unsafe.SliceData(b), s)
	} else {
		subMulAVX2(n, unsafe.SliceData(dst), unsafe.SliceData(a), unsafe.SliceData(b), s)
	}
	subMulGeneric(dst[n:], a[n:], b[n:], s)
}

func rotate(x, y, cos, sin []float32, sign float32) {
	if active == Generic {
		rotateGeneric(x, y, cos, sin, sign)
		return
	}
	n := len(x) &^ 7
	if active == AVX512 {
		n = len(x) &^ 15
		rotateAVX512(n, unsafe.SliceData(x), unsafe.SliceData(y), unsafe.SliceData(cos), unsafe.SliceData(sin), sign)
	} else {
		rotateAVX2(n, unsafe.SliceData(x), unsafe.SliceData(y), unsafe.SliceData(cos), unsafe.SliceData(sin), sign)
	}
	rotateGeneric(x[n:], y[n:], cos[n:], sin[n:], sign)
}

func mulScale(dst, a, b []float32, s float32) {
	if active == Generic {
		mulScaleGeneric(dst, a, b, s)
		return
	}
	n := len(dst) &^ 7
	if active == AVX512 {
		n = len(dst) &^ 15
		mulScaleAVX512(n, unsafe.SliceData(dst), unsafe.SliceData(a), unsafe.SliceData(b), s)
	} else {
		mulScaleAVX2(n, unsafe.SliceData(dst), unsafe.SliceData(a), unsafe.SliceData(b), s)
	}
	mulScaleGeneric(dst[n:], a[n:], b[n:], s)
}

func expSum(dst, x []float32, shift float32) float32 {
	if active == Generic {
		return expSumGeneric(dst, x, shift)
	}
	var s float32
	n := len(dst) &^ 7
	if active == AVX512 {
		n = len(dst) &^ 15
		s = expSumAVX512(n, unsafe.SliceData(dst), unsafe.SliceData(x), shift)
	} else {
		s = expSumAVX2(n, unsafe.SliceData(dst), unsafe.SliceData(x), shift)
	}
	return s + expSumGeneric(dst[n:], x[n:], shift)
}

func silu(dst, x []float32) {
	if active == Generic {
		siluGeneric(dst, x)
		return
	}
	n := len(dst) &^ 15
	siluBlocks(n, unsafe.SliceData(dst), unsafe.SliceData(x))
	if n < len(dst) { // the rest likewise, so that an element's value does not depend on where it stands
		var t [16]float32
		copy(t[:], x[n:])
		siluBlocks(len(t), &t[0], &t[0])
		copy(dst[n:], t[:])
	}
}

// siluBlocks takes a multiple of 16.
func siluBlocks(n int, dst, x *float32) {
	if active == AVX512 {
		siluAVX512(n, dst, x)
	} else {
		siluAVX2(n, dst, x)
	}
}

func siluBackward(dx, dy, x []float32) {
	if active == Generic {
		siluBackwardGeneric(dx, dy, x)
		return
	}
	n := len(dx) &^ 15
	siluBackwardBlocks(n, unsafe.SliceData(dx), unsafe.SliceData(dy), unsafe.SliceData(x))
	if n < len(dx) {
		var g, t [16]float32
		copy(g[:], dy[n:])
		copy(t[:], x[n:])
		siluBackwardBlocks(len(t), &t[0], &g[0], &t[0])
		copy(dx[n:], t[:])
	}
}

// siluBackwardBlocks takes a multiple of 16.
func siluBackwardBlocks(n int, dx, dy, x *float32) {
	if active == AVX512 {
		siluBackwardAVX512(n, dx, dy, x)
	} else {
		siluBackwardAVX2(n, dx, dy, x)
	}
}

func swiglu(dst, g, u []float32) {
	if active == Generic {
		swigluGeneric(dst, g, u)
		return
	}
	n := len(dst) &^ 7
	if active == AVX512 {
		n = len(dst) &^ 15
		swigluAVX512(n, unsafe.SliceData(dst), unsafe.SliceData(g), unsafe.SliceData(u))
	} else {
		swigluAVX2(n, unsafe.SliceData(dst), unsafe.SliceData(g), unsafe.SliceData(u))
	}
	swigluGeneric(dst[n:], g[n:], u[n:])
}

func swigluBackward(dg, du, dy, g, u []float32) {
	if active == Generic {
		swigluBackwardGeneric(dg, du, dy, g, u)
		return
	}
	n := len(g) &^ 7
	if active == AVX512 {
		n = len(g) &^ 15
		swigluBackwardAVX512(n, unsafe.SliceData(dg), unsafe.SliceData(du), unsafe.SliceData(dy), unsafe.SliceData(g), unsafe.SliceData(u))
	} else {
		swigluBackwardAVX2(n, unsafe.SliceData(dg), unsafe.SliceData(du), unsafe.SliceData(dy), unsafe.SliceData(g), unsafe.SliceData(u))
	}
	swigluBackwardGeneric(dg[n:], du[n:], dy[n:], g[n:], u[n:])
}

func adam(w, g, m, v []float32, lr, beta1, beta2, eps, decay, c1, c2 float32) {
	if active == Generic {
		adamGeneric(w, g, m, v, lr, beta1, beta2, eps, decay, c1, c2)
		return
	}
	n := len(w) &^ 7
	if active == AVX512 {
		n = len(w) &^ 15
		adamAVX512(n, unsafe.SliceData(w), unsafe.SliceData(g), unsafe.SliceData(m), unsafe.SliceData(v), lr, beta1, beta2, eps, decay, c1, c2)
	} else {
		adamAVX2(n, unsafe.SliceData(w), unsafe.SliceData(g), unsafe.SliceData(m), unsafe.SliceData(v), lr, beta1, beta2, eps, decay, c1, c2)
	}
	adamGeneric(w[n:], g[n:], m[n:], v[n:], lr, beta1, beta2, eps, decay, c1, c2)
}

func toBF16(dst []uint16, x []float32) {
	if active == Generic {
		toBF16Generic(dst, x)
		return
	}
	n := len(x) &^ 15
	if active == AVX512 {
		n = len(x) &^ 15
		toBF16AVX512(n, unsafe.SliceData(dst), unsafe.SliceData(x))
	} else {
		toBF16AVX2(n, unsafe.SliceData(dst), unsafe.SliceData(x))
	}
	toBF16Generic(dst[n:], x[n:])
}

func fromBF16(dst []float32, w []uint16) {
	if active == Generic {
		fromBF16Generic(dst, w)
		return
	}
	n := len(dst) &^ 7
	if active == AVX512 {
		n = len(dst) &^ 15
		fromBF16AVX512(n, unsafe.SliceData(dst), unsafe.SliceData(w))
	} else {
		fromBF16AVX2(n, unsafe.SliceData(dst), unsafe.SliceData(w))
	}
	fromBF16Generic(dst[n:], w[n:])
}

func maxOf(x []float32) float32 {
	n := len(x) &^ 15
	if active == Generic || n == 0 {
		return maxGeneric(x)
	}
	var m float32
	if active == AVX512 {
		m = maxAVX512(n, unsafe.SliceData(x))
	} else {
		m = maxAVX2(n, unsafe.SliceData(x))
	}
	for _, v := range x[n:] {
		m = max(m, v)
	}
	return m
}

// topCandidates writes the positions of at least 16 elements of x, among them the 16 largest, ascending, to idx and returns
// how many they are; 0 where there is no kernel for it. Elements that are left over at the end are all taken.
func topCandidates(x []float32, idx []int32) int {
	n := len(x) &^ 31
	if active != AVX512 || n == 0 {
		return 0
	}
	_ = idx[len(x)+15]
	found := topCandidatesAVX512(n, &x[0], &idx[0])
	for ; n < len(x); n++ {
		idx[found] = int32(n)
		found++
	}
	return found
}
