package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// What is in the figures, as far as claims are about it.
type (
	text struct {
		NLL   float64  `json:"nll"`
		Fired []string `json:"fired"`
		Same  int      `json:"same"` // sequences with the base's bits
	}
	trained struct {
		Bytes int64           `json:"bytes"`
		Texts map[string]text `json:"texts"`
	}
	stage struct {
		Router string          `json:"router_sha256"`
		Auto   map[string]text `json:"auto"`
	}
	hashes struct {
		Logits  string  `json:"logits_sha256"`
		Router  string  `json:"router_sha256"`
		Seconds float64 `json:"seconds"`
	}
	answers struct {
		Asked int `json:"asked"`
		Right int `json:"right"`
	}
	windows struct {
		Perplexity float64 `json:"perplexity"`
	}
	use struct {
		Curve []struct {
			Tokens int     `json:"tokens"`
			Hit    float64 `json:"hit"`
			KL     float64 `json:"kl"`
		} `json:"curve"`
	}
	model struct {
		Perplexity float64 `json:"perplexity"`
	}
	labels struct {
		Right string `json:"right"` // a digit a text
	}
	grown struct {
		Texts []struct {
			Before float64 `json:"before"`
			After  float64 `json:"after"`
		} `json:"texts"`
	}
)

var (
	domains = []string{"shakespeare", "gsm8k", "agnews", "amazon", "manual"}
	foreign = []string{"wikitext", "background"} // texts that no set knows, and the base's own
)

func test(domain string) string { return domain + "/test" }

// claims are those of the project, in the order in which they are made.
func (f figures) claims() []claim {
	return slices.Concat(f.forgets(), f.learns(), f.together(), f.order(), f.classifies(), f.facts(), f.grows(), f.router(), f.scratch(), f.million())
}

// forgets: what the last of the sets that were added does to the sequences of other texts.
func (f figures) forgets() []claim {
	bits := claim{what: "nothing is forgotten: sequences of no set's text keep the base's bits while five sets are added, gates deciding", reach: "99 %"}
	background := claim{what: "likewise, perplexity of the base's own text", reach: "within 0.1 %"}
	off, ok := get[map[string]text](f, "continual", "off/peft")
	last, done := get[stage](f, "continual", "turn/manual")
	if !ok || !done {
		return []claim{bits, background}
	}
	same, all := 0, 0
	for _, t := range foreign {
		same, all = same+last.Auto[t].Same, all+len(last.Auto[t].Fired)
	}
	if more, ok := get[map[string]text](f, "continual", "foreign"); ok {
		for _, t := range more {
			same, all = same+t.Same, all+len(t.Fired)
		}
	}
	bits.found, bits.holds = fmt.Sprintf("%d of %d", same, all), float64(same) >= 0.99*float64(all)
	change := math.Expm1(last.Auto["background"].NLL - off["background"].NLL)
	background.found, background.holds = fmt.Sprintf("%+.2f %%", 100*change), math.Abs(change) < 0.001
	return []claim{bits, background}
}

// learned is what a method's runs of the first seed did: how much lower the NLL of what they learned is, how much higher that
// of other text, in nats, and their bytes; of the domains that other ran too.
func (f figures) learned(method, other string) (drop, harm float64, bytes int64, n int) {
	off, _ := get[map[string]text](f, "continual", "off/peft")
	for _, d := range domains {
		t, ok := get[trained](f, "continual", "run/"+method+"/"+d+"/1")
		if _, too := get[trained](f, "continual", "run/"+other+"/"+d+"/1"); !ok || !too {
			continue
		}
		drop, bytes, n = drop+off[test(d)].NLL-t.Texts[test(d)].NLL, max(bytes, t.Bytes), n+1
		for _, other := range foreign {
			harm += (t.Texts[other].NLL - off[other].NLL) / float64(len(foreign))
		}
	}
	return drop, harm, bytes, n
}

