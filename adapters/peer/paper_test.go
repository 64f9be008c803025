package peer

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopeft/peft/adapters/neuron"
	"github.com/gopeft/peft/base/basetest"
	"github.com/gopeft/peft/kernels"
	"github.com/gopeft/peft/retrieval"
)

// tensors reads the f32 tensors of a safetensors file.
func tensors(t *testing.T, path string) map[string][]float32 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(b)
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b[8:8+n], &raw); err != nil {
		t.Fatal(err)
	}
	data, out := b[8+n:], map[string][]float32{}
	for name, r := range raw {
		var e struct {
			Dtype       string
			DataOffsets [2]int `json:"data_offsets"`
		}
		if name == "__metadata__" {
			continue
		}
		if err := json.Unmarshal(r, &e); err != nil || e.Dtype != "F32" {
			t.Fatalf("%s: %v, type %q", name, err, e.Dtype)
		}
		for at := e.DataOffsets[0]; at < e.DataOffsets[1]; at += 4 {
			out[name] = append(out[name], math.Float32frombits(binary.LittleEndian.Uint32(data[at:])))
		}
	}
	return out
}

// The reference layer: one PEER layer as in PEER-pytorch.
const (
	paperHeads, paperTopK, paperKeys, paperDim, paperHidden, paperTokens = 3, 5, 20, 16, 48, 14
)

// paperLayer builds the router, with the reference's tensors in our order: w or its gradient g.
func paperRouterFields(queries, keys []float32) (w []float32, k [2][]float32) {
	const d, hid = paperDim, paperHidden
	for h := range paperHeads {
		for half := range 2 { // theirs: (half, head, dim)
			at := (half*paperHeads + h) * d * hid
			w = append(w, queries[at:at+d*hid]...)
		}
		for key := range paperKeys { // theirs: (head, key, half, dim)
			for half := range 2 {
				at := ((h*paperKeys+key)*2 + half) * d
				k[half] = append(k[half], keys[at:at+d]...)
			}
		}
	}
	return w, k
}

func paperTraining(t *testing.T, f map[string][]float32, threads int) (*Training, *TrainLayer) {
	t.Helper()
	l := &retrieval.Layer{
		Config: retrieval.Config{Heads: paperHeads, TopK: paperTopK, SubKeys: paperKeys, HalfDim: paperDim},
		Hidden: paperHidden, OutScale: 1, Temp: []float32{1, 1, 1}, B: make([]float32, paperHeads*2*paperDim),
	}
	l.W, l.Keys = paperRouterFields(f["w.to_queries.0.weight"], f["w.keys"])
	for half := range 2 {
		l.Bias[half] = make([]float32, paperHeads*paperKeys)
	}
	r := &retrieval.Router{Hidden: paperHidden, Layers: []*retrieval.Layer{l}}
	pool := kernels.NewPool(threads)
	t.Cleanup(pool.Close)
	set, err := NewSet(pool, "paper", neuron.GELU, r, []Placement{{Occupancy: retrieval.FullGrid(l.Cells())}}, 1, F32)
	if err != nil {
		t.Fatal(err)
	}
	rows := set.Tables[0].Rows
	for e := range rows.Len() {
		copy(rows.F32[e*rows.Width:], f["w.weight_down_embed.weight"][e*paperHidden:(e+1)*paperHidden])
		copy(rows.F32[e*rows.Width+paperHidden:], f["w.weight_up_embed.weight"][e*paperHidden:(e+1)*paperHidden])
	}
	tr, err := NewTraining(r, pool, set)
	if err != nil {
		t.Fatal(err)
	}
	tl := tr.Layer(0)
	tl.RouterGrad = l.NewGrad()
	return tr, tl
}

func near(t *testing.T, what string, got, want []float32, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= tol) {
			t.Fatalf("%s[%d] = %g, want %g", what, i, got[i], want[i])
		}
	}
}

