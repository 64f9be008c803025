package record

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/gopeft/peft"
)

// Main runs a program until it is done or interrupted, and ends the process with 1 after an error.
func Main(name string, run func(ctx context.Context, args []string) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Logf writes a line with the time to standard error.
func Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// Progress returns what logs an engine's progress: each new task, and every so often how far it is.
func Progress(registry string, every time.Duration) func(peft.Progress) {
	task, said := "", time.Time{}
	return func(p peft.Progress) {
		if p.Task != task || time.Since(said) > every {
			task, said = p.Task, time.Now()
			log.Printf("%s: %s %d/%d %s %s", filepath.Base(registry), p.Task, p.Done, p.Total, p.Unit, p.Note)
		}
	}
}

// ErrEnough reports that a call has done as many units as it was asked for, or that its time was over before one began.
var ErrEnough = errors.New("there is more to do")

// Allowance is how many units of work a call may still do; below 0 for all.
type Allowance int

// Take counts a unit that is about to be done. Its error is ErrEnough when none is left, or the context's.
func (a *Allowance) Take(ctx context.Context) error {
	if *a == 0 {
		return ErrEnough
	}
	*a--
	return ctx.Err()
}

// UnlessEnough says that there is more to do when err is ErrEnough, which is no failure, and returns any other.
func UnlessEnough(err error) error {
	if errors.Is(err, ErrEnough) {
		Logf("%v", ErrEnough)
		return nil
	}
	return err
}
