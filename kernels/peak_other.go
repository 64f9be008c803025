//go:build !amd64 || noasm

package kernels

import "time"

func peakF32(time.Duration) float64      { return 0 }
func peakBF16Rate(time.Duration) float64 { return 0 }
func peakInt8Rate(time.Duration) float64 { return 0 }
func readAll(b []byte)                   { readAllGeneric(b) }
