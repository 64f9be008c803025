package retrieval

import (
	"math"
	"slices"
	"testing"
)

func TestLogOdds(t *testing.T) {
	background := []uint32{10, 1000, 100, 0}
	own := []uint32{100, 0, 10, 0}
	odds, err := LogOdds(own, nil, background)
	if err != nil {
		t.Fatal(err)
	}
	if odds[0] <= 0 || odds[1] >= 0 || odds[0] < odds[2] || math.Abs(float64(odds[3])) > 4 {
		t.Error(odds)
	}
	small := func(v float32) bool { return v < 1e-6 && v > -1e-6 }
	same, err := LogOdds(own, own, background)
	if err != nil || slices.ContainsFunc(same, func(v float32) bool { return !small(v) }) {
		t.Error("against itself:", same, err)
	}
	there, err := LogOdds(own, []uint32{5, 9, 70, 2}, background)
	back, err2 := LogOdds([]uint32{5, 9, 70, 2}, own, background)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	for i := range there {
		if !small(there[i] + back[i]) {
			t.Errorf("cell %d: %v one way and %v the other", i, there[i], back[i])
		}
	}
	if _, err := LogOdds(own, nil, make([]uint32, 3)); err == nil {
		t.Error("background of another layer passes")
	}
	if _, err := LogOdds(own, make([]uint32, 3), background); err == nil {
		t.Error("counts of another layer pass")
	}
}

func TestConformal(t *testing.T) {
	v := make([]float64, 199)
	for i := range v {
		v[i] = float64((i*37)%199 + 1) // 1 to 199 in some order
	}
	for alpha, want := range map[float64]float64{0.01: 198, 0.05: 190, 0.5: 100} {
		if q, exact := Conformal(v, alpha); q != want || !exact {
			t.Errorf("alpha %g: %g, %v; want %g", alpha, q, exact, want)
		}
	}
	few := []float64{1, 2, 3, 2, 1, 3, 2, 2, 1, 3}
	if q, exact := Conformal(few, 0.01); q != 3 || exact { // the normal one is larger
		t.Errorf("of too few: %g, %v", q, exact)
	}
	stray := append(slices.Repeat(few, 4), 30)
	if q, exact := Conformal(stray, 0.01); q < 3 || q > 15 || exact {
		t.Errorf("of too few with a stray one: %g, %v", q, exact)
	}
	if q, exact := Conformal(nil, 0.01); !math.IsInf(q, -1) || exact {
		t.Errorf("of none: %g, %v", q, exact)
	}
}
