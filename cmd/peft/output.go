package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/gopeft/peft"
)

// result ends a command: with --json it prints v as one line, otherwise it calls text.
func result(c *cli.Context, v any, text func(w io.Writer)) error {
	if !c.Bool("json") {
		text(c.App.Writer)
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s\n", b)
	return err
}

// progress shows long work on standard error: a bar with rate and time left on a terminal, plain lines elsewhere.
type progress struct {
	w        io.Writer
	terminal bool
	task     string
	bar      *progressbar.ProgressBar
	began    time.Time
	from     int // done when it was first told of: more than none where work is resumed
	said     time.Time
}

// lineEvery is how often plain lines come.
const lineEvery = 5 * time.Second

// inBytes is the unit of work that is shown as sizes.
const inBytes = "bytes"

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

func (p *progress) report(u peft.Progress) {
	if u.Task != p.task {
		p.finish()
		p.task, p.began, p.from, p.said = u.Task, time.Now(), u.Done, time.Time{}
		if p.terminal {
			rate := []progressbar.Option{progressbar.OptionShowIts(), progressbar.OptionSetItsString(u.Unit)}
			if u.Unit == inBytes {
				rate = []progressbar.Option{progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true)}
			}
			p.bar = progressbar.NewOptions64(int64(u.Total), append(rate, progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(u.Task),
				progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(24))...)
		}
	}
	last := u.Total > 0 && u.Done >= u.Total
	if p.terminal {
		if u.Note != "" {
			p.bar.Describe(u.Task + " " + u.Note)
		}
		_ = p.bar.Set64(int64(u.Done)) // a bar that cannot be drawn must not end the work
		if last {
			p.finish()
		}
		return
	}
	if last || time.Since(p.said) >= lineEvery {
		p.said = time.Now()
		p.line(u)
	}
	if last {
		p.task = ""
	}
}

func (p *progress) line(u peft.Progress) {
	took := time.Since(p.began)
	count := func(n float64) string { return fmt.Sprintf("%.0f", n) }
	perSecond := func(n float64) string { return fmt.Sprintf("%.1f", n) }
	unit := " " + u.Unit
	if u.Unit == inBytes { // sizes have their unit in them
		count = func(n float64) string { return size(int64(n)) }
		perSecond, unit = count, ""
	}
	fmt.Fprintf(p.w, "%s %s", u.Task, count(float64(u.Done)))
	if u.Total > 0 {
		fmt.Fprintf(p.w, "/%s", count(float64(u.Total)))
	}
	fmt.Fprint(p.w, unit)
	if s := took.Seconds(); s > 0.5 && u.Done > p.from {
		rate := float64(u.Done-p.from) / s
		fmt.Fprintf(p.w, ", %s/s", perSecond(rate))
		if u.Total > u.Done {
			left := time.Duration(float64(u.Total-u.Done) / rate * float64(time.Second))
			fmt.Fprintf(p.w, ", %v left", left.Round(time.Second))
		}
	}
	if u.Note != "" {
		fmt.Fprintf(p.w, ", %s", u.Note)
	}
	fmt.Fprintln(p.w)
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
		fmt.Fprintln(p.w)
		p.bar = nil
	}
	p.task = ""
}
