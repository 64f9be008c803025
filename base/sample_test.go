package base_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/kernels"
)

func TestSampler(t *testing.T) {
	logits := []float32{1, 3, 2, -1}
	count := func(s base.Sampling) [4]int {
		sm, err := base.NewSampler(s)
		if err != nil {
			t.Fatal(err)
		}
		var n [4]int
		for range 4000 {
			n[sm.Next(logits)]++
		}
		return n
	}
	if n := count(base.Sampling{}); n[1] != 4000 {
		t.Errorf("greedy %v", n)
	}
	all := count(base.Sampling{Temperature: 1, Seed: 3})
	for i, p := range []float64{0.0889, 0.6571, 0.2417, 0.0120} {
		if math.Abs(float64(all[i])/4000-p) > 0.03 {
			t.Errorf("token %d came %d of 4000 times, its probability is %v", i, all[i], p)
		}
	}
	if n := count(base.Sampling{Temperature: 1, TopP: 0.8, Seed: 3}); n[0] != 0 || n[3] != 0 || n[2] == 0 {
		t.Errorf("nucleus of 0.8: %v", n)
	}
	if all != count(base.Sampling{Temperature: 1, Seed: 3}) || all == count(base.Sampling{Temperature: 1, Seed: 4}) {
		t.Error("the seed does not decide")
	}
	for _, s := range []base.Sampling{{Temperature: -1}, {TopP: 2}, {Temperature: math.NaN()}, {TopK: -1}, {MinP: 1.5}, {MinP: math.NaN()},
		{Repetition: -1}, {Frequency: math.Inf(1)}, {Presence: math.NaN()}, {LogitBias: map[int32]float32{1: float32(math.Inf(-1))}}} {
		if _, err := base.NewSampler(s); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
}

// TestSamplerAdjusts: bias and penalties change what a greedy sampler takes.
func TestSamplerAdjusts(t *testing.T) {
	logits := []float32{2, 1.9, -1, -3}
	for _, c := range []struct {
		name   string
		s      base.Sampling
		prompt []int32
		want   []int32
	}{
		{"nothing", base.Sampling{}, []int32{0}, []int32{0, 0, 0}},
		{"repetition of the prompt", base.Sampling{Repetition: 1.2}, []int32{0}, []int32{1, 0, 0}}, // 1.9 beats 2/1.2, which beats 1.9/1.2
		{"repetition of one", base.Sampling{Repetition: 1}, []int32{0}, []int32{0, 0, 0}},
		{"repetition of a negative logit", base.Sampling{Repetition: 4, LogitBias: map[int32]float32{0: -9, 1: -9}}, []int32{2}, []int32{3, 2, 2}}, // -3 beats -4, which beats -12
		{"prompt tokens that are none", base.Sampling{Repetition: 2}, []int32{-1, 99}, []int32{0, 1, 0}},
		{"presence", base.Sampling{Presence: 0.5}, []int32{0}, []int32{0, 1, 0, 0}}, // once, however often
		{"frequency", base.Sampling{Frequency: 0.5}, []int32{0}, []int32{0, 1, 0, 1, 0}},
		{"negative frequency", base.Sampling{Frequency: -1, LogitBias: map[int32]float32{3: 9}}, nil, []int32{3, 3}},
		{"bias", base.Sampling{LogitBias: map[int32]float32{0: -0.2, 7: 100, -1: 100}}, nil, []int32{1, 1}},
	} {
		sm, err := base.NewSampler(c.s)
		if err != nil {
			t.Fatal(err)
		}
		sm.Read(c.prompt)
		var got []int32
		for range c.want {
			got = append(got, sm.Next(logits))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if !slices.Equal(logits, []float32{2, 1.9, -1, -3}) {
		t.Errorf("the logits are now %v", logits)
	}
}

// TestSamplerFilters: which tokens MinP, TopK and TopP leave, on probabilities of 0.5, 0.25, 0.125, 0.125.
func TestSamplerFilters(t *testing.T) {
	logits := []float32{float32(math.Log(0.125)), float32(math.Log(0.5)), float32(math.Log(0.125)), float32(math.Log(0.25))}
	for _, c := range []struct {
		s    base.Sampling
		want []int32
	}{
		{base.Sampling{}, []int32{0, 1, 2, 3}},
		{base.Sampling{TopK: 4}, []int32{0, 1, 2, 3}},
		{base.Sampling{TopK: 99}, []int32{0, 1, 2, 3}},
		{base.Sampling{TopK: 1}, []int32{1}},
		{base.Sampling{TopK: 3}, []int32{0, 1, 3}}, // of equal ones the lower
		{base.Sampling{MinP: 0.4}, []int32{1, 3}},
		{base.Sampling{MinP: 1}, []int32{1}},
		{base.Sampling{TopP: 0.6}, []int32{1, 3}},
		{base.Sampling{TopP: 0.7}, []int32{1, 3}},
		{base.Sampling{TopK: 2, TopP: 0.6}, []int32{1}}, // 0.5 of 0.75 is 0.667
		{base.Sampling{MinP: 0.4, TopP: 0.6}, []int32{1}},
		{base.Sampling{MinP: 0.4, TopK: 3, TopP: 0.7}, []int32{1, 3}},
	} {
		c.s.Temperature, c.s.Seed = 1, 5
		sm, err := base.NewSampler(c.s)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[int32]bool{}
		for range 500 {
			seen[sm.Next(logits)] = true
		}
		if len(seen) != len(c.want) || slices.ContainsFunc(c.want, func(id int32) bool { return !seen[id] }) {
			t.Errorf("%+v: %v, want %v", c.s, seen, c.want)
		}
	}
}

// TestSamplerAsWritten compares with the same rules written down plainly: whole vocabulary sorted, one after the other.
func TestSamplerAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vocab := rapid.IntRange(1, 300).Draw(t, "vocab")
		some := func(name string, of ...float64) float64 { return rapid.SampledFrom(of).Draw(t, name) }
		s := base.Sampling{Temperature: some("temperature", 0, 0.3, 1, 2), TopP: some("top_p", 0, 1, 0.1, 0.9), MinP: some("min_p", 0, 0.05, 0.5),
			TopK: rapid.SampledFrom([]int{0, 1, 5, 40, 1000}).Draw(t, "top_k"), Repetition: some("repetition", 0, 1, 1.3, 0.7),
			Frequency: some("frequency", 0, 0.7, -0.5), Presence: some("presence", 0, 0.4), Seed: rapid.Uint64().Draw(t, "seed")}
		if rapid.Bool().Draw(t, "bias") {
			s.LogitBias = map[int32]float32{int32(vocab / 2): 3, 0: -1}
		}
		rnd := rand.New(rand.NewPCG(s.Seed, 1))
		prompt := make([]int32, rapid.IntRange(0, 5).Draw(t, "prompt"))
		for i := range prompt {
			prompt[i] = int32(rnd.IntN(vocab))
		}
		sm, err := base.NewSampler(s)
		if err != nil {
			t.Fatal(err)
		}
		sm.Read(prompt)
		draws := rand.New(rand.NewPCG(s.Seed, 0x9e3779b97f4a7c15))
		var answer []int32
		logits := make([]float32, vocab)
		for range 6 {
			for i := range logits {
				logits[i] = float32(rnd.NormFloat64() * 3)
			}
			want := plainly(s, draws, logits, prompt, answer)
			if got := sm.Next(logits); got != want {
				t.Fatalf("token %d: %d, want %d", len(answer), got, want)
			}
			answer = append(answer, want)
		}
	})
}

