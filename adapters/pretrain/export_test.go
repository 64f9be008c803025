package pretrain

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
)

// TestFileGivesTheTrainersLogits trains a little, writes every type of file and reads it back through package base.
func TestFileGivesTheTrainersLogits(t *testing.T) {
	o := tinyOptions()
	o.Steps, o.Optimizer.Decay = 20, 10
	tr, err := prepare(o, func(Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.pool.Close()
	if err := tr.train(t.Context(), func(Progress) {}); err != nil {
		t.Fatal(err)
	}
	ids := tr.held[:o.Shape.Context]
	want := logits(tr, ids)
	for typ, most := range map[gguf.Type]float64{gguf.F32: 1e-5, gguf.F16: 5e-3, gguf.BF16: 4e-2, gguf.Q8_0: 4e-2} {
		path := filepath.Join(t.TempDir(), "m.gguf")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeGGUF(f, o.About, o.Shape, tr.w, tr.tok, typ); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := base.Open(path, base.Options{})
		if err != nil {
			t.Fatalf("%v: %v", typ, err)
		}
		text := story(1)[0].Text
		if got, w := b.Tokenizer.Encode(text, false), tr.tok.Encode(text, false); !slices.Equal(got, w) {
			t.Errorf("%v: tokens %v, want %v", typ, got, w)
		}
		x, err := b.Model.Forward(llama.One(ids, nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, len(want))
		b.Model.Logits(got, x, len(ids))
		worst := 0.0
		for i, v := range got {
			worst = max(worst, math.Abs(float64(v-want[i])))
		}
		if worst > most || math.IsNaN(worst) {
			t.Errorf("%v: logits differ by %g, want at most %g", typ, worst, most)
		}
		if b.Tokenizer.BOS != 0 || !b.Tokenizer.IsEOS(0) || b.Tokenizer.IsEOS(1) {
			t.Errorf("%v: BOS %d, EOS %v", typ, b.Tokenizer.BOS, b.Tokenizer.EOS)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// logits are the trainer's own of all of ids, in f32.
func logits(t *trainer, ids []int32) []float32 {
	m, err := newModel(t.Shape, t.w, nil, nil)
	if err != nil {
		panic(err)
	}
	m.pack(0)
	if err := m.forward(ids, len(ids)); err != nil {
		panic(err)
	}
	loss := make([]float32, len(ids))
	m.head(loss, ids, false) // targets do not matter
	return slices.Clone(m.act.logits[:len(ids)*t.Shape.Vocab])
}
