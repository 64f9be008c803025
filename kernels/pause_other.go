//go:build !amd64 || noasm

package kernels

import "runtime"

// pause waits a moment, in which other goroutines may run.
func pause() { runtime.Gosched() }
