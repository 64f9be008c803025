package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gopeft/peft/bench/record"
)

// median returns the middle of v, which stays as it is.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// ratios are those of two rows' values, round by round.
func ratios(a, b []float64) []float64 {
	n := min(len(a), len(b))
	v := make([]float64, n)
	for i := range v {
		v[i] = a[i] / b[i]
	}
	return v
}

// spread writes a median with the least and the most.
func spread(v []float64, format string) string {
	return fmt.Sprintf("**"+format+"** ("+format+" to "+format+")", median(v), slices.Min(v), slices.Max(v))
}

// find returns the row of that name and number of streams; one without values when there is none.
func (r *result) find(name string, streams int) row {
	for _, o := range r.Rows {
		if o.Name == name && o.Streams == streams {
			return o
		}
	}
	return row{}
}

// report writes the figures and the section.
func report(u *record.Units[result], dir string) error {
	if len(u.Done) == 0 {
		return nil
	}
	if err := u.Write(filepath.Join(dir, "serve.json")); err != nil {
		return err
	}
	var t strings.Builder
	fmt.Fprintf(&t, "## What was measured\n\nMeasured by `go run ./bench/serve` over HTTP, clients and servers on one machine (%s); raw figures in [serve.json](serve.json). Answers are greedy and of a fixed length, prompts of %d words that were not read before; what is compared was measured by turns. Values are medians of rounds; ratios are medians of the rounds' ratios, with the least and the most.\n", u.Machine, shortPrompt)
	for _, s := range []struct {
		unit  string
		write func(*strings.Builder, *result)
	}{{"streams", writeStreams}, {"llama", writeLlama}, {"sets", writeSets}, {"prompt", writePrompt}, {"job", writeJob}} {
		if r, ok := u.Done[s.unit]; ok {
			t.WriteString("\n")
			s.write(&t, &r)
		}
	}
	return record.Section(filepath.Join(dir, "serving.md"), "serve", t.String())
}

// settings says what a unit was measured on.
func (r *result) settings() string {
	return fmt.Sprintf("%s, %d threads, answers of %d tokens, activations of %d bits where nothing else is said", r.Base, r.Threads, r.Tokens, r.Activations)
}

func writeStreams(t *strings.Builder, r *result) {
	fmt.Fprintf(t, "### Answers at once\n\n%s. One answer waits for the weights to come from memory, sixteen for the processor: where memory is fast, as it is on a shared machine while its other users rest, one gains more than sixteen, and the ratio falls.\n\n| model | streams | tokens/s | against one stream | first token, ms |\n|---|---|---|---|---|\n", r.settings())
	for _, o := range r.Rows {
		v, one := o.Values[tokensASecond], r.find(o.Name, 1).Values[tokensASecond]
		fmt.Fprintf(t, "| %s | %d | %.0f | %s | %.0f |\n", o.Name, o.Streams, median(v), spread(ratios(v, one), "%.2f"), 1000*median(o.Values["first token, s"]))
	}
}

func writeLlama(t *strings.Builder, r *result) {
	fmt.Fprintf(t, "### Beside llama.cpp's server\n\n%s, %d threads, answers of %d tokens. llama-server of %s, built for this machine (`bench/peers/llama-server.sh`), `%s`; it has activations of 8 bits. The same file, prompts and client.\n\n", r.Base, r.Threads, r.Tokens, r.Peer, r.Flags)
	fmt.Fprintf(t, "| | streams | llama-server, tokens/s | peft, tokens/s | ratio | first token, ms: llama-server and peft |\n|---|---|---|---|---|---|\n")
	for _, o := range r.Rows {
		if o.Name == "llama.cpp" {
			continue
		}
		a, b := r.find("llama.cpp", o.Streams).Values, o.Values
		fmt.Fprintf(t, "| %s | %d | %.0f | %.0f | %s | %.0f and %.0f |\n", o.Name, o.Streams, median(a[tokensASecond]), median(b[tokensASecond]), spread(ratios(b[tokensASecond], a[tokensASecond]), "%.2f"),
			1000*median(a["first token, s"]), 1000*median(b["first token, s"]))
	}
}

