package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"sync"
	"testing"
)

// withTemplate returns a tokenizer with BOS and EOS <|bos|> and the template.
func withTemplate(t testing.TB, template string) *Tokenizer {
	t.Helper()
	tok, err := Train(slices.Values([]string{sample}), 270, []string{"<|bos|>"}, template)
	if err != nil {
		t.Fatal(err)
	}
	tok.BOS = 0
	return tok
}

// TestJinjaParity compares with what jinja2 makes of the templates of testdata/chat.py.
func TestJinjaParity(t *testing.T) {
	b, err := os.ReadFile("testdata/chat.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Template, Text string
		Messages             []Message
		Prompt               bool
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 20 {
		t.Fatalf("only %d references", len(cases))
	}
	tok := withTemplate(t, "x")
	for _, c := range cases {
		tok.template = c.Template
		if got, err := tok.ApplyChat(c.Messages, c.Prompt); err != nil || got != c.Text {
			t.Errorf("%s: %q, want %q: %v", c.Name, got, c.Text, err)
		}
	}
}

func TestGeneration(t *testing.T) {
	tok := withTemplate(t, "x")
	tok.SetChat("{% generation %}{{ strftime_now('%Y') | length }}{% endgeneration %}")
	if got, err := tok.ApplyChat(nil, false); err != nil || got != "4" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestChatConcurrently(t *testing.T) {
	tok := withTemplate(t, chatML)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if got, err := tok.ApplyChat([]Message{{"user", "hi"}}, true); err != nil || got != "<|user|>hi\n<|assistant|>" {
					t.Errorf("%q, %v", got, err)
				}
				if ids := tok.Encode(sample, true); tok.Decode(ids) != sample {
					t.Error("encoding does not come back")
				}
			}
		})
	}
	wg.Wait()
}
