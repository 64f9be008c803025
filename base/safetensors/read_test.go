package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func encode(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

func TestShards(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"a", "b"} {
		var b bytes.Buffer
		if err := Write(&b, []Tensor{{Name: n, Shape: []int{1}, Data: []float32{7}}}, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, n+".safetensors"), b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	index := func(s string) {
		if err := os.WriteFile(filepath.Join(dir, indexFile), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	index(`{"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}`)
	f, err := OpenDir(dir)
	if err != nil || !slices.Equal(f.Names(), []string{"a", "b"}) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{`{}`, `{"weight_map":{"a":"../a.safetensors"}}`, `{"weight_map":{"c":"a.safetensors"}}`, `x`} {
		index(bad)
		if _, err := OpenDir(dir); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestHostile(t *testing.T) {
	one := `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}`
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":        {nil, "bytes"},
		"huge header":  {binary.LittleEndian.AppendUint64(nil, 1<<60), "header"},
		"not JSON":     {encode("hello", 0), "JSON"},
		"truncated":    {encode(one+"}", 7), "truncated"},
		"twice":        {encode(one+`,"a":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}`, 8), "twice"},
		"wrong length": {encode(strings.Replace(one, "[2]", "[3]", 1)+"}", 8), "takes 12 bytes"},
		"overflow":     {encode(strings.Replace(one, "[2]", "[4294967296,4294967296,4]", 1)+"}", 8), "shape"},
		"reversed":     {encode(strings.Replace(one, "[0,8]", "[8,0]", 1)+"}", 8), "bytes 8 to 0"},
		"overlap":      {encode(one+`,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), "overlap"},
		"two offsets":  {encode(strings.Replace(one, "[0,8]", "[0,8,9]", 1)+"}", 8), "two offsets"},
		"no shape":     {encode(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, 4), "all three"},
		"null":         {encode(`{"a":null}`, 0), "all three"},
		"wraps":        {encode(`{"a":{"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]}}`, 0), "shape"},
		"more bytes":   {encode(one+"}", 9), "end at byte 8 of 9"},
		"more JSON":    {encode(one+"} {}", 8), "goes on"},
		"negative":     {encode(strings.Replace(one, "[2]", "[-2]", 1)+"}", 8), "corrupt"},
	} {
		if _, _, err := parse(c.b); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := parse(encode(`{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}`, 8)); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

// TestEmptyTensor reads tensors without elements, which begin where their neighbours do, in either order.
func TestEmptyTensor(t *testing.T) {
	for _, header := range []string{
		`{"z":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   `,
		`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"z":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]}}`,
	} {
		if _, list, err := parse(encode(header, 8)); err != nil || len(list) != 2 {
			t.Errorf("%s: %v", header, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(encode(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{"x":"y"}}`, 8))
	f.Add(encode(`{"a":{"dtype":"BF16","shape":[1,99999999999],"data_offsets":[0,8]}}`, 8))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, list, err := parse(b)
		if err != nil {
			return
		}
		file := &File{tensors: map[string]Info{}}
		for _, i := range list {
			file.tensors[i.Name] = i
			if slices.ContainsFunc(i.Shape, func(d int) bool { return d < 0 }) {
				t.Fatal(i.Name, i.Shape)
			}
			if _, _, err := file.Tensor(i.Name); err != nil {
				t.Fatal(err)
			}
		}
	})
}
