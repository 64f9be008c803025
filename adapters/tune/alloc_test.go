package tune

import (
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/gopeft/peft/adapters/ia3"
	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/base/llama"
)

// allocated returns the bytes allocated so far by lines of this module's packages: the innermost on the stack that is not
// the standard library's. What Gorgonia allocates counts for Gorgonia, and tests do not count.
func allocated(t *testing.T) map[string]int64 {
	t.Helper()
	runtime.GC() // the profile is complete up to the last but one
	runtime.GC()
	records := make([]runtime.MemProfileRecord, 20000)
	n, ok := runtime.MemProfile(records, true)
	if !ok {
		t.Fatalf("%d places allocate", n)
	}
	bytes := map[string]int64{}
	for _, r := range records[:n] {
		frames := runtime.CallersFrames(r.Stack())
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			if first, _, ok := strings.Cut(f.Function, "/"); !ok || !strings.Contains(first, ".") {
				continue // the standard library has no host in its paths
			}
			if strings.HasPrefix(f.Function, "github.com/gopeft/peft/") && !strings.HasSuffix(f.File, "_test.go") {
				bytes[fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)] += r.AllocBytes
			}
			break
		}
	}
	return bytes
}

// TestSteadyState: outside Gorgonia steps allocate nothing that lasts or grows with the tokens. Two stretches of steps
// are compared, because what is kept between calls is lost when a measurement collects garbage, once in each of them.
func TestSteadyState(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	defer func() { runtime.MemProfileRate = rate }()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection takes what is kept between calls
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))  // what is kept is kept by each processor, and a goroutine meets another by chance
	f := newFixture(t)
	sets := map[string]*peer.Set{
		"neuron": f.set(t, "a", 0),
		"every kind": f.sited(t, "a", 0.1, append(everywhere(rank3, false, 0), at{1, llama.Beside, neck, false}, at{1, llama.Query, dora3, false}, at{1, llama.Value, ia3.Output, false},
			at{1, llama.Out, onOut, false}, at{1, llama.Gate, rank3, true}, at{1, llama.Down, ia3.Input, true}, at{2, llama.Key, rank3, true})...),
	}
	for name, set := range sets {
		t.Run(name, func(t *testing.T) { steadyState(t, f, set) })
	}
}

func steadyState(t *testing.T, f *fixture, set *peer.Set) {
	tr := f.training(t, set)
	o := options()
	const settled, short, long, windows = 60, 20, 120, 3 // steps, and how often long ones are looked at
	o.Steps, o.EvalEvery, o.CheckpointEvery = settled+short+windows*long, 0, 0
	o.Background, o.Quiet = [][]Sequence{f.sequences(4)}, 1
	var seqs []Sequence // of one length, so that nothing has to grow
	for i := range 8 {
		seqs = append(seqs, sequence(whole(ids(uint64(i), 10, f.m.Config.Vocab))))
	}
	var at []map[string]int64
	o.Progress = func(p Progress) {
		if n := p.Step - settled - short; n == -short || n >= 0 && n%long == 0 {
			at = append(at, allocated(t))
		}
	}
	if _, err := Run(ctx, f.m, tr, seqs, nil, o); err != nil {
		t.Fatal(err)
	}
	// What every step allocates shows in every window. That two goroutines want scratch of one size at once, and a second is
	// made, happens by chance in one of them.
	const most = 256 // bytes a step
	var said []string
	for i := range windows {
		sum, lines := grown(at[0], at[1], at[1+i], at[2+i])
		if sum <= most*(long-short) {
			return
		}
		said = append(said, fmt.Sprintf("%d bytes in %d steps\n%s", sum, long-short, strings.Join(lines, "\n")))
	}
	t.Error(strings.Join(said, "\n"))
}

// grown returns what was allocated more between the last two than between the first two, and where.
func grown(a, b, c, d map[string]int64) (sum int64, lines []string) {
	for line, n := range d {
		if more := (n - c[line]) - (b[line] - a[line]); more > 0 {
			sum += more
			lines = append(lines, fmt.Sprintf("%8d bytes %s", more, line))
		}
	}
	slices.Sort(lines)
	slices.Reverse(lines)
	return sum, lines
}
