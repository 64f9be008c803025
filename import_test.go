package peft_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/adapters/exchange"
	"github.com/gopeft/peft/registry"
)

// trained returns an engine with a LoRA called a, and its directory and GGUF file.
func trained(t *testing.T) (e *peft.Engine, hf, gguf string) {
	t.Helper()
	e = open(t)
	o := short
	o.Adapter, o.ReportTokens, o.LearningRate = peft.Adapter{Kind: "lora", Rank: 4}, -1, 5e-3
	if _, err := e.Finetune(ctx, "a", o); err != nil {
		t.Fatal(err)
	}
	hf, gguf = filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "a.gguf")
	for out, f := range map[string]peft.Format{hf: peft.FormatHF, gguf: peft.FormatGGUF} {
		if n, err := e.ExportAs("a", out, f); err != nil || n < 1000 {
			t.Fatalf("%s: %d bytes, %v", f, n, err)
		}
	}
	return e, hf, gguf
}

// TestExchange shares one LoRA between tests of other programs' files.
func TestExchange(t *testing.T) {
	e, hf, gguf := trained(t)
	t.Run("import", func(t *testing.T) { testImport(t, e, hf, gguf) })
	t.Run("routed", func(t *testing.T) { testImportRouted(t, e, hf) })
	t.Run("merge", func(t *testing.T) { testMerge(t, e, hf) })
	t.Run("errors", func(t *testing.T) { testExchangeErrors(t, e, hf) })
}

// testImport: what was written as another program's adapter comes back as the set it was, with a gate where there is text
// for one, and is trained on.
func testImport(t *testing.T, e *peft.Engine, hf, gguf string) {
	a := eval(t, e, "a")
	for _, c := range []struct {
		from string
		data []string
	}{{hf, nil}, {gguf, []string{tidal}}} { // in this order: the last one stays, for the tests that follow
		from, data := c.from, c.data
		if _, err := e.AddExperts(ctx, "b", peft.AddOptions{From: from, Data: data, ReportTokens: 64}); err != nil {
			t.Fatal(err)
		}
		if eval(t, e, "b").LogitsSHA256 != a.LogitsSHA256 {
			t.Errorf("%s came back as another set", from)
		}
		info, err := e.Show("b")
		if err != nil || (info.Gate != nil) != (data != nil) || !info.AlwaysOn || info.Forgetting == nil || info.Source[0] != from {
			t.Errorf("%+v, %v", info, err)
		}
		if data == nil {
			if err := e.Remove(ctx, "b"); err != nil {
				t.Fatal(err)
			}
		}
	}
	o := short
	o.ReportTokens, o.LearningRate = -1, 5e-3
	r, err := e.Finetune(ctx, "b", o)
	if err != nil || r.Revision != 2 || r.After.Target >= r.Before.Target {
		t.Errorf("trained on: %+v, %v", r, err)
	}
	if err := e.Remove(ctx, "b"); err != nil {
		t.Fatal(err)
	}
}

