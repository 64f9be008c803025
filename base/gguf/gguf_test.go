package gguf

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// sample is a small file with a key and a tensor.
func sample(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	err := Write(&b, []KV{{"general.architecture", "llama"}, {"list", []string{"a", "b"}}},
		[]Tensor{{Name: "w", Shape: []int{2, 32}, Type: F32, Data: make([]float32, 64)}, {Name: "v", Shape: []int{32}, Type: Q8_0, Data: make([]float32, 32)}})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, cols := rapid.IntRange(1, 4).Draw(t, "rows"), 32*rapid.IntRange(1, 3).Draw(t, "blocks")
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		values := make([]float32, rows*cols)
		for i := range values {
			values[i] = float32(rnd.NormFloat64() * math.Exp(6*rnd.NormFloat64()))
			if rnd.IntN(10) == 0 || math.Abs(float64(values[i])) > 60000 { // the largest half is 65504
				values[i] = 0
			}
		}
		text := rapid.String().Draw(t, "text")
		meta := []KV{
			{"s", text}, {"u", uint32(7)}, {"i", int32(-7)}, {"l", uint64(1 << 40)}, {"f", float32(0.5)}, {"b", true}, {"n", false},
			{"ss", []string{text, ""}}, {"is", []int32{-1, 2}}, {"fs", []float32{1, -2}},
		}
		types := []Type{F32, F16, BF16, Q8_0}
		var tensors []Tensor
		for _, typ := range types {
			tensors = append(tensors, Tensor{Name: typ.String(), Shape: []int{rows, cols}, Type: typ, Data: values})
		}
		var b bytes.Buffer
		if err := Write(&b, meta, tensors); err != nil {
			t.Fatal(err)
		}
		f, err := Parse(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range meta[:7] {
			if f.Meta[kv.Key] != kv.Value {
				t.Fatalf("%s: %v, want %v", kv.Key, f.Meta[kv.Key], kv.Value)
			}
		}
		if s, err := Get[[]string](f, "ss"); err != nil || !slices.Equal(s, []string{text, ""}) {
			t.Fatal(s, err)
		}
		for _, typ := range types {
			got, shape, err := f.Tensor(typ.String())
			if err != nil || !slices.Equal(shape, []int{rows, cols}) {
				t.Fatal(shape, err)
			}
			for i, v := range got {
				want, tol := float64(values[i]), 0.0
				switch typ {
				case F16:
					tol = math.Abs(want)/2048 + 1e-7
				case BF16:
					tol = math.Abs(want)/256 + 1e-38
				case Q8_0:
					var largest float64
					for _, x := range values[i/32*32 : i/32*32+32] {
						largest = max(largest, math.Abs(float64(x)))
					}
					tol = largest/127*(0.5+127.0/2048) + 1e-5
				}
				if math.Abs(float64(v)-want) > tol {
					t.Fatalf("%v: value %d is %g, want %g within %g", typ, i, v, want, tol)
				}
			}
		}
	})
}