func writeSets(t *strings.Builder, r *result) {
	fmt.Fprintf(t, "### %d sets more\n\n%s. One server on a registry of %d sets, one on a copy of it with %d more, which are copies of these under other names. Change of the rate of answers with one set, and with `auto`, where every set's gate is asked:\n\n", r.Added, r.settings(), r.Sets, r.Added)
	fmt.Fprintf(t, "| model | streams | few, tokens/s | many, tokens/s | change | first token, ms: few and many |\n|---|---|---|---|---|---|\n")
	for _, name := range []string{"a set", "auto"} {
		for _, n := range []int{1, 16} {
			a, b := r.find(name+", of few", n).Values, r.find(name+", of many", n).Values
			change := ratios(b[tokensASecond], a[tokensASecond])
			for i := range change {
				change[i] = 100 * (change[i] - 1)
			}
			fmt.Fprintf(t, "| %s | %d | %.0f | %.0f | %s %% | %.0f and %.0f |\n", name, n, median(a[tokensASecond]), median(b[tokensASecond]), spread(change, "%+.1f"),
				1000*median(a["first token, s"]), 1000*median(b["first token, s"]))
		}
	}
}

func writePrompt(t *strings.Builder, r *result) {
	peer := ""
	if r.Peer != "" {
		peer = " llama.cpp is the server of " + r.Peer + ", `" + r.Flags + "`, with its own sizes."
	}
	fmt.Fprintf(t, "### A long prompt beside a stream\n\n%s, %d threads. A prompt of %d words comes while one answer is being written; its parts are what `--batch-tokens` says, the last size takes it whole.%s In ms:\n\n", r.Base, r.Threads, longPrompt, peer)
	fmt.Fprintf(t, "| server | first token with nobody beside | first token beside a stream | the stream's longest gap before | and meanwhile | its tokens/s meanwhile |\n|---|---|---|---|---|---|\n")
	for _, o := range r.Rows {
		fmt.Fprintf(t, "| %s |", o.Name)
		for _, c := range []string{"first token alone, s", "first token, s", "longest gap before, s", "longest gap meanwhile, s"} {
			fmt.Fprintf(t, " %.0f |", 1000*median(o.Values[c]))
		}
		fmt.Fprintf(t, " %.1f |\n", median(o.Values["tokens/s meanwhile"]))
	}
}

func writeJob(t *strings.Builder, r *result) {
	fmt.Fprintf(t, "### Training beside answers\n\n%s. %d clients, each asking again at once, of a set each; the job trains another set in steps of %d tokens, and waits between steps while requests are answered, but for a tenth of the time.\n\n", r.settings(), jobStreams, stepTokens)
	fmt.Fprintf(t, "| | tokens/s | first token, ms | median gap, ms | 99 %% of gaps up to, ms | longest gap, ms | steps a minute |\n|---|---|---|---|---|---|---|\n")
	for _, o := range r.Rows {
		fmt.Fprintf(t, "| %s |", o.Name)
		for _, c := range []struct {
			column string
			times  float64
		}{{tokensASecond, 1}, {"first token, s", 1000}, {"median gap, s", 1000}, {"99 % of gaps, s", 1000}, {"longest gap, s", 1000}, {"steps a minute", 1}} {
			if v := o.Values[c.column]; len(v) > 0 {
				fmt.Fprintf(t, " %.1f |", c.times*median(v))
			} else {
				t.WriteString(" |")
			}
		}
		t.WriteString("\n")
	}
	if v := ratios(r.find("answers beside training", jobStreams).Values[tokensASecond], r.find("answers alone", jobStreams).Values[tokensASecond]); len(v) > 0 {
		fmt.Fprintf(t, "\nBeside training, answers have %s of their rate alone.\n", spread(v, "%.2f"))
	}
}
