//go:build !linux && !darwin

package mapped

func forget([]byte) {}
