package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
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

func TestHostileTemplates(t *testing.T) {
	tok := withTemplate(t, "x")
	for name, tpl := range map[string]string{
		"endless macro":    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
		"two macros":       "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
		"endless loop":     "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
		"huge range":       "{% for i in range(1000000000000) %}x{% endfor %}",
		"backward range":   "{% for i in range(0, -1000000000000, -1) %}x{% endfor %}",
		"step 0":           "{% for i in range(0, 1, 0) %}x{% endfor %}",
		"huge output":      "{% for i in range(60000) %}" + strings.Repeat("x", 1000) + "{% endfor %}",
		"include":          "{% include '/etc/hosts' %}",
		"import":           "{% import '/etc/hosts' as f %}",
		"extends":          "{% extends 'chat' %}",
		"raised":           "{{ raise_exception('no such role') }}",
		"unclosed":         "{% if true %}",
		"huge template":    strings.Repeat("x", 64<<10+1),
		"deep brackets":    "{{ " + strings.Repeat("(", 8<<10-10) + " }}",
		"deep lists":       "{{ " + strings.Repeat("[", 8<<10-10) + " }}",
		"many brackets":    "{{ " + strings.Repeat("(", 8<<10+1) + " }}",
		"deep statements":  strings.Repeat("{% if 1 %}", 64<<10/10-1),
		"negations":        "{{ " + strings.Repeat("not ", 64<<10/4-10) + " }}",
		"signs":            "{{ " + strings.Repeat("-", 64<<10-10) + " }}",
		"powers":           "{{ 1" + strings.Repeat("**1", 64<<10/3-10) + " + }}",
		"sums":             "{{ 1" + strings.Repeat("~1", 64<<10/2-10) + " + }}",
		"filters":          "{{ 1" + strings.Repeat("|e", 64<<10/2-10) + " + }}",
		"attributes":       "{{ a" + strings.Repeat(".a", 64<<10/2-10) + " + }}",
		"missing function": "{{ no_such_function() }}",
	} {
		t.Run(name, func(t *testing.T) {
			tok.template = tpl
			if text, err := tok.ApplyChat([]Message{{"user", "hi"}}, true); err == nil {
				t.Errorf("gave %d bytes, %.60q", len(text), text)
			}
		})
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

func FuzzChatTemplate(f *testing.F) {
	f.Add(chatML)
	f.Add("{% macro f(x) %}{{ x }}{% endmacro %}{{ f(1) }}")
	tok := withTemplate(f, "x")
	f.Fuzz(func(t *testing.T, template string) {
		own := &Tokenizer{BOS: tok.BOS, EOS: tok.EOS, tokens: tok.tokens, template: template}
		if text, err := own.ApplyChat([]Message{{"user", "hi"}}, true); err == nil && len(text) > maxChat {
			t.Errorf("%d bytes", len(text))
		}
	})
}
