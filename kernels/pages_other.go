//go:build !linux

package kernels

func largePages([]byte) {}