func (f figures) learns() (all []claim) {
	for _, c := range []struct {
		lora, title string
		reach       float64
	}{
		{"lora8", "LoRA r=8 on q and v with its usual beta1 of 0.9", 1.15},
		{"lora16b5", "LoRA r=16 on all linear layers with peft's beta1 of 0.5", 1},
		{"lora16", "LoRA r=16 on all linear layers with its usual beta1 of 0.9", 1},
	} {
		learn := claim{what: "learns as well as " + c.title + " (decision 11): drop of held-out NLL", reach: fmt.Sprintf("%.0f %% of LoRA's", 100*c.reach)}
		harm := claim{what: "beside the same LoRA, harm to other text with the set forced on: rise of its NLL", reach: "a tenth of LoRA's"}
		mine, rise, bytes, n := f.learned("peft", c.lora)
		theirs, worse, room, _ := f.learned(c.lora, "peft")
		if n > 0 {
			learn.found, learn.holds = fmt.Sprintf("%.1f %% (%.3f of %.3f nats, %d domains)", 100*mine/theirs, mine/float64(n), theirs/float64(n), n), mine >= c.reach*theirs
			harm.found, harm.holds = fmt.Sprintf("%.0f %% (%+.3f of %+.3f nats)", 100*rise/worse, rise/float64(n), worse/float64(n)), rise <= worse/10
		}
		all = append(all, learn)
		if c.lora != "lora8" {
			size := claim{what: "beside the same LoRA, at equal bytes", reach: "100 % of LoRA's drop in its bytes in bf16", found: learn.found, holds: learn.holds && bytes <= room}
			if n > 0 {
				size.found = fmt.Sprintf("%.1f %% in %.1f of %.1f MB", 100*mine/theirs, float64(bytes)/1e6, float64(room)/1e6)
			}
			all = append(all, harm, size)
		}
	}
	return all
}

// together: pairs of sets that are both on.
func (f figures) together() []claim {
	return []claim{
		f.pairs("two sets at once do not disturb each other, each trained beside the earlier ones", "beside/%s+%s", "beside/%s"),
		f.pairs("likewise, each trained by itself", "pair/%s+%s", "run/peft/%s/1"),
	}
}

// pairs compares both texts of pairs, by the names of their figures and of those of each set alone.
func (f figures) pairs(what, both, alone string) claim {
	c := claim{what: what, reach: "perplexities within 1.5 %"}
	worst, within, n := math.Inf(-1), 0, 0
	for i, a := range domains {
		for _, b := range domains[i+1:] {
			texts, ok := get[map[string]text](f, "continual", fmt.Sprintf(both, a, b))
			if !ok {
				continue
			}
			for _, d := range []string{a, b} {
				t, _ := get[trained](f, "continual", fmt.Sprintf(alone, d))
				change := math.Expm1(texts[test(d)].NLL - t.Texts[test(d)].NLL)
				if n++; change <= 0.015 {
					within++
				}
				worst = max(worst, change)
			}
		}
	}
	if n > 0 {
		c.found, c.holds = fmt.Sprintf("%d of %d, worst %+.1f %%", within, n, 100*worst), within == n
	}
	return c
}

// order: the sets added in several orders, all on.
func (f figures) order() []claim {
	c := claim{what: "the order of adding does not matter", reach: "the same logits"}
	var seen []string
	for i := range 99 {
		if o, ok := get[hashes](f, "continual", fmt.Sprintf("order/%d", i)); ok {
			seen = append(seen, o.Logits+o.Router)
		}
	}
	if n := len(seen); n > 0 {
		kinds := len(slices.Compact(slices.Sorted(slices.Values(seen))))
		c.found, c.holds = fmt.Sprintf("%d orders, %d different results", n, kinds), kinds == 1
	}
	return []claim{c}
}

// router: sets added again and again.
func (f figures) router() []claim {
	c := claim{what: "the router is untouched, and adding takes as long however many sets there are", reach: "one hash; no set's last time over twice its first"}
	all, ok := get[[]hashes](f, "continual", "many")
	if n := len(domains); ok && len(all) > n { // the domains' sets again and again
		same, slowest := true, 0.0
		for i, a := range all {
			same = same && a.Router == all[0].Router
			if i+n >= len(all) {
				slowest = max(slowest, a.Seconds/all[i%n].Seconds)
			}
		}
		c.found = fmt.Sprintf("%d sets, a set's last at most %.1f times its first; one hash: %t", len(all), slowest, same)
		c.holds = same && slowest <= 2
	}
	return []claim{c}
}

// classifies: tasks that come one after the other, and test texts whose task nobody names.
func (f figures) classifies() []claim {
	gap := claim{what: "classification with no task named, against one set trained on all tasks", reach: "at most 1 point behind"}
	back := claim{what: "likewise, what later tasks do to the first", reach: "at least −0.5 points"}
	right := func(piece string) (float64, bool) {
		l, ok := get[labels](f, "classify", piece)
		return 100 * float64(strings.Count(l.Right, "1")) / float64(max(1, len(l.Right))), ok
	}
	at, ok := right("two/after-1/news")
	end, done := right("two/after-2/news")
	if ok && done {
		back.found, back.holds = fmt.Sprintf("%+.1f points", end-at), end-at >= -0.5
	}
	second, ok := right("two/after-2/reviews")
	var joint float64
	for _, t := range []string{"news", "reviews"} {
		j, measured := right("joint/" + t)
		joint, ok = joint+j/2, ok && measured
	}
	if ok {
		behind := joint - (end+second)/2
		gap.found, gap.holds = fmt.Sprintf("%.1f points behind", behind), behind <= 1
	}
	return []claim{gap, back}
}

