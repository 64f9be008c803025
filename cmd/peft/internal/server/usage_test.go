package server

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/gopeft/peft/adapters/peer"
)

// TestUsage: what a set's request selects is counted, heads · top-k cells of each token in each of the router's blocks.
func TestUsage(t *testing.T) {
	s := serve(t)
	usage := func() []any {
		r, err := http.Get(s.URL + "/peft/v1/usage")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		var b map[string][]any
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil || r.StatusCode != http.StatusOK {
			t.Fatal(r.Status, err)
		}
		return b["grids"]
	}
	if g := usage(); len(g) != 0 {
		t.Fatalf("before any request: %v", g)
	}
	if code, b := post(t, s, "/v1/completions", `{"model": "tarn", "prompt": "The tarn lies", "max_tokens": 4, "temperature": 0}`); code != http.StatusOK {
		t.Fatalf("%d %v", code, b)
	}
	grids := usage()
	if len(grids) == 0 {
		t.Fatal("no grids")
	}
	for _, g := range grids {
		g := g.(map[string]any)
		var sum float64
		for _, n := range g["counts"].([]any) {
			sum += n.(float64)
		}
		if rows := g["rows"].(float64); rows == 0 || sum != rows*2*8 {
			t.Errorf("block %v: %g selections of %g tokens", g["block"], sum, rows)
		}
	}
}

// TestDrawn: a wide grid is drawn with its sums.
func TestDrawn(t *testing.T) {
	l := peer.LayerUsage{SubKeys: 128, Hits: make([]uint64, 128*128)}
	for i := range l.Hits {
		l.Hits[i] = 1
	}
	l.Hits[127*128+127] += 5
	g := drawn(l)
	if g.Side != 64 || g.Cells != 128*128 || g.Counts[0] != 4 || g.Counts[64*64-1] != 9 {
		t.Errorf("side %d, %d cells, first %d, last %d", g.Side, g.Cells, g.Counts[0], g.Counts[64*64-1])
	}
}
