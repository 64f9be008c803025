package peft

import (
	"slices"
	"strings"
	"testing"

	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/base/tokenizer"
)

// TestAsked: what is asked is found in every form, whatever system message stands before it and however long the talk is.
func TestAsked(t *testing.T) {
	b, err := base.Open("builtin", base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	tok := b.Tokenizer
	const (
		question = "What does the red light mean?"
		chatML   = `{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`
		byItself = `{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}` + chatML
		noSystem = `{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system messages') }}{% elif m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}`
	)
	user, system := tokenizer.Message{Role: "user", Content: question}, tokenizer.Message{Role: "system", Content: "Answer in one word, and only about lamps."}
	talk := []tokenizer.Message{user, {Role: "assistant", Content: "Heat."}, {Role: "user", Content: "And the blue one?"}}
	for _, c := range []struct {
		name, template string
		messages       []tokenizer.Message
		from, to       string // what is asked begins and ends with
	}{
		{"user", chatML, []tokenizer.Message{user}, question, question},
		{"system and user", chatML, []tokenizer.Message{system, user}, question, question},
		{"a talk", chatML, talk, question, "And the blue one?"},
		{"its own system message", byItself, []tokenizer.Message{user}, question, question},
		{"system instead of its own", byItself, []tokenizer.Message{system, user}, question, question},
		{"no system messages", noSystem, []tokenizer.Message{user}, question, question},
		{"a talk without them", noSystem, talk, question, "And the blue one?"},
		{"nothing", chatML, []tokenizer.Message{{Role: "user"}}, "<|im_start|>", "assistant"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok.SetChat(c.template)
			text, err := tok.ApplyChat(c.messages, true)
			if err != nil {
				t.Fatal(err)
			}
			wantAsked(t, tok, text, c.from, c.to)
		})
	}
	tok.SetChat("")
	wantAsked(t, tok, tune.QuestionPrompt(question), question, question)
	wantAsked(t, tok, question, question, question)
	wantAsked(t, tok, "Question: is this one", "Question:", "this one")
	wantAsked(t, tok, "A list.\nAnswer:", "A list.", "Answer:")
}

func wantAsked(t *testing.T, tok *tokenizer.Tokenizer, text, begins, ends string) {
	t.Helper()
	ids := tok.Encode(text, true)
	from, to := newPrompter(tok).asked(ids)
	if got := strings.TrimSpace(tok.Decode(ids[from:to])); !strings.HasPrefix(got, begins) || !strings.HasSuffix(got, ends) {
		t.Errorf("in %q %q is asked, want %q to %q", text, got, begins, ends)
	}
}

// TestJudged: at most the last gateJudged rows of what is asked, never a text's first.
func TestJudged(t *testing.T) {
	p := &prompter{forms: []promptForm{{head: []int32{7, 8}, tail: []int32{9}}}}
	for _, c := range []struct{ plain, from, to int }{{0, 0, 0}, {1, 1, 1}, {2, 1, 2}, {64, 1, 64}, {129, 1, 129}, {200, 72, 200}} {
		prompt := make([]int32, c.plain)
		if from, to := p.judged(prompt); from != c.from || to != c.to {
			t.Errorf("of %d tokens %d to %d are judged, want %d to %d", c.plain, from, to, c.from, c.to)
		}
		if c.plain == 0 {
			continue
		}
		from, to := p.judged(slices.Concat([]int32{7, 8}, prompt, []int32{9}))
		if want := max(2, c.plain+2-gateJudged); from != want || to != c.plain+2 {
			t.Errorf("of %d tokens in a form %d to %d are judged, want %d to %d", c.plain, from, to, want, c.plain+2)
		}
	}
}

// TestQuestions: what makes gates, sets thresholds and measures them has questions in all forms.
func TestQuestions(t *testing.T) {
	b, err := base.Open("builtin", base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	o, made := newForeign("questions", newPrompter(b.Tokenizer).questions(b.Tokenizer))
	for name, part := range map[string][][]int32{"made": made, "set": o.set, "test": o.test} {
		forms := 0
		for _, q := range part {
			if strings.HasPrefix(b.Tokenizer.Decode(q), "Question: ") {
				forms++
			}
		}
		if len(part) < 20 || forms < len(part)/4 || forms > 3*len(part)/4 {
			t.Errorf("%s: %d questions, %d in the form of data", name, len(part), forms)
		}
	}
	if !o.guess {
		t.Error("questions are not called foreign by anybody")
	}
}
