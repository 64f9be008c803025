package kernels

import "math"

// Slices are cut as s[:n:len(s)], which panics when s is shorter than n even where its capacity is not.

// Dot returns Σ x[i]·y[i] over len(x) elements.
func Dot(x, y []float32) float32 { return dot(x, y[:len(x):len(y)]) }

// Axpy adds a·x to y over len(x) elements.
func Axpy(a float32, x, y []float32) { axpy(a, x, y[:len(x):len(y)]) }

// DotBF16 returns Σ x[i]·w[i] with w in bf16.
func DotBF16(x []float32, w []uint16) float32 { return dotBF16(x, w[:len(x):len(w)]) }

// AxpyBF16 adds a·w to y with w in bf16.
func AxpyBF16(a float32, w []uint16, y []float32) { axpyBF16(a, w, y[:len(w):len(y)]) }

// Add writes a + b to dst, elementwise; dst may be either.
func Add(dst, a, b []float32) { add(dst, a[:len(dst):len(a)], b[:len(dst):len(b)]) }

// Mul writes a·b to dst, elementwise; dst may be either.
func Mul(dst, a, b []float32) { mul(dst, a[:len(dst):len(a)], b[:len(dst):len(b)]) }

// MulScale writes s·a·b to dst, elementwise; dst may be either.
func MulScale(dst, a, b []float32, s float32) {
	mulScale(dst, a[:len(dst):len(a)], b[:len(dst):len(b)], s)
}

// Scale multiplies x by a.
func Scale(a float32, x []float32) { scale(a, x) }

// Max returns the largest element; x must not be empty.
func Max(x []float32) float32 { return maxOf(x) }

// Exp writes e^x to dst (within 2 units of the last place; 0 below -87.7, +Inf above 88.37, NaN for NaN).
func Exp(dst, x []float32) { expSum(dst, x[:len(dst):len(x)], 0) }

// ExpSum writes e^(x-shift) to dst and returns its sum.
func ExpSum(dst, x []float32, shift float32) float32 { return expSum(dst, x[:len(dst):len(x)], shift) }

// ToBF16 rounds src to bf16, to nearest even.
func ToBF16(dst []uint16, src []float32) { toBF16(dst, src[:len(dst):len(src)]) }

// FromBF16 widens bf16 to f32.
func FromBF16(dst []float32, src []uint16) { fromBF16(dst, src[:len(dst):len(src)]) }

// Norm2 returns the square root of Σ x².
func Norm2(x []float32) float32 { return float32(math.Sqrt(float64(Dot(x, x)))) }

// Adam makes one step of Adam (arXiv 1412.6980, algorithm 1) with decoupled weight decay (arXiv 1711.05101): m and v are
// the moments, c1 = 1-β1^t and c2 = 1-β2^t their bias corrections.
func Adam(w, g, m, v []float32, lr, beta1, beta2, eps, decay, c1, c2 float32) {
	n := len(w)
	adam(w, g[:n:len(g)], m[:n:len(m)], v[:n:len(v)], lr, beta1, beta2, eps, decay, c1, c2)
}
