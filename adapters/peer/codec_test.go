package peer

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

func encoded(t *testing.T, s *Set, f Format) Parts {
	t.Helper()
	p := Parts{}
	if err := s.Encode(p.Part, f); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCodecRoundTrip(t *testing.T) {
	r := testRouter(1)
	for _, f := range []Format{F32, BF16} {
		s := testSet(t, r, "a", 3, f)
		s.Scale = 0.5
		s.Tables[0].Counts = make([]uint32, 36)
		s.Tables[0].Counts[7] = 99
		s.Tables[0].Hits = make([]uint32, s.Tables[0].Occupancy.Experts())
		s.Tables[0].Hits[0], s.Tables[0].Fresh, s.Tables[1].Cap = 7, 1, 0.25
		p := encoded(t, s, f)
		back, err := Decode(2, p.Open)
		if err != nil {
			t.Fatal(err)
		}
		if err := back.Check(r); err != nil {
			t.Fatal(err)
		}
		if back.Scale != 0.5 || back.Kind() != s.Kind() || back.Experts() != s.Experts() || back.Parameters() != s.Experts()*2*testHidden {
			t.Errorf("%+v", back)
		}
		for i, table := range back.Tables {
			want := s.Tables[i]
			if !slices.Equal(table.Rows.F32, want.Rows.F32) || !slices.Equal(table.Rows.BF16, want.Rows.BF16) || !slices.Equal(table.Counts, want.Counts) {
				t.Error("rows or counts differ")
			}
			if !slices.Equal(table.Hits, want.Hits) || table.Fresh != want.Fresh || table.Cap != want.Cap {
				t.Errorf("hits %v, %d untrained, cap %g; want %v, %d, %g", table.Hits, table.Fresh, table.Cap, want.Hits, want.Fresh, want.Cap)
			}
		}
		again := encoded(t, back, f)
		for name, b := range p {
			if !bytes.Equal(again[name].Bytes(), b.Bytes()) {
				t.Errorf("part %s differs after a round trip", name)
			}
		}
	}
}

// chunks counts the Writes and the longest.
type chunks struct{ n, longest, bytes int }

func (c *chunks) Write(b []byte) (int, error) {
	c.n, c.longest, c.bytes = c.n+1, max(c.longest, len(b)), c.bytes+len(b)
	return len(b), nil
}

func TestChunks(t *testing.T) {
	var c chunks
	if err := writeRows(&c, NewRows(1000, 1152, BF16), BF16); err != nil {
		t.Fatal(err)
	}
	if c.bytes != 1000*1152*2 || c.longest > 512<<10 || c.n != 8 {
		t.Errorf("%+v", c)
	}
	c = chunks{}
	if err := writeRows(&c, NewRows(3, 200_000, F32), F32); err != nil {
		t.Fatal(err)
	}
	if c.bytes != 3*200_000*4 || c.n != 3 { // rows longer than a chunk: the registry cuts them
		t.Errorf("%+v", c)
	}
}

func TestConvert(t *testing.T) {
	r := testRouter(1)
	s := testSet(t, r, "a", 3, BF16)
	want := slices.Clone(s.Tables[0].Rows.BF16)
	s.Convert(nil, F32)
	if s.Tables[0].Rows.BF16 != nil || len(s.Tables[0].Rows.F32) != len(want) {
		t.Fatal("not converted")
	}
	s.Convert(nil, BF16)
	if !slices.Equal(s.Tables[0].Rows.BF16, want) {
		t.Error("bf16 → f32 → bf16 changed rows")
	}
}

func TestDecodeErrors(t *testing.T) {
	r := testRouter(1)
	s := testSet(t, r, "a", 3, F32)
	for name, damage := range map[string]func(p Parts){
		"no header":    func(p Parts) { delete(p, headerPart) },
		"no rows":      func(p Parts) { delete(p, "001/rows") },
		"no occupancy": func(p Parts) { delete(p, "004/occupancy") },
		"short rows":   func(p Parts) { p["004/rows"].Truncate(100) },
		"long rows":    func(p Parts) { p["004/rows"].WriteByte(1) },
		"other width":  func(p Parts) { replace(p, `"width":64`, `"width":46`) },
		"experts":      func(p Parts) { replace(p, `"experts":`, `"experts":9`) },
		"no experts":   func(p Parts) { replace(p, `"experts":`, `"experts":-`) },
		"format":       func(p Parts) { replace(p, `"format":1`, `"format":3`) },
		"rows' format": func(p Parts) { replace(p, `"rows":"f32"`, `"rows":"f64"`) },
		"order":        func(p Parts) { replace(p, `"block":4`, `"block":1`) },
		"unknown key":  func(p Parts) { replace(p, `"scale"`, `"skale"`) },
		"NaN": func(p Parts) {
			b := p["001/rows"].Bytes()
			copy(b[8:], []byte{0, 0, 0xc0, 0x7f})
		},
	} {
		p := encoded(t, s, F32)
		damage(p)
		if _, err := Decode(2, p.Open); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := encoded(t, s, F32)
	replace(p, `"kind":"neuron"`, `"kind":"axon"`)
	if _, err := Decode(2, p.Open); !errors.Is(err, ErrUnknownKind) || !strings.Contains(err.Error(), "neuron-gelu") {
		t.Error(err)
	}
	failing := errors.New("disk on fire")
	if _, err := Decode(2, func(string) (io.Reader, error) { return nil, failing }); !errors.Is(err, failing) {
		t.Error(err)
	}
	s.Tables[0].Rows.F32[5] = float32(math.Inf(1))
	if err := s.Encode(Parts{}.Part, BF16); err == nil {
		t.Error("an infinite value passes")
	}
}

func replace(p Parts, from, to string) {
	p[headerPart] = bytes.NewBufferString(strings.ReplaceAll(p[headerPart].String(), from, to))
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add([]byte(`{"format":1,"kind":"neuron","hidden":2,"width":4,"scale":1,"router_sha256":"x","rows":"f32","layers":[{"block":1,"cells":4,"experts":1}]}`), []byte{2, 4, 1, 1, 0, 1, 0}, make([]byte, 16))
	f.Add([]byte(`{"format":2,"hidden":2,"scale":1,"router_sha256":"x","rows":"f32","layers":[{"block":1,"cells":0,"experts":1,"kind":"lora-r1-a2","in":2,"out":2,"scale":0.5},{"block":1,"cells":4,"experts":1,"site":"q_proj","kind":"ia3","in":4,"out":4}]}`), []byte{2, 4, 1, 1, 0, 1, 0}, make([]byte, 16))
	f.Fuzz(func(t *testing.T, header, occupancy, rows []byte) {
		p := Parts{headerPart: bytes.NewBuffer(header), "001/occupancy": bytes.NewBuffer(occupancy), "001/rows": bytes.NewBuffer(rows),
			"001.q_proj/occupancy": bytes.NewBuffer(bytes.Clone(occupancy)), "001.q_proj/rows": bytes.NewBuffer(bytes.Clone(rows))}
		s, err := Decode(2, p.Open)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnknownKind) {
				t.Fatal(err)
			}
			return
		}
		if err := s.Encode(Parts{}.Part, F32); err != nil {
			t.Fatal(err)
		}
	})
}

// TestReadBF16 looks for values that are not finite at every place.
func TestReadBF16(t *testing.T) {
	for n := range 11 {
		b := make([]byte, 2*n)
		for i := range b {
			b[i] = byte(0x3f - i%2*0x11 + i)
		}
		to := make([]uint16, n)
		if readBF16(to, b) {
			t.Errorf("%d finite values are refused", n)
		}
		for i, v := range to {
			if v != uint16(b[2*i])|uint16(b[2*i+1])<<8 {
				t.Errorf("value %d of %d is %#x", i, n, v)
			}
		}
		for i := range n {
			for _, v := range []uint16{0x7f80, 0xff80, 0x7fc0, 0xffff} {
				bad := slices.Clone(b)
				bad[2*i], bad[2*i+1] = byte(v), byte(v>>8)
				if !readBF16(to, bad) {
					t.Errorf("%#x at %d of %d passes", v, i, n)
				}
			}
		}
	}
}
