package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft/kernels"
)

// benchmark is one thing that peft bench measures.
type benchmark struct {
	name, usage string
	run         func(c *cli.Context) (*report, error)
}

func benchmarks() []benchmark {
	return []benchmark{
		{"machine", "this machine's limits: multiply-adds and memory", benchMachine},
		{"kernels", "packed products against the multiply-add peak measured beside them", benchKernels},
		{"start", "seconds from starting this program to the first token it generates with a trained set, and its memory then", benchStart},
		{"decode", "tokens a second of the base alone and with a set that has an expert in every cell", benchDecode},
		{"prefill", "tokens a second of a prompt, likewise", benchPrefill},
		{"finetune", "tokens a second of training the default set", benchFinetune},
		{"serve", "tokens a second of 1, 4 and 16 answers at once, with different sets", benchServe},
		{"registry", "a million experts added and read, against writing the same bytes to a file", benchRegistry},
		{"retrieval", "one PEER layer at 4,096, 65,536 and 1,048,576 experts", benchRetrieval},
		{"topk", "the 16 best of 1,048,576 product keys, against looking at all", benchTopK},
	}
}

func benchCommand() *cli.Command {
	cmd := &cli.Command{Name: "bench", Usage: "measure this machine and this program on it", ArgsUsage: "WHAT",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "rounds", Value: 7, Usage: "rounds that a median is taken of", DefaultText: "7, of registry 3"},
			&cli.BoolFlag{Name: "paced", Usage: "wait for a line on standard input before each round and print {\"value\"} after it, so that another program can be measured in between"},
			&cli.IntFlag{Name: "sub-keys", Usage: "n of the n × n cells: of decode's and prefill's router, or the only one that retrieval measures"},
			&cli.IntFlag{Name: "tokens", Usage: "the only number of tokens that retrieval measures"},
			&cli.StringFlag{Name: "only", Usage: "base or set: the only one that decode and prefill measure; file or add: of registry"},
			&cli.StringFlag{Name: "precision", Usage: "of finetune: int8, bf16 or f32"},
			&cli.StringFlag{Name: "kind", Usage: "`KIND` of the experts that decode, prefill and finetune measure", DefaultText: "neuron"},
			&cli.IntFlag{Name: "rank", Usage: "`R` of those of lora and bottleneck"},
			&cli.StringFlag{Name: "targets", Usage: "`SITES` of theirs"},
			&cli.StringFlag{Name: "data", Usage: "`FILE` that finetune learns", DefaultText: "a short text, repeated"},
		}}
	for _, b := range benchmarks() {
		cmd.Description += fmt.Sprintf("%-10s %s\n", b.name, b.usage)
	}
	cmd.Action = func(c *cli.Context) error {
		if err := want(c, "WHAT"); err != nil {
			return err
		}
		if c.Int("rounds") < 1 {
			return usagef("bench: --rounds %d, want at least 1", c.Int("rounds"))
		}
		for _, b := range benchmarks() {
			if b.name == c.Args().First() {
				r, err := b.run(c)
				if err != nil {
					return err
				}
				r.Machine = machine()
				return result(c, r, r.print)
			}
		}
		return usagef("bench: no measurement %q; there are:\n%s", c.Args().First(), cmd.Description)
	}
	return cmd
}

// rounds measures as often as --rounds says and returns what f returned, with --paced one round for each line of input.
func rounds(c *cli.Context, f func() (float64, error)) ([]float64, error) {
	var v []float64
	lines := bufio.NewScanner(c.App.Reader)
	for range c.Int("rounds") {
		if c.Bool("paced") && !lines.Scan() {
			break
		}
		x, err := f()
		if err != nil {
			return nil, err
		}
		if c.Bool("paced") {
			fmt.Fprintf(c.App.Writer, "{\"value\":%g}\n", x)
		}
		v = append(v, x)
	}
	if len(v) == 0 {
		return nil, errors.New("bench: not one round")
	}
	return v, nil
}

// report is what a benchmark found, as a table.
type report struct {
	Machine string   `json:"machine"`
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
	Notes   []string `json:"notes,omitempty"`
}

func (r *report) add(cells ...any) { r.Rows = append(r.Rows, cells) }

func (r *report) print(w io.Writer) {
	fmt.Fprintln(w, r.Machine)
	widths := make([]int, len(r.Columns))
	text := [][]string{r.Columns}
	for _, row := range r.Rows {
		var cells []string
		for _, v := range row {
			if f, ok := v.(float64); ok {
				v = fmt.Sprintf("%.4g", f)
			}
			cells = append(cells, fmt.Sprint(v))
		}
		text = append(text, cells)
	}
	for _, row := range text {
		for i, c := range row {
			widths[i] = max(widths[i], len([]rune(c)))
		}
	}
	for _, row := range text {
		for i, c := range row {
			fmt.Fprintf(w, "%*s  ", widths[i], c)
		}
		fmt.Fprintln(w)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, n)
	}
}

