// Command peft teaches a frozen language model new things: it adds expert sets to a base at run time, trains them, and
// serves them. See `peft help`.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// gcPercent is how much garbage may stand beside what is in use. Nearly all of that are matrices, which the collector need
// not look into, so collecting early costs little and saves gigabytes.
const gcPercent = 10

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