func plainly(s base.Sampling, draws *rand.Rand, logits []float32, prompt, answer []int32) int32 {
	p := slices.Clone(logits)
	ids := make([]int32, len(p))
	for i := range p {
		id := int32(i)
		ids[i] = id
		p[i] += s.LogitBias[id]
		if n := float32(len(slices.DeleteFunc(slices.Clone(answer), func(a int32) bool { return a != id }))); n > 0 || slices.Contains(prompt, id) {
			if r := float32(s.Repetition); r != 0 && p[i] > 0 {
				p[i] /= r
			} else if r != 0 {
				p[i] *= r
			}
			if n > 0 {
				p[i] -= float32(s.Frequency)*n + float32(s.Presence)
			}
		}
	}
	sorted := func() { slices.SortStableFunc(ids, func(a, b int32) int { return cmp.Compare(p[b], p[a]) }) }
	if s.Temperature == 0 {
		sorted()
		return ids[0]
	}
	kernels.Scale(float32(1/s.Temperature), p)
	kernels.Softmax(nil, p, p, 1, len(p))
	if s.TopP != 0 && s.TopP != 1 || s.MinP > 0 || s.TopK > 0 { // the draw goes through tokens in this order
		sorted()
	}
	whole := 1.0
	if s.MinP > 0 || s.TopK > 0 {
		least := float32(s.MinP) * p[ids[0]]
		ids = slices.DeleteFunc(ids, func(id int32) bool { return p[id] < least })
		if s.TopK > 0 {
			ids = ids[:min(s.TopK, len(ids))]
		}
		whole = sum(p, ids)
	}
	if s.TopP != 0 && s.TopP != 1 {
		for n := range ids {
			if sum(p, ids[:n+1]) >= s.TopP*whole {
				ids = ids[:n+1]
				break
			}
		}
	}
	of := 1.0
	if len(ids) < len(p) || s.TopP != 0 && s.TopP != 1 || s.MinP > 0 || s.TopK > 0 {
		of = sum(p, ids)
	}
	r := draws.Float64() * of
	for _, id := range ids {
		if r -= float64(p[id]); r < 0 {
			return id
		}
	}
	return ids[len(ids)-1]
}

func sum(p []float32, ids []int32) (s float64) {
	for _, id := range ids {
		s += float64(p[id])
	}
	return s
}

func TestSamplerWithoutNumbers(t *testing.T) {
	nan := float32(math.NaN())
	for _, s := range []base.Sampling{{}, {Temperature: 1}, {Temperature: 1, TopP: 0.5}, {Temperature: 1, TopK: 2, MinP: 0.1}} {
		sm, err := base.NewSampler(s)
		if err != nil {
			t.Fatal(err)
		}
		if id := sm.Next([]float32{nan, nan, nan}); id < 0 || id > 2 {
			t.Errorf("%+v: token %d of 3", s, id)
		}
	}
}

func TestLogProbs(t *testing.T) {
	logits := []float32{100 + float32(math.Log(0.2)), 100 + float32(math.Log(0.5)), 100 + float32(math.Log(0.3))}
	of, top := base.LogProbs(logits, 0, 2)
	if math.Abs(of-math.Log(0.2)) > 1e-5 || len(top) != 2 || top[0].ID != 1 || top[1].ID != 2 || math.Abs(top[0].LogProb-math.Log(0.5)) > 1e-5 {
		t.Errorf("%v, %v", of, top)
	}
	if _, top := base.LogProbs(logits, 0, 99); len(top) != 3 {
		t.Errorf("all of 3: %v", top)
	}
	if _, top := base.LogProbs(logits, 2, 0); len(top) != 0 {
		t.Errorf("none: %v", top)
	}
}
