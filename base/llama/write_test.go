package llama_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gopeft/peft/base/gguf"
	"github.com/gopeft/peft/base/llama"
	"github.com/gopeft/peft/base/llama/llamatest"
	"github.com/gopeft/peft/base/safetensors"
)

// TestWrite: a model that is written and read again has the same configuration and weights, up to the element type.
func TestWrite(t *testing.T) {
	c := llamatest.Config()
	untied := c
	untied.Tied, untied.Hidden, untied.RopeTheta = false, 32, 50000
	scaled := c
	scaled.RopeScaling = &llama.RopeScaling{Factor: 8, LowFreq: 1, HighFreq: 4, OriginalMax: 64}
	all := llamatest.Families()
	all["untied"], all["scaled"] = untied, scaled
	for name, want := range all {
		src := llamatest.Random(want, 5)
		same := func(t *testing.T, got, want llama.Config, read llama.Source, tol float64) {
			t.Helper()
			if !reflect.DeepEqual(got, want) {
				t.Errorf("configuration %+v, want %+v", got, want)
			}
			for _, w := range want.Weights() {
				x, shape, err := read.Tensor(w.Name)
				if d := maxDiff(x, src[w.Name].Data); err != nil || !slices.Equal(shape, w.Shape) || !(d <= tol) {
					t.Errorf("%s: shape %v, %g away: %v", w.Name, shape, d, err)
				}
			}
		}
		for typ, tol := range map[gguf.Type]float64{gguf.F32: 0, gguf.F16: 2e-3, gguf.Q8_0: 2e-2} {
			t.Run(name+"/GGUF "+typ.String(), func(t *testing.T) {
				want := want
				if h := holds(want); !reflect.DeepEqual(h, want) {
					if _, err := want.GGUF(); !errors.Is(err, llama.ErrUnsupported) {
						t.Errorf("what no key holds is written: %v", err)
					}
					want = h
				}
				meta, err := want.GGUF()
				if err != nil {
					t.Fatal(err)
				}
				var b bytes.Buffer
				if err := llama.WriteGGUF(&b, &want, src, append(meta, gguf.KV{Key: "general.file_type", Value: uint32(3)}), typ); err != nil {
					t.Fatal(err)
				}
				f, err := gguf.Parse(b.Bytes())
				if err != nil {
					t.Fatal(err)
				}
				got, err := llama.ConfigFromGGUF(f)
				if err != nil {
					t.Fatal(err)
				}
				if name == "scaled" {
					if _, err := got.HF("F32"); len(got.RopeDivisors) != want.HeadDim/2 || !errors.Is(err, llama.ErrUnsupported) {
						t.Errorf("divisors %v: %v", got.RopeDivisors, err)
					}
					want.RopeDivisors, want.RopeScaling = got.RopeDivisors, nil
				}
				same(t, got, want, llama.FromGGUF(f, got), tol)
				kind := typ
				if typ == gguf.Q8_0 && want.Hidden%32 != 0 {
					kind = gguf.F16
				}
				if i, _ := f.Info("blk.1.ffn_up.weight"); i.Type != kind {
					t.Errorf("matrices are %v, want %v", i.Type, kind)
				}
			})
		}
		for typ, tol := range map[string]float64{"F32": 0, "F16": 2e-3, "BF16": 2e-2} {
			t.Run(name+"/"+typ, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "model.safetensors")
				w, err := os.Create(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(llama.WriteSafetensors(w, &want, src, typ), w.Close()); err != nil {
					t.Fatal(err)
				}
				f, err := safetensors.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				config, err := want.HF(typ)
				if err != nil {
					t.Fatal(err)
				}
				got, err := llama.ConfigFromHF(config)
				if err != nil {
					t.Fatal(err)
				}
				if want.Family == llama.Gemma2 { // norms are stored less 1
					tol = max(tol, 1e-6)
				}
				same(t, got, want, llama.FromSafetensors(f, got), tol)
			})
		}
	}
}

func TestWriteErrors(t *testing.T) {
	c := llamatest.Config()
	src := llamatest.Random(c, 5)
	if err := llama.WriteGGUF(new(bytes.Buffer), &c, src, nil, gguf.Q4K); !errors.Is(err, llama.ErrUnsupported) {
		t.Error(err)
	}
	if _, err := c.HF("I8"); !errors.Is(err, llama.ErrUnsupported) {
		t.Error(err)
	}
	delete(src, "model.layers.2.mlp.up_proj.weight")
	for name, err := range map[string]error{
		"GGUF":        llama.WriteGGUF(new(bytes.Buffer), &c, src, nil, gguf.F16),
		"safetensors": llama.WriteSafetensors(new(bytes.Buffer), &c, src, "F16"),
	} {
		if !errors.Is(err, llama.ErrWeights) || !strings.Contains(err.Error(), "layers.2.mlp.up_proj") {
			t.Errorf("%s without a weight: %v", name, err)
		}
	}
}