func TestWriteErrors(t *testing.T) {
	for name, c := range map[string]struct {
		meta []KV
		t    Tensor
	}{
		"shape":        {nil, Tensor{Name: "w", Shape: []int{3}, Type: F32, Data: make([]float32, 4)}},
		"rows":         {nil, Tensor{Name: "w", Shape: []int{4}, Type: Q8_0, Data: make([]float32, 4)}},
		"type":         {nil, Tensor{Name: "w", Shape: []int{256}, Type: Q4K, Data: make([]float32, 256)}},
		"dimension":    {nil, Tensor{Name: "w", Shape: []int{-2, -2}, Type: F32, Data: make([]float32, 4)}},
		"empty":        {nil, Tensor{Name: "w", Shape: []int{0}, Type: F32}},
		"five":         {nil, Tensor{Name: "w", Shape: []int{1, 1, 1, 1, 1}, Type: F32, Data: make([]float32, 1)}},
		"half":         {nil, Tensor{Name: "w", Shape: []int{1}, Type: F16, Data: []float32{1e6}}},
		"not a number": {nil, Tensor{Name: "w", Shape: []int{32}, Type: Q8_0, Data: append(make([]float32, 31), float32(math.NaN()))}},
		"key twice":    {[]KV{{"x", true}, {"x", true}}, Tensor{Name: "w", Shape: []int{1}, Type: F32, Data: make([]float32, 1)}},
		"alignment":    {[]KV{{"general.alignment", uint32(64)}}, Tensor{Name: "w", Shape: []int{1}, Type: F32, Data: make([]float32, 1)}},
		"value":        {[]KV{{"x", 7}}, Tensor{Name: "w", Shape: []int{4}, Type: F32, Data: make([]float32, 4)}},
	} {
		if err := Write(new(bytes.Buffer), c.meta, []Tensor{c.t}); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	twice := Tensor{Name: "w", Shape: []int{1}, Type: F32, Data: make([]float32, 1)}
	if err := Write(new(bytes.Buffer), nil, []Tensor{twice, twice}); err == nil {
		t.Error("a tensor given twice passes")
	}
	if err := Write(failing{}, nil, []Tensor{{Name: "w", Shape: []int{4}, Type: F32, Data: make([]float32, 4)}}); !errors.Is(err, errDisk) {
		t.Error(err)
	}
}

var errDisk = errors.New("disk full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errDisk }

// hostile builds a file by hand.
type hostile struct{ b []byte }

func file(tensors, keys uint64) *hostile {
	return (&hostile{[]byte("GGUF")}).u32(3).u64(tensors).u64(keys)
}

func (h *hostile) u32(v uint32) *hostile { h.b = le.AppendUint32(h.b, v); return h }
func (h *hostile) u64(v uint64) *hostile { h.b = le.AppendUint64(h.b, v); return h }

func (h *hostile) str(s string) *hostile {
	h.u64(uint64(len(s)))
	h.b = append(h.b, s...)
	return h
}

func (h *hostile) tensor(name string, typ Type, off uint64, dims ...uint64) *hostile {
	h.str(name).u32(uint32(len(dims)))
	for _, d := range dims {
		h.u64(d)
	}
	return h.u32(uint32(typ)).u64(off)
}

// pad adds n zero bytes.
func (h *hostile) pad(n int) []byte { return append(h.b, make([]byte, n)...) }

func TestHostile(t *testing.T) {
	const huge = 1<<64 - 1
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"empty":                   {nil, ErrCorrupt},
		"other magic":             {[]byte("GGML\x03\x00\x00\x00aaaaaaaaaaaaaaaaaaaaaaa"), ErrCorrupt},
		"version 1":               {(&hostile{[]byte("GGUF")}).u32(1).u64(0).u64(0).b, ErrUnsupported},
		"big-endian":              {[]byte("GGUF\x00\x00\x00\x03aaaaaaaaaaaaaaaaaaaaaaa"), ErrUnsupported},
		"tensors past the end":    {file(huge, 0).pad(100), ErrCorrupt},
		"keys past the end":       {file(0, huge).pad(100), ErrCorrupt},
		"key longer than file":    {file(0, 1).u64(huge).pad(100), ErrCorrupt},
		"string longer than file": {file(0, 1).str("k").u32(tString).u64(1 << 40).pad(100), ErrCorrupt},
		"array longer than file":  {file(0, 1).str("k").u32(tArray).u32(tU8).u64(1 << 62).pad(100), ErrCorrupt},
		"array of unknown type":   {file(0, 1).str("k").u32(tArray).u32(99).u64(1).pad(100), ErrUnsupported},
		"unknown metadata type":   {file(0, 1).str("k").u32(99).pad(100), ErrUnsupported},
		"nested arrays":           {nested(file(0, 1).str("k").u32(tArray), 50).pad(100), ErrCorrupt},
		"key twice":               {file(0, 2).str("k").u32(tU32).u32(1).str("k").u32(tU32).u32(1).pad(100), ErrCorrupt},
		"alignment 0":             {file(0, 1).str("general.alignment").u32(tU32).u32(0).pad(100), ErrCorrupt},
		"alignment a string":      {file(0, 1).str("general.alignment").u32(tString).str("x").pad(100), ErrCorrupt},
		"no dimension":            {file(1, 0).tensor("w", F32, 0).pad(100), ErrCorrupt},
		"five dimensions":         {file(1, 0).tensor("w", F32, 0, 1, 1, 1, 1, 1).pad(100), ErrCorrupt},
		"dimension 0":             {file(1, 0).tensor("w", F32, 0, 4, 0).pad(100), ErrCorrupt},
		"product overflows":       {file(1, 0).tensor("w", F32, 0, 1<<33, 1<<33).pad(100), ErrCorrupt},
		"bytes overflow":          {file(1, 0).tensor("w", F32, 0, 1<<60).pad(100), ErrCorrupt},
		"dimension negative":      {file(1, 0).tensor("w", F32, 0, huge).pad(100), ErrCorrupt},
		"past the end":            {file(1, 0).tensor("w", F32, 0, 1000).pad(100), ErrCorrupt},
		"offset past the end":     {file(1, 0).tensor("w", F32, 1<<40, 1).pad(100), ErrCorrupt},
		"offset overflows":        {file(1, 0).tensor("w", F32, huge-31, 8).pad(100), ErrCorrupt},
		"offset not aligned":      {file(1, 0).tensor("w", F32, 4, 1).pad(100), ErrCorrupt},
		"rows not whole blocks":   {file(1, 0).tensor("w", Q4_0, 0, 33).pad(100), ErrCorrupt},
		"unknown quantisation":    {file(1, 0).tensor("w", 19, 0, 256).pad(300), ErrUnsupported},
		"tensor twice":            {file(2, 0).tensor("w", F32, 0, 1).tensor("w", F32, 0, 1).pad(100), ErrCorrupt},
	} {
		f, err := Parse(c.b)
		if !errors.Is(err, c.want) || f != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func nested(h *hostile, depth int) *hostile {
	for range depth {
		h.u32(tArray).u64(1)
	}
	return h.u32(tU8).u64(1)
}

// TestTruncated cuts a good file everywhere: no cut may pass, but within the padding at the end.
func TestTruncated(t *testing.T) {
	b := sample(t)
	f, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	last := f.Tensors()[1]
	for cut := range int(last.Offset + last.Bytes) {
		if _, err := Parse(b[:cut]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d of %d: %v", cut, len(b), err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none.gguf")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a directory passes")
	}
	short := filepath.Join(dir, "short.gguf")
	if err := os.WriteFile(short, []byte("GGUF"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(short); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	cut := filepath.Join(dir, "cut.gguf")
	if err := os.WriteFile(cut, sample(t)[:200], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cut); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "cut.gguf") {
		t.Error(err)
	}
}

func TestGetErrors(t *testing.T) {
	f, err := Parse(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Get[string](f, "none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := Get[uint32](f, "list"); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	if _, err := f.Int("none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := f.Int("list"); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	if _, _, err := f.Tensor("none"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for value, want := range map[any]int{uint8(3): 3, int8(3): 3, uint16(3): 3, int16(3): 3, uint32(3): 3, int32(3): 3, uint64(3): 3, int64(3): 3, int32(-1): -1, uint64(1 << 63): -1, int64(1 << 40): -1} {
		f.Meta["n"] = value
		if got, err := f.Int("n"); (want < 0) != (err != nil) || (err == nil && got != want) {
			t.Errorf("%T %v: %d, %v", value, value, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample(f))
	if b, err := os.ReadFile(filepath.Join("testdata", "mixed.gguf")); err == nil {
		f.Add(b)
	}
	f.Add(file(1, 0).tensor("w", Q6K, 0, 256).pad(300))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
				t.Fatal(err)
			}
			return
		}
		for _, info := range g.Tensors() {
			v, _, err := g.Tensor(info.Name)
			if err != nil || len(v) != info.Elements() {
				t.Fatal(info, len(v), err)
			}
		}
	})
}