// dense returns the gradient of all rows.
func dense(g *RowGrad, rows int) []float32 {
	d := make([]float32, rows*g.Width)
	for i, r := range g.Rows {
		copy(d[int(r)*g.Width:], g.Row(i))
	}
	return d
}

// TestPaperLayer compares the layer with its router trainable to PEER-pytorch: output, all gradients, and 8 steps of Adam.
func TestPaperLayer(t *testing.T) {
	dir := filepath.Join(basetest.Shared(t, ""), "fixtures", "peer")
	f := tensors(t, filepath.Join(dir, "peer-softmax.safetensors"))
	for _, threads := range []int{1, 2} {
		_, l := paperTraining(t, f, threads)
		y, dx := make([]float32, len(f["y"])), make([]float32, len(f["dx"]))
		if err := l.Forward(y, f["x"], paperTokens); err != nil {
			t.Fatal(err)
		}
		near(t, "y", y, f["y"], 1e-4)
		g, err := l.Backward(dx, f["dy"])
		if err != nil {
			t.Fatal(err)
		}
		near(t, "dx", dx, f["dx"], 1e-4)
		w, keys := paperRouterFields(f["g.to_queries.0.weight"], f["g.keys"])
		near(t, "dW", l.RouterGrad.W, w, 1e-4)
		near(t, "dKeys[0]", l.RouterGrad.Keys[0], keys[0], 1e-4)
		near(t, "dKeys[1]", l.RouterGrad.Keys[1], keys[1], 1e-4)
		d := dense(g, l.Table().Rows.Len())
		for e := range l.Table().Rows.Len() {
			near(t, "du", d[e*g.Width:e*g.Width+paperHidden], f["g.weight_down_embed.weight"][e*paperHidden:(e+1)*paperHidden], 1e-4)
			near(t, "dv", d[e*g.Width+paperHidden:(e+1)*g.Width], f["g.weight_up_embed.weight"][e*paperHidden:(e+1)*paperHidden], 1e-4)
		}
	}
	t.Run("Adam", func(t *testing.T) { paperSteps(t, f, dir) })
}

func paperSteps(t *testing.T, f map[string][]float32, dir string) {
	var want struct {
		Losses []float64 `json:"mse_losses_adam_lr_1e-2_dense"`
	}
	b, err := os.ReadFile(filepath.Join(dir, "peer-softmax-losses.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &want); err != nil || len(want.Losses) != 8 {
		t.Fatal(err, want)
	}
	_, l := paperTraining(t, f, 2)
	r, rows := l.Router, l.Table().Rows
	params := [][]float32{rows.F32, r.W, r.Keys[0], r.Keys[1]}
	m, v := make([][]float32, len(params)), make([][]float32, len(params))
	for i, p := range params {
		m[i], v[i] = make([]float32, len(p)), make([]float32, len(p))
	}
	target, n := f["target"], len(f["target"])
	for step, loss := range want.Losses {
		y, dx, dy := make([]float32, n), make([]float32, n), make([]float32, n)
		l.RouterGrad = r.NewGrad()
		if err := l.Forward(y, f["x"], paperTokens); err != nil {
			t.Fatal(err)
		}
		var sum float64
		for i := range y {
			d := float64(y[i] - target[i])
			sum += d * d
			dy[i] = float32(2 * d / float64(n))
		}
		if got := sum / float64(n); math.Abs(got-loss) > 1e-4 {
			t.Errorf("loss of step %d: %.6f, want %.6f", step, got, loss)
		}
		g, err := l.Backward(dx, dy)
		if err != nil {
			t.Fatal(err)
		}
		grads := [][]float32{dense(g, rows.Len()), l.RouterGrad.W, l.RouterGrad.Keys[0], l.RouterGrad.Keys[1]}
		c1, c2 := 1-math.Pow(0.9, float64(step+1)), 1-math.Pow(0.999, float64(step+1))
		for i, p := range params {
			kernels.Adam(p, grads[i], m[i], v[i], 1e-2, 0.9, 0.999, 1e-8, 0, float32(c1), float32(c2))
		}
		r.Changed()
	}
}