// facts: questions in other words than those that were learned.
func (f figures) facts() []claim {
	c := claim{what: "facts reach other wordings, gates deciding", reach: "0.30 right, other text +0 %"}
	a, ok := get[answers](f, "facts", "recall/auto")
	before, _ := get[windows](f, "facts", "text/wiki/base")
	after, too := get[windows](f, "facts", "text/wiki/auto")
	if ok && too {
		share := float64(a.Right) / float64(a.Asked)
		c.found = fmt.Sprintf("%.2f of %d, other text %+.2f %%", share, a.Asked, 100*(after.Perplexity/before.Perplexity-1))
		c.holds = share >= 0.3 && after.Perplexity == before.Perplexity
	}
	return []claim{c}
}

// grows: more experts, heads and k fixed.
func (f figures) grows() (all []claim) {
	falls := func(what string, sizes []int, perplexity func(size int) (float64, bool)) {
		c := claim{what: what, reach: "perplexity falls at each step, to 2^20 experts"}
		var found []string
		c.holds = true
		last := math.Inf(1)
		for _, s := range sizes {
			p, ok := perplexity(s)
			if !ok {
				continue
			}
			found = append(found, fmt.Sprintf("%.1f with %d", p, s*s))
			c.holds, last = c.holds && p < last, p
		}
		_, largest := perplexity(1024)
		c.found, c.soFar = strings.Join(found, ", "), !largest || len(found) < 3
		all = append(all, c)
	}
	sizes := []int{16, 32, 64, 128, 256, 512, 1024}
	falls("more experts, lower perplexity: from scratch", sizes, func(s int) (float64, bool) {
		m, ok := get[model](f, "scratch", fmt.Sprintf("experts/%d", s))
		return m.Perplexity, ok
	})
	falls("more experts, lower perplexity: a set on the built-in base, geometric mean of its texts", sizes, func(s int) (float64, bool) {
		g, ok := get[grown](f, "domain", fmt.Sprintf("builtin/%d", s))
		sum := 0.0
		for _, t := range g.Texts {
			sum += math.Log(t.After) / float64(len(g.Texts))
		}
		return math.Exp(sum), ok
	})
	return all
}

// scratch: layers at equal FLOPs.
func (f figures) scratch() (all []claim) {
	for _, length := range []string{"short", "long"} {
		c := claim{what: "better than dense, a mixture and a product-key memory at equal FLOPs, " + length + " runs", reach: "PEER has the lowest perplexity"}
		var found []string
		best, mine := math.Inf(1), math.NaN()
		for _, layers := range []string{"peer", "dense", "moe", "pkm"} {
			sum, n := 0.0, 0
			for seed := 1; seed <= 9; seed++ {
				if m, ok := get[model](f, "scratch", fmt.Sprintf("%s/%s/%d", length, layers, seed)); ok {
					sum, n = sum+math.Log(m.Perplexity), n+1
				}
			}
			if n == 0 {
				continue
			}
			p := math.Exp(sum / float64(n))
			found = append(found, fmt.Sprintf("%s %.2f", layers, p))
			if layers == "peer" {
				mine = p
			} else {
				best = min(best, p)
			}
		}
		if !math.IsNaN(mine) {
			c.found, c.holds = strings.Join(found, ", "), mine < best && len(found) == 4
		}
		all = append(all, c)
	}
	return all
}

// million: a router of 1,024² cells without training.
func (f figures) million() (all []claim) {
	for _, base := range []string{"builtin", "SmolLM2-135M-Instruct.Q4_1"} {
		c := claim{what: "even use of a million cells without router training, " + base, reach: "99 % hit, KL at most 1.06"}
		hit := -1.0
		for _, name := range slices.Sorted(maps.Keys(f["usage"])) {
			u, ok := get[use](f, "usage", name)
			if !ok || !strings.HasPrefix(name, base+"/") || strings.Contains(name, "uniform") || len(u.Curve) == 0 {
				continue
			}
			if l := u.Curve[len(u.Curve)-1]; l.Hit > hit {
				hit = l.Hit
				way := strings.Split(name, "/")[1]
				c.found = fmt.Sprintf("%.1f %% hit by %d tokens, KL %.2f (%s)", 100*hit, l.Tokens, l.KL, way)
				c.holds = hit >= 0.99 && l.KL <= 1.06
			}
		}
		all = append(all, c)
	}
	return all
}
