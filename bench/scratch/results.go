package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/gopeft/peft/adapters/pretrain"
)

const resultName = "scratch.json"

// result is one model after training.
type result struct {
	Experiment  string           `json:"experiment"`
	Shape       string           `json:"shape"`
	Model       string           `json:"model"`
	Experts     int              `json:"experts,omitempty"` // of a layer
	Seed        uint64           `json:"seed"`
	BatchTokens int              `json:"batch_tokens"`
	FFN         int              `json:"dense_ffn"` // width of dense layers, where there are any
	ExpertLR    float32          `json:"expert_lr"`
	Instead     pretrain.Instead `json:"instead,omitzero"`
	pretrain.Result
	Curve []point `json:"curve"`
}

// point is the held-out perplexity after so many tokens; before the last, of a part of the held-out text.
type point struct {
	Tokens     int     `json:"tokens"`
	Perplexity float64 `json:"perplexity"`
}

// resultFile is scratch.json.
type resultFile struct {
	Machine string   `json:"machine"`
	Runs    []result `json:"runs"`
}

func (f *resultFile) read(path string) error {
	f.Machine = fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	machine := f.Machine
	if err := json.Unmarshal(b, f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	f.Machine = machine
	return nil
}

// put replaces the run of the same model and seed. Runs of other lengths are no comparison: they go.
func (f *resultFile) put(r result) {
	f.Runs = slices.DeleteFunc(f.Runs, func(o result) bool {
		same := o.Experiment == r.Experiment && o.Shape == r.Shape
		return same && (o.Steps != r.Steps || (o.Model == r.Model && o.Seed == r.Seed))
	})
	f.Runs = append(f.Runs, r)
}

// write writes the figures, the plots and the section of learning.md.
func (f *resultFile) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, resultName), append(b, '\n'), 0o644); err != nil {
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "## From scratch: PEER, a mixture, a memory and dense layers\n\nMeasured by `go run ./bench/scratch` (%s) on the documentation in the Go distribution; raw figures in [scratch.json](scratch.json). Perplexity is that of held-out documents, mean over the seeds and, of several, the standard deviation; FLOPs are those of one token's forward.\n", f.Machine)
	for _, g := range f.groups() {
		file := fmt.Sprintf("scratch-%s-%s.svg", g.experiment, g.shape)
		if err := g.plot(filepath.Join(dir, file)); err != nil {
			return err
		}
		text.WriteString(g.table(file))
	}
	return section(filepath.Join(dir, "learning.md"), text.String())
}

// group is the runs of one experiment with one shape.
type group struct {
	experiment, shape string
	models            [][]result // of each model, its seeds
}

func (f *resultFile) groups() []group {
	var all []group
	for _, r := range f.Runs {
		i := slices.IndexFunc(all, func(g group) bool { return g.experiment == r.Experiment && g.shape == r.Shape })
		if i < 0 {
			i = len(all)
			all = append(all, group{experiment: r.Experiment, shape: r.Shape})
		}
		g := &all[i]
		j := slices.IndexFunc(g.models, func(m []result) bool { return m[0].Model == r.Model })
		if j < 0 {
			j = len(g.models)
			g.models = append(g.models, nil)
		}
		g.models[j] = append(g.models[j], r)
	}
	slices.SortFunc(all, func(a, b group) int {
		return cmp.Or(cmp.Compare(b.experiment, a.experiment), cmp.Compare(a.shape, b.shape)) // variants first
	})
	return all
}

// Marks around the section that belongs to this program.
const begin, end = "<!-- scratch: written by bench/scratch -->", "<!-- scratch: end -->"

// section replaces this program's part of a Markdown file, or puts it at the end.
func section(path, text string) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		old = []byte("# What was learned\n")
	} else if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), begin)
	_, after, closed := strings.Cut(rest, end)
	if found != closed {
		return fmt.Errorf("%s has only one of the marks %q and %q", path, begin, end)
	}
	if !found {
		before, after = strings.TrimRight(before, "\n")+"\n\n", "\n"
	}
	return os.WriteFile(path, []byte(before+begin+"\n\n"+text+"\n"+end+after), 0o644)
}
