// Command peft teaches a frozen language model new things: it adds expert sets to a base at run time, trains them, and
// serves them. See `peft help`.
package main

import (
	"context"
	"math"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
)

// gcPercent is how much garbage may stand beside what is in use. Nearly all of that are matrices, which the collector need
// not look into, so collecting early costs little and saves gigabytes.
const gcPercent = 10

// collectFrom is the memory that the collector waits for before its first cycle. Most commands end, or have read what they
// work with, before they come near it, and tens of cycles over a few megabytes would be most of the time that they start in.
const collectFrom = 192 << 20

// collectLate turns the collector off until there is that much, and sets it to gcPercent at the first cycle.
func collectLate() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(collectFrom)
	runtime.AddCleanup(new([1 << 10]byte), func(int) {
		debug.SetGCPercent(gcPercent)
		debug.SetMemoryLimit(math.MaxInt64)
	}, 0)
}

func main() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		collectLate()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