func machine() string {
	return fmt.Sprintf("%s/%s, %d processors, kernels %v, bf16 products in hardware: %v, of codes: %v, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), kernels.Active(), kernels.HasBF16(), kernels.HasVNNI(), runtime.Version())
}

// median calls f rounds times and returns the median of what it returns.
func median(rounds int, f func() float64) float64 {
	v := make([]float64, rounds)
	for i := range v {
		v[i] = f()
	}
	return middle(v)
}

// middle returns the median of v, which it sorts.
func middle(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// seconds calls f once.
func seconds(f func()) float64 {
	t := time.Now()
	f()
	return time.Since(t).Seconds()
}

const peakTime = 20 * time.Millisecond

func benchMachine(c *cli.Context) (*report, error) {
	r := &report{Columns: []string{"limit", "one thread", "unit"}}
	r.add("f32 multiply-add", median(c.Int("rounds"), func() float64 { return kernels.PeakF32(peakTime) / 1e9 }), "GFLOP/s")
	r.add("bf16 multiply-add", median(c.Int("rounds"), func() float64 { return kernels.PeakBF16(peakTime) / 1e9 }), "GFLOP/s")
	r.add("int8 multiply-add", median(c.Int("rounds"), func() float64 { return kernels.PeakInt8(peakTime) / 1e9 }), "GOP/s")
	r.add("memory read", median(c.Int("rounds"), func() float64 { return kernels.ReadBandwidth(peakTime) / 1e9 }), "GB/s")
	return r, nil
}

func benchKernels(c *cli.Context) (*report, error) {
	r := &report{Columns: []string{"product", "precision", "threads", "GFLOP/s or GOP/s", "peak of one thread", "share of the threads' peak"},
		Notes: []string{"The peak is measured before each product, so that both see the same machine; medians of shares."}}
	rnd := rand.New(rand.NewPCG(1, 1))
	fill := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = rnd.Float32() - 0.5
		}
		return x
	}
	for _, s := range [][3]int{{256, 1536, 576}, {256, 576, 1536}, {256, 576, 576}, {1024, 3072, 576}, {1, 1536, 576}} {
		m, n, k := s[0], s[1], s[2]
		x, y, w := fill(m*k), make([]float32, m*n), fill(n*k)
		for _, prec := range []kernels.Precision{kernels.F32, kernels.BF16, kernels.Int8} {
			peak := map[kernels.Precision]func(time.Duration) float64{kernels.F32: kernels.PeakF32, kernels.BF16: kernels.PeakBF16, kernels.Int8: kernels.PeakInt8}[prec]
			if peak(time.Millisecond) == 0 {
				continue
			}
			product, err := benchProduct(rand.NewChaCha8([32]byte{}), w, n, k, prec)
			if err != nil {
				return nil, err
			}
			for _, threads := range []int{1, c.Int("threads")} {
				if threads == 1 && r.has(m, n, k, prec) {
					continue
				}
				pool := kernels.NewPool(threads)
				calls := max(1, int(1e8/float64(m*n*k)))
				var rate, top float64
				share := median(c.Int("rounds"), func() float64 {
					top = peak(peakTime)
					t := seconds(func() {
						for range calls {
							product(pool, y, x, m)
						}
					})
					rate = 2 * float64(m) * float64(n) * float64(k) * float64(calls) / t
					return rate / (top * float64(threads))
				})
				pool.Close()
				r.add(label(m, n, k), prec.String(), threads, rate/1e9, top/1e9, share)
			}
		}
	}
	return r, nil
}

// benchProduct returns the product with w: [n, k], packed for the precision; for Int8 with codes of 4 bits instead of w.
func benchProduct(rnd *rand.ChaCha8, w []float32, n, k int, prec kernels.Precision) (func(p *kernels.Pool, y, x []float32, m int), error) {
	if prec != kernels.Int8 {
		packed := kernels.PackNT(nil, w, n, k, prec)
		return func(p *kernels.Pool, y, x []float32, m int) { kernels.MulPacked(p, y, x, m, packed, false) }, nil
	}
	scale := make([]uint16, k/32)
	kernels.ToF16(scale, w[:len(scale)])
	codes := &kernels.Codes{N: n, K: k, Bits: 4, Row: func(_ int, d, m []uint16, code []byte) error {
		copy(d, scale)
		copy(m, scale)
		_, _ = rnd.Read(code)
		return nil
	}}
	coded, err := kernels.PackCodes(nil, codes)
	return func(p *kernels.Pool, y, x []float32, m int) { kernels.MulCodedHigh(p, y, x, m, coded, false) }, err
}

func label(m, n, k int) string { return fmt.Sprintf("[%d,%d]·[%d,%d]ᵀ", m, k, n, k) }

func (r *report) has(m, n, k int, prec kernels.Precision) bool {
	for _, row := range r.Rows {
		if row[0] == label(m, n, k) && row[1] == prec.String() && row[2] == 1 {
			return true
		}
	}
	return false
}
