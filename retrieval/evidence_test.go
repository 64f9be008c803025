package retrieval

import (
	"math"
	"slices"
	"testing"
)

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
