//go:build !amd64 || noasm

package kernels

func dot(x, y []float32) float32                     { return dotGeneric(x, y) }
func axpy(a float32, x, y []float32)                 { axpyGeneric(a, x, y) }
func dotBF16(x []float32, w []uint16) float32        { return dotBF16Generic(x, w) }
func axpyBF16(a float32, w []uint16, y []float32)    { axpyBF16Generic(a, w, y) }
func add(dst, a, b []float32)                        { addGeneric(dst, a, b) }
func mul(dst, a, b []float32)                        { mulGeneric(dst, a, b) }
func mulScale(dst, a, b []float32, s float32)        { mulScaleGeneric(dst, a, b, s) }
func expSum(dst, x []float32, shift float32) float32 { return expSumGeneric(dst, x, shift) }
func silu(dst, x []float32)                          { siluGeneric(dst, x) }
func swiglu(dst, g, u []float32)                     { swigluGeneric(dst, g, u) }
func swigluBackward(dg, du, dy, g, u []float32)      { swigluBackwardGeneric(dg, du, dy, g, u) }
func adam(w, g, m, v []float32, lr, beta1, beta2, eps, decay, c1, c2 float32) {
	adamGeneric(w, g, m, v, lr, beta1, beta2, eps, decay, c1, c2)
}
func toBF16(dst []uint16, x []float32)              { toBF16Generic(dst, x) }
func fromBF16(dst []float32, w []uint16)            { fromBF16Generic(dst, w) }
func scale(a float32, x []float32)                  { scaleGeneric(a, x) }
func subMul(dst, a, b []float32, s float32)         { subMulGeneric(dst, a, b, s) }
func siluBackward(dx, dy, x []float32)              { siluBackwardGeneric(dx, dy, x) }
func rotate(x, y, cos, sin []float32, sign float32) { rotateGeneric(x, y, cos, sin, sign) }
func maxOf(x []float32) float32                     { return maxGeneric(x) }

func topCandidates([]float32, []int32) int { return 0 }
