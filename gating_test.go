package peft

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopeft/peft/adapters/peer"
	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
)

// prompted returns n prompts of 63 rows that score about mean.
func prompted(rnd *rand.Rand, n int, mean float64) []verdict {
	all := make([]verdict, n)
	for i := range all {
		shift, sum := mean+0.1*rnd.NormFloat64(), 0.0
		for row := range 63 {
			sum += shift + 0.5*rnd.NormFloat64()
			if k := slices.Index(gateLengths[:], row+2); k >= 0 {
				all[i].after[k] = sum / float64(row+1)
			}
		}
		all[i].rows, all[i].score, all[i].distance = 63, sum/63, 10
	}
	return all
}

func TestThresholds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 7))
	text := func(name string, guess bool, mean float64) scored {
		return scored{otherText{name: name, guess: guess}, prompted(rnd, 120, mean), prompted(rnd, 400, mean)}
	}
	own, background, older := text("own", false, 1), text("background", true, 0), text("older@1", false, 0.2)
	g := GateInfo{Alpha: gateAlpha, Margin: gateMargin}
	others := []scored{background, older}
	g.setBy(own, [len(gateLengths)]float64{10, 10, 10, 10}, [len(gateLengths)]float64{}, others)
	g.measure(own, others)
	if g.Own.Rate() < 0.95 || g.Own.Sequences != 400 || len(g.Others) != 2 || g.Others[0].Rate() > 0.01 || g.Others[1].Rate() > 0.01 {
		t.Errorf("rates: own %+v, others %+v", g.Own, g.Others)
	}
	if n := g.Negatives; len(n) != 2 || n[0].Sequences != 120 || n[0].Aside != 0 || !n[1].Exact || n[1].Quantile <= n[0].Quantile {
		t.Errorf("set on %+v", n)
	}
	for k, h := range g.Thresholds { // each for prompts of its own length
		fired := 0
		for _, v := range older.test {
			if v.after[k] > h.Score {
				fired++
			}
		}
		if h.Score < 0.2 || h.Score > 1 || fired > len(older.test)/50 {
			t.Errorf("after %d tokens more than %g, which %d of %d others score", h.Tokens, h.Score, fired, len(older.test))
		}
	}
	for rows, want := range map[int]bool{0: false, 6: false, 7: true, 63: true} {
		if g.fires(verdict{rows: rows, score: 9, distance: 10}) != want || g.fires(verdict{rows: rows, score: 9, distance: 20}) {
			t.Errorf("of %d rows that score high: fires %v, or on text that is unlike", rows, !want)
		}
	}
}

// TestAside: the background may hold a little text of the set's own kind, an older set's text may not.
func TestAside(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 7))
	own := scored{otherText{name: "own"}, prompted(rnd, 100, 1), prompted(rnd, 100, 1)}
	set := func(guess bool, like int) GateInfo {
		mixed := append(prompted(rnd, 100-like, 0), prompted(rnd, like, 1.3)...)
		g := GateInfo{Alpha: gateAlpha, Margin: gateMargin}
		g.setBy(own, [len(gateLengths)]float64{10, 10, 10, 10}, [len(gateLengths)]float64{}, []scored{{otherText{name: "x", guess: guess}, mixed, nil}})
		g.measure(own, nil)
		return g
	}
	if g := set(true, 5); g.Negatives[0].Aside != 5 || g.Own.Rate() < 0.9 {
		t.Errorf("5 of 100 like own text: %+v, own %+v", g.Negatives, g.Own)
	}
	if g := set(true, 30); g.Negatives[0].Aside != 8 || g.Own.Rate() > 0.5 {
		t.Errorf("30 of 100 like own text: %+v, own %+v", g.Negatives, g.Own)
	}
	if g := set(false, 5); g.Negatives[0].Aside != 0 || g.Own.Rate() > 0.5 || len(g.ownWarning("x")) != 1 {
		t.Errorf("an older set's text: %+v, own %+v", g.Negatives, g.Own)
	}
}

func TestPrompts(t *testing.T) {
	ids := make([]int32, 201)
	text := tune.Cut(ids, 200) // 200 rows
	if p := prompts(text, 10); len(p) != 3 || len(p[2]) != 64 {
		t.Errorf("%d prompts of a text of 200 tokens", len(p))
	}
	if p := prompts(slices.Repeat(text, 5), 10); len(p) != 5 {
		t.Errorf("%d prompts of five texts, want their beginnings", len(p))
	}
	record := tune.Sequence{Tokens: ids[:90], Targets: ids[1:91], Learned: make([]bool, 90)}
	for i := 79; i < 90; i++ {
		record.Learned[i] = true
	}
	if p := prompts([]tune.Sequence{record}, 10); len(p) != 1 || len(p[0]) != 80 {
		t.Errorf("%d prompts of a record", len(p))
	}
	if p := prompts(slices.Repeat(text, 40), 7); len(p) != 7 {
		t.Errorf("%d prompts, want the most asked for", len(p))
	}
	scored := append([]bool{false}, record.Learned...)
	for _, w := range []struct {
		scored []bool
		want   int
	}{{nil, 64}, {[]bool{false, true, true}, 64}, {scored, 80}, {make([]bool, 5), 64}} {
		if got := promptOf(base.Window{Scored: w.scored}, 64); got != w.want {
			t.Errorf("prompt of %d tokens, want %d", got, w.want)
		}
	}
}

func TestForeignTexts(t *testing.T) {
	e, err := Open(Options{Registry: t.TempDir(), Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	b, err := e.Base()
	if err != nil {
		t.Fatal(err)
	}
	texts := foreignTexts(b.Tokenizer, gateTokens)
	short := 0
	for _, x := range texts {
		if len(x) < gateTokens {
			short++
		}
	}
	if len(texts) < 70 || short > 5 {
		t.Errorf("%d passages, %d of them shorter than %d tokens", len(texts), short, gateTokens)
	}
	judges, made := newForeign("passages", texts)
	known := knownPassages(b.Tokenizer)
	if len(known) != len(made) {
		t.Fatalf("%d passages to train on, gates are made from %d", len(known), len(made))
	}
	for i, s := range known {
		if n := min(len(s.Tokens), len(made[i])); !slices.Equal(s.Tokens[:n], made[i][:n]) {
			t.Errorf("passage %d to train on is not that which gates are made from", i)
		}
		for _, x := range slices.Concat(judges.set, judges.test) {
			if n := min(len(s.Tokens), len(x)); slices.Equal(s.Tokens[:n], x[:n]) {
				t.Errorf("passage %d to train on judges gates", i)
			}
		}
	}
}

// TestNearest: of many sets those count whose gates nearly fire.
func TestNearest(t *testing.T) {
	gate := func(odds, threshold float32) *storedGate {
		return &storedGate{Gate: &peer.Gate{Odds: [][][]float32{{{odds, 0}}}}, info: &GateInfo{Thresholds: []Threshold{{Tokens: 7, Score: float64(threshold)}}}}
	}
	all := []*storedGate{gate(1, 3), gate(5, 3), gate(5, 9), gate(0, 0), gate(7, 6.5)}
	own := []peer.Sample{{{{Cell: 0, Count: 2}}}, {{{Cell: 0, Count: 1}}}}
	if got := nearest(all, own, 3); !slices.Equal(got, []*storedGate{all[1], all[3], all[4]}) {
		t.Errorf("%v of %v", got, all)
	}
	if got := nearest(all, own, 5); !slices.Equal(got, all) {
		t.Errorf("%v of %v", got, all)
	}
}