// testImportRouted: a LoRA taken apart stands in cells and still helps its text, less than always on where its cells are not
// all.
func testImportRouted(t *testing.T, e *peft.Engine, hf string) {
	bare, always := eval(t, e), eval(t, e, "a")
	for name, data := range map[string][]string{"sampled": {tidal}, "unsampled": nil} {
		if _, err := e.AddExperts(ctx, name, peft.AddOptions{From: hf, Data: data, Adapter: peft.Adapter{Routed: true}, ReportTokens: -1}); err != nil {
			t.Fatal(err)
		}
		info, err := e.Show(name)
		if err != nil || info.AlwaysOn || info.Experts < 8 || (info.Gate != nil) != (data != nil) {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
		on := eval(t, e, name)
		t.Logf("perplexity %.2f, always on %.2f, %s %.2f", bare.Perplexity, always.Perplexity, name, on.Perplexity)
		if on.Perplexity >= bare.Perplexity || on.LogitsSHA256 == always.LogitsSHA256 {
			t.Errorf("%s: perplexity %g, without %g", name, on.Perplexity, bare.Perplexity)
		}
		if _, err := e.ExportAs(name, filepath.Join(t.TempDir(), "x"), peft.FormatHF); !errors.Is(err, exchange.ErrUnsupported) || !strings.Contains(err.Error(), "in cells") {
			t.Errorf("%s as an adapter: %v", name, err)
		}
		if err := e.Remove(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if eval(t, e).LogitsSHA256 != bare.LogitsSHA256 {
		t.Error("the base changed")
	}
}

// testMerge: a model with a set merged into it computes what the base with the set does, and without it what the base does.
func testMerge(t *testing.T, e *peft.Engine, hf string) {
	bare, on := eval(t, e).Perplexity, eval(t, e, "a").Perplexity
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for out, o := range map[string]peft.MergeOptions{
		at("f32"):       {Format: peft.FormatHF, Type: "F32"},
		at("f16.gguf"):  {Format: peft.FormatGGUF},
		at("q8_0.gguf"): {Format: peft.FormatGGUF, Type: "Q8_0", Data: []string{tidal}},
	} {
		r, err := e.Merge(ctx, []string{"a"}, out, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", r)
		if r.Tokens < 100 || r.Mean > r.Tolerance || r.Change < 5*r.Mean || r.Bytes < 1000 {
			t.Errorf("%s: %+v", out, r)
		}
		m, err := peft.Open(peft.Options{Registry: at("other"), Base: out, Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		p := eval(t, m).Perplexity
		if d := p/on - 1; d > 0.01 || d < -0.01 || p >= bare {
			t.Errorf("%s: perplexity %g, with the set %g, without %g", out, p, on, bare)
		}
		if out == at("f32") {
			back := at("back.gguf")
			if _, err := m.Unmerge(ctx, hf, out, peft.MergeOptions{Format: peft.FormatHF}); !errors.Is(err, os.ErrExist) {
				t.Errorf("over the base: %v", err)
			}
			if r, err := m.Unmerge(ctx, hf, back, peft.MergeOptions{Format: peft.FormatGGUF, Type: "F32"}); err != nil || r.Change < 100*r.Mean {
				t.Errorf("unmerged: %+v, %v", r, err)
			}
			b, err := peft.Open(peft.Options{Registry: at("third"), Base: back, Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			if d := eval(t, b).Perplexity/bare - 1; d > 1e-3 || d < -1e-3 {
				t.Errorf("unmerged: perplexity is %g of the base's more", d)
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	left, err := filepath.Glob(at(".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// testExchangeErrors: files that are no adapters, adapters that do not fit, and sets that no other program's format holds
// are refused with the reason, and nothing is left behind.
func testExchangeErrors(t *testing.T, e *peft.Engine, hf string) {
	if _, err := e.AddExperts(ctx, "neurons", peft.AddOptions{Data: []string{tidal}}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddExperts(ctx, "scaling", peft.AddOptions{Data: []string{tidal}, Adapter: peft.Adapter{Kind: "ia3"}}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if _, err := e.Export("a", at("a.peft")); err != nil {
		t.Fatal(err)
	}
	tiny := filepath.Join("adapters", "exchange", "testdata")
	add := func(o peft.AddOptions) func() error {
		return func() error { _, err := e.AddExperts(ctx, "x", o); return err }
	}
	export := func(name string, f peft.Format) func() error {
		return func() error { _, err := e.ExportAs(name, at("x"), f); return err }
	}
	merge := func(sets []string, o peft.MergeOptions) func() error {
		return func() error { _, err := e.Merge(ctx, sets, at("x"), o); return err }
	}
	gguf := peft.MergeOptions{Format: peft.FormatGGUF}
	for what, c := range map[string]struct {
		want error
		say  string
		f    func() error
	}{
		"no such path":          {os.ErrNotExist, "absent", add(peft.AddOptions{From: at("absent")})},
		"another directory":     {peft.ErrFormat, "adapter_config.json", add(peft.AddOptions{From: dir})},
		"a part of an adapter":  {peft.ErrFormat, hf, add(peft.AddOptions{From: filepath.Join(hf, "adapter_model.safetensors")})},
		"text":                  {peft.ErrFormat, "GGUF", add(peft.AddOptions{From: tidal})},
		"another base's":        {exchange.ErrMismatch, "self_attn", add(peft.AddOptions{From: filepath.Join(tiny, "lora-list")})},
		"another base's GGUF":   {exchange.ErrMismatch, "blk.0", add(peft.AddOptions{From: filepath.Join(tiny, "lora-list.gguf")})},
		"a model":               {exchange.ErrUnsupported, "adapter", add(peft.AddOptions{From: filepath.Join("base", "builtin", "model", "base.gguf")})},
		"own, with data":        {peft.ErrAdapter, "its own text", add(peft.AddOptions{From: at("a.peft"), Data: []string{tidal}})},
		"own, routed":           {peft.ErrAdapter, "routing", add(peft.AddOptions{From: at("a.peft"), Adapter: peft.Adapter{Routed: true}})},
		"a rank":                {peft.ErrAdapter, "how many", add(peft.AddOptions{From: hf, Adapter: peft.Adapter{Kind: "lora", Rank: 3}})},
		"no data":               {os.ErrNotExist, "absent", add(peft.AddOptions{From: hf, Data: []string{at("absent")}})},
		"neurons as hf":         {exchange.ErrUnsupported, "in cells", export("neurons", peft.FormatHF)},
		"scaling as gguf":       {exchange.ErrUnsupported, "plain LoRAs", export("scaling", peft.FormatGGUF)},
		"nobody as gguf":        {registry.ErrNotFound, "nobody", export("nobody", peft.FormatGGUF)},
		"a format":              {peft.ErrFormat, "zip", export("a", "zip")},
		"neurons merged":        {exchange.ErrUnsupported, "in cells", merge([]string{"a", "neurons"}, gguf)},
		"nobody merged":         {registry.ErrNotFound, "nobody", merge([]string{"nobody"}, gguf)},
		"merged as peft":        {peft.ErrFormat, "gguf", merge([]string{"a"}, peft.MergeOptions{Format: peft.FormatPEFT})},
		"a type":                {peft.ErrFormat, "Q3", merge([]string{"a"}, peft.MergeOptions{Format: peft.FormatGGUF, Type: "Q3"})},
		"8 bits in safetensors": {peft.ErrFormat, "Q8_0", merge([]string{"a"}, peft.MergeOptions{Format: peft.FormatHF, Type: "Q8_0"})},
		"an infinite scale":     {exchange.ErrNotFinite, "scale", merge([]string{"a*3e38"}, gguf)},
		"unmerging nothing": {registry.ErrNotFound, "nobody", func() error {
			_, err := e.Unmerge(ctx, "nobody", at("x"), gguf)
			return err
		}},
		"a directory in the way": {os.ErrExist, "files", func() error {
			_, err := e.Merge(ctx, []string{"a"}, dir, peft.MergeOptions{Format: peft.FormatHF})
			return err
		}},
	} {
		if err := c.f(); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if sets, err := e.List(); err != nil || len(sets) != 3 {
		t.Errorf("sets %v, %v", sets, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
}
