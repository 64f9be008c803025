package gguf

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

// TestDequantise compares every type with what ggml's own package reads in the same bytes (testdata/make.py).
func TestDequantise(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "dequant.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string]struct{ Raw, Values string }
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	for typ, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			g, ok := golden[typ.String()]
			if !ok {
				t.Fatal("no reference")
			}
			raw, err := base64.StdEncoding.DecodeString(g.Raw)
			if err != nil {
				t.Fatal(err)
			}
			values, err := base64.StdEncoding.DecodeString(g.Values)
			if err != nil {
				t.Fatal(err)
			}
			blocks := len(raw) / l.bytes
			if blocks < 2 || len(values) != 4*blocks*l.block {
				t.Fatalf("%d blocks, %d bytes of values", blocks, len(values))
			}
			got := make([]float32, l.block)
			for b := range blocks {
				l.dequant(got, raw[b*l.bytes:(b+1)*l.bytes])
				for i, v := range got {
					want := math.Float32frombits(le.Uint32(values[4*(b*l.block+i):]))
					nan := v != v && want != want
					if d := math.Abs(float64(v - want)); !nan && v != want && !(d <= 1e-6*(1+math.Abs(float64(want)))) {
						t.Fatalf("block %d, value %d: %g, want %g", b, i, v, want)
					}
				}
			}
		})
	}
}

// TestQuantise compares every type that is written with the bytes that ggml's own package makes of the same values.
func TestQuantise(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "quantise.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string][]byte
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	x := make([]float32, len(golden["F32"])/4)
	layouts[F32].widen(x, golden["F32"])
	if len(x) < 256 {
		t.Fatalf("%d values", len(x))
	}
	for _, typ := range []Type{F32, F16, BF16, Q8_0} {
		got, want := quantise(nil, x, typ), golden[typ.String()]
		if len(got) != len(want) {
			t.Fatalf("%v: %d bytes, want %d", typ, len(got), len(want))
		}
		size := layouts[typ].bytes
		for i := 0; i < len(got); i += size {
			if !slices.Equal(got[i:i+size], want[i:i+size]) {
				t.Errorf("%v: block %d is %v, want %v", typ, i/size, got[i:i+size], want[i:i+size])
			}
		}
	}
}

// TestMixed reads a file that ggml's own package wrote.
func TestMixed(t *testing.T) {
	f, err := Open(filepath.Join("testdata", "mixed.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	for key, want := range map[string]any{
		"general.architecture": "llama", "a.u8": uint8(200), "a.i8": int8(-100), "a.u16": uint16(60000), "a.i16": int16(-30000), "a.u32": uint32(4000000000),
		"a.i32": int32(-2000000000), "a.u64": uint64(1 << 60), "a.i64": int64(-(1 << 60)), "a.f32": float32(1.5), "a.f64": 2.25, "a.bool": true, "a.string": "süß",
	} {
		if got := f.Meta[key]; got != want {
			t.Errorf("%s: %v (%T), want %v (%T)", key, got, got, want, want)
		}
	}
	if v, err := Get[[]string](f, "a.strings"); err != nil || !slices.Equal(v, []string{"x", "", "yz"}) {
		t.Error(v, err)
	}
	if v, err := Get[[]int32](f, "a.ints"); err != nil || !slices.Equal(v, []int32{1, -2, 3}) {
		t.Error(v, err)
	}
	if v, err := Get[[]float32](f, "a.floats"); err != nil || !slices.Equal(v, []float32{0.5, -1.5}) {
		t.Error(v, err)
	}
	if v, err := Get[[]bool](f, "a.bools"); err != nil || !slices.Equal(v, []bool{true, false}) {
		t.Error(v, err)
	}
	// the step between two values a type can tell apart, over numbers from -13 to 15
	for typ, step := range map[Type]float64{F32: 0, F16: 0.01, BF16: 0.1, Q8_0: 0.13, Q4_0: 2, Q4_1: 1, Q5_0: 1, Q5_1: 0.5} {
		v, shape, err := f.Tensor("w." + typ.String())
		if err != nil || !slices.Equal(shape, []int{3, 64}) {
			t.Fatal(typ, shape, err)
		}
		for i, x := range v {
			if want := float64(i-90) / 7; math.Abs(float64(x)-want) > step+1e-6 {
				t.Fatalf("%v: value %d is %g, want %g", typ, i, x, want)
			}
		}
	}
	if len(f.Tensors()) != 8 {
		t.Errorf("%d tensors", len(f.Tensors()))
	}
}

// TestRewrite writes the metadata of a file that ggml's own package wrote, which has every type.
func TestRewrite(t *testing.T) {
	f, err := Open(filepath.Join("testdata", "mixed.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var meta []KV
	for k, v := range f.Meta {
		meta = append(meta, KV{k, v})
	}
	var b bytes.Buffer
	if err := Write(&b, meta, nil); err != nil {
		t.Fatal(err)
	}
	g, err := Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Meta) < 17 || !reflect.DeepEqual(g.Meta, f.Meta) {
		t.Errorf("%v, want %v", g.Meta, f.Meta)
	}
}
