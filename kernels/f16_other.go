//go:build !amd64 || noasm

package kernels

func toF16(dst []uint16, x []float32)   { toF16Generic(dst, x) }
func fromF16(dst []float32, w []uint16) { fromF16Generic(dst, w) }
