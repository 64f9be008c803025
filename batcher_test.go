package peft_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gopeft/peft"
)

// TestBatcher compares generations that run at once, with different sets, with each alone, and then changes the registry under
// those that run.
func TestBatcher(t *testing.T) {
	e := open(t)
	if _, err := e.Finetune(ctx, "manual", short); err != nil {
		t.Fatal(err)
	}
	lora := short
	lora.Kind, lora.Steps = "lora", 4
	if _, err := e.Finetune(ctx, "lora", lora); err != nil {
		t.Fatal(err)
	}
	b, err := e.NewBatcher(peft.BatchOptions{BatchTokens: 64})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("same", func(t *testing.T) { batchedSame(t, e, b) })
	t.Run("embed", func(t *testing.T) { batchedEmbed(t, b) })
	t.Run("provenance", func(t *testing.T) { batchedProvenance(t, b) })
	t.Run("registry", func(t *testing.T) { batchedRegistry(t, e, b) })
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
	if _, err := b.Generate(ctx, peft.GenerateOptions{Prompt: "x"}, nil); !errors.Is(err, peft.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func batchedSame(t *testing.T, e *peft.Engine, b *peft.Batcher) {
	text, err := os.ReadFile(tidal)
	if err != nil {
		t.Fatal(err)
	}
	var all []peft.GenerateOptions
	for i := range 14 {
		o := peft.GenerateOptions{Prompt: string(text[:200+i/4*250]), MaxTokens: 4 + i, Seed: uint64(i), LogProbs: 3, Client: fmt.Sprint(i % 3)}
		if i%2 == 1 {
			o.Temperature, o.TopP, o.Repetition = 1, 0.95, 1.1
		}
		switch i % 7 {
		case 1:
			o.Sets = []string{"manual"}
		case 2:
			o.Sets = []string{"manual", "lora*0.5"}
		case 3:
			o.Sets = []string{"lora"}
		case 4:
			o.Auto = true
		case 5:
			o.Auto, o.Sets = true, []string{"manual"}
		case 6:
			o.Sets, o.Provenance = []string{"lora", "manual"}, true
		}
		all = append(all, o)
	}
	stop := all[1]
	whole, err := e.Generate(ctx, stop, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(whole.Text); n > 4 {
		stop.Stop = []string{whole.Text[n/2 : n/2+2]}
		all = append(all, stop)
	}
	want := make([]*peft.GenerateResult, len(all))
	for i, o := range all {
		if want[i], err = e.Generate(ctx, o, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time prompts are known
		var wg sync.WaitGroup
		for i, o := range all {
			wg.Go(func() {
				var said strings.Builder
				var ids []int32
				got, err := b.Generate(ctx, o, func(k peft.Token) error {
					said.WriteString(k.Text)
					if k.ID >= 0 {
						ids = append(ids, k.ID)
						if len(k.Top) != 3 || k.LogProb >= 0 || k.LogProb > k.Top[0].LogProb {
							t.Errorf("request %d: token %+v", i, k)
						}
					}
					return nil
				})
				if err != nil {
					t.Errorf("request %d: %v", i, err)
					return
				}
				w := want[i]
				if !slices.Equal(got.TokenIDs, w.TokenIDs) || !slices.Equal(ids, w.TokenIDs) || got.Text != w.Text || said.String() != w.Text ||
					got.Stop != w.Stop || got.PromptTokens != w.PromptTokens || !reflect.DeepEqual(got.Fired, w.Fired) {
					t.Errorf("request %d, %v: %+v\nalone %+v\nsaid %q", i, o.Sets, got, w, said.String())
				}
			})
		}
		wg.Wait()
	}
	if s := b.Stats(); s.Reused == 0 || s.Written == 0 || s.Running != 0 || s.CacheTokens == 0 {
		t.Errorf("%+v", s)
	}
}

func batchedEmbed(t *testing.T, b *peft.Batcher) {
	texts := []string{"the machine descales itself", "a machine that is descaled", "func main() { return }"}
	v, tokens, err := b.Embed(ctx, texts, []string{"manual"}, false)
	if err != nil || len(v) != 3 || tokens < 9 {
		t.Fatal(v, tokens, err)
	}
	dot := func(a, b []float32) (sum float64) {
		for i := range a {
			sum += float64(a[i]) * float64(b[i])
		}
		return sum
	}
	if math.Abs(dot(v[0], v[0])-1) > 1e-5 || dot(v[0], v[1]) <= dot(v[0], v[2]) {
		t.Errorf("lengths %v, like %v, unlike %v", dot(v[0], v[0]), dot(v[0], v[1]), dot(v[0], v[2]))
	}
	bare, _, err := b.Embed(ctx, texts[:1], nil, false)
	if err != nil || reflect.DeepEqual(bare[0], v[0]) {
		t.Errorf("the set changes nothing: %v", err)
	}
	if _, _, err := b.Embed(ctx, []string{"x", ""}, nil, false); err == nil {
		t.Error("an empty text was embedded")
	}
}

func batchedProvenance(t *testing.T, b *peft.Batcher) {
	n := 0
	r, err := b.Generate(ctx, peft.GenerateOptions{Prompt: "To descale the machine,", Sets: []string{"manual", "lora"}, MaxTokens: 5, Provenance: true}, func(k peft.Token) error {
		if k.ID < 0 {
			return nil
		}
		n++
		if len(k.Shares) != 2 || k.Shares[0].Set != "lora@1" || k.Shares[1].Share <= 0 || k.Shares[1].Share >= 1 {
			t.Errorf("%+v", k)
		}
		return nil
	})
	if err != nil || n != len(r.TokenIDs) || len(r.Shares) != 2 || r.Shares[1].Share <= 0 {
		t.Errorf("%d tokens, %+v, %v", n, r, err)
	}
}

// batchedRegistry rolls back, trains and removes a set while requests that name it run: each gets the answer of the revision
// that it began with.
func batchedRegistry(t *testing.T, e *peft.Engine, b *peft.Batcher) {
	o := peft.GenerateOptions{Prompt: "To descale the machine,", Sets: []string{"manual"}, MaxTokens: 40}
	old, err := e.Generate(ctx, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	begun, goOn := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			first := true
			got, err := b.Generate(ctx, o, func(peft.Token) error {
				if first {
					first = false
					begun <- true
					<-goOn
				}
				return nil
			})
			if err != nil || !slices.Equal(got.TokenIDs, old.TokenIDs) {
				t.Errorf("%+v, want %+v, %v", got, old, err)
			}
		})
	}
	for range 3 {
		<-begun
	}
	if err := e.Remove(ctx, "manual"); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	wg.Wait()
	if _, err := b.Generate(ctx, o, nil); err == nil {
		t.Error("a removed set answers")
	}
	again := short
	again.Steps = 3
	if _, err := e.Finetune(ctx, "manual", again); err != nil { // revision 1 of another set
		t.Fatal(err)
	}
	want, err := e.Generate(ctx, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Generate(ctx, o, nil); err != nil || !slices.Equal(got.TokenIDs, want.TokenIDs) {
		t.Errorf("a set of the same name: %+v, want %+v, %v", got, want, err)
	}
}
