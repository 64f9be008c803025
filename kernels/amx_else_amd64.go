//go:build !linux && !noasm

package kernels

// allowTiles reports that this system gives no tiles of AMX to a process, or that nobody has tried.
func allowTiles() bool { return false }
