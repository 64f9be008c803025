package peft_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/adapters/peer"
)

// kindsTested are adapters of every kind, in cells and always on.
var kindsTested = map[string]peft.Adapter{
	"lora":              {Kind: "lora", Rank: 4, Targets: []string{"all-linear"}},
	"rslora-routed":     {Kind: "lora", RSLoRA: true, Routed: true, Targets: []string{"q_proj", "down_proj", "beside"}},
	"dora":              {Kind: "lora", Rank: 4, DoRA: true},
	"ia3":               {Kind: "ia3"},
	"ia3-routed":        {Kind: "ia3", Routed: true},
	"bottleneck":        {Kind: "bottleneck", Rank: 4},
	"bottleneck-serial": {Kind: "bottleneck", Rank: 4, Activation: "gelu", Targets: []string{"o_proj", "down_proj"}},
	"neuron-up":         {Kind: "neuron", Targets: []string{"up_proj"}},
}

// quickKinds are those of them that are tested always.
var quickKinds = []string{"lora", "rslora-routed"}

// TestKinds: a set of every kind is trained, helps, comes back from the registry and from a file as it was, and leaves
// another set and the base as they are, to the bit.
func TestKinds(t *testing.T) {
	e := open(t)
	bare := eval(t, e)
	if _, err := e.Finetune(ctx, "first", short); err != nil {
		t.Fatal(err)
	}
	first := eval(t, e, "first")
	for name, a := range kindsTested {
		t.Run(name, func(t *testing.T) {
			if !slices.Contains(quickKinds, name) && os.Getenv("PEFT_SLOW") == "" {
				t.Skip("set PEFT_SLOW=1 for the kind")
			}
			o := short
			o.Adapter, o.ReportTokens, o.LearningRate = a, -1, 5e-3
			if a.Kind == "ia3" {
				o.LearningRate = 5e-2
			}
			r, err := e.Finetune(ctx, "new", o)
			if err != nil {
				t.Fatal(err)
			}
			on := eval(t, e, "new")
			if r.After.Target >= r.Before.Target || on.Perplexity >= bare.Perplexity {
				t.Errorf("perplexity %v → %v held out, %v → %v", r.Before.Target, r.After.Target, bare.Perplexity, on.Perplexity)
			}
			if eval(t, e, "first").LogitsSHA256 != first.LogitsSHA256 || eval(t, e).LogitsSHA256 != bare.LogitsSHA256 {
				t.Error("the other set or the base changed")
			}
			if eval(t, e, "first", "new").LogitsSHA256 != eval(t, e, "new", "first").LogitsSHA256 {
				t.Error("the order counts")
			}
			info, err := e.Show("new")
			if err != nil || info.AlwaysOn != (!a.Routed && a.Kind != "neuron") || info.Gate == nil {
				t.Errorf("%+v, %v", info, err)
			}
			file := filepath.Join(t.TempDir(), "new.peft")
			if _, err := e.Export("new", file); err != nil {
				t.Fatal(err)
			}
			if _, err := e.AddExperts(ctx, "again", peft.AddOptions{From: file, ReportTokens: -1}); err != nil {
				t.Fatal(err)
			}
			if eval(t, e, "again").LogitsSHA256 != on.LogitsSHA256 {
				t.Error("another set came back from the file")
			}
			if a.DoRA {
				if _, err := e.Evaluate(ctx, peft.EvalOptions{Data: []string{tidal}, Sets: []string{"new", "again"}}); !errors.Is(err, peer.ErrPlace) {
					t.Errorf("two DoRA sets at one layer: %v", err)
				}
			}
			text := func(sets ...string) []int32 {
				g, err := e.Generate(ctx, peft.GenerateOptions{Prompt: "The tide", MaxTokens: 6, Sets: sets}, nil)
				if err != nil {
					t.Fatal(err)
				}
				return g.TokenIDs
			}
			if !slices.Equal(text("new"), text("again")) {
				t.Error("the same set generates something else")
			}
			if err := errors.Join(e.Remove(ctx, "new"), e.Remove(ctx, "again")); err != nil {
				t.Fatal(err)
			}
			if eval(t, e).LogitsSHA256 != bare.LogitsSHA256 {
				t.Error("the base changed")
			}
		})
	}
}

// TestAdapterErrors: what cannot be is refused before anything is computed.
func TestAdapterErrors(t *testing.T) {
	e := open(t)
	for name, c := range map[string]struct {
		a    peft.Adapter
		want error
	}{
		"kind":            {peft.Adapter{Kind: "magic"}, peer.ErrUnknownKind},
		"rank":            {peft.Adapter{Kind: "ia3", Rank: 4}, peft.ErrAdapter},
		"negative rank":   {peft.Adapter{Kind: "lora", Rank: -1}, peft.ErrAdapter},
		"alpha":           {peft.Adapter{Kind: "bottleneck", Alpha: 4}, peft.ErrAdapter},
		"activation":      {peft.Adapter{Kind: "bottleneck", Activation: "tanh"}, peft.ErrAdapter},
		"target":          {peft.Adapter{Kind: "lora", Targets: []string{"k"}}, peft.ErrAdapter},
		"dora in cells":   {peft.Adapter{Kind: "lora", DoRA: true, Routed: true}, peft.ErrAdapter},
		"dora beside":     {peft.Adapter{Kind: "lora", DoRA: true, Targets: []string{"beside"}}, peft.ErrAdapter},
		"ia3 beside":      {peft.Adapter{Kind: "ia3", Targets: []string{"beside"}}, peft.ErrAdapter},
		"neuron of alpha": {peft.Adapter{Alpha: 3}, peft.ErrAdapter},
	} {
		if _, err := e.AddExperts(ctx, "a", peft.AddOptions{Data: []string{tidal}, Adapter: c.a}); !errors.Is(err, c.want) {
			t.Errorf("%s: add: %v", name, err)
		}
		o := short
		o.Adapter = c.a
		if _, err := e.Finetune(ctx, "a", o); !errors.Is(err, c.want) {
			t.Errorf("%s: finetune: %v", name, err)
		}
	}
	o := short
	o.Decay = "slow"
	if _, err := e.Finetune(ctx, "a", o); err == nil {
		t.Error("an unknown decay passes")
	}
	if _, err := e.AddExperts(ctx, "a", peft.AddOptions{Data: []string{tidal}, Adapter: peft.Adapter{Kind: "lora"}, Experts: 5}); !errors.Is(err, peft.ErrAdapter) {
		t.Errorf("experts of an adapter that is always on: %v", err)
	}
	if sets, err := e.List(); err != nil || len(sets) != 0 {
		t.Errorf("sets %v, %v", sets, err)
	}
}
