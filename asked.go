package peft

import (
	"slices"

	"github.com/gopeft/peft/adapters/tune"
	"github.com/gopeft/peft/base/tokenizer"
)

// prompter tells what people ask in prompts from what all prompts of a form have in common, which gates do not judge: a set
// is asked in other forms than its text has, most often in the base's chat template.
type prompter struct{ forms []promptForm }

// promptForm is what surrounds a text in a prompt.
type promptForm struct {
	render     func(text string) (string, error)
	head, tail []int32 // before and after the text
	open       []int32 // what the head ends with, whatever system message stands in it; may be empty
}

// newPrompter knows the form in which questions of data are put, and the chat template where the base has one. A template that
// cannot be rendered has no form.
func newPrompter(t *tokenizer.Tokenizer) *prompter {
	p := new(prompter)
	p.add(t, func(text string) (string, error) { return tune.QuestionPrompt(text), nil }, nil)
	user := func(text string) (string, error) {
		return t.ApplyChat([]tokenizer.Message{{Role: "user", Content: text}}, true)
	}
	p.add(t, user, func(text string) (string, error) {
		return t.ApplyChat([]tokenizer.Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: text}}, true)
	})
	return p
}

func (p *prompter) add(t *tokenizer.Tokenizer, render, another func(text string) (string, error)) {
	f := promptForm{render: render}
	var ok bool
	if f.head, f.tail, ok = surroundings(t, render); !ok {
		return
	}
	if another != nil { // unless the template has no system messages
		if head, _, ok := surroundings(t, another); ok {
			f.open = f.head[len(f.head)-commonEnd(f.head, head):]
		}
	}
	p.forms = append(p.forms, f)
}

// surroundings returns the tokens that prompts have before and after a text, whatever it is.
func surroundings(t *tokenizer.Tokenizer, render func(text string) (string, error)) (head, tail []int32, ok bool) {
	for i, probe := range []string{"Anna", "what?", "7.", "(so it is)"} {
		text, err := render(probe)
		if err != nil {
			return nil, nil, false
		}
		ids := t.Encode(text, true)
		if i == 0 {
			head, tail = ids, ids
		}
		head, tail = head[:commonStart(head, ids)], tail[len(tail)-commonEnd(tail, ids):]
	}
	return head, tail, len(head)+len(tail) > 0
}

func commonStart(a, b []int32) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func commonEnd(a, b []int32) (n int) {
	for n < min(len(a), len(b)) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

// asked returns the rows of a prompt in which something is asked: of a conversation all from the first message of the user to
// the last, of a question the question, of any other text all.
func (p *prompter) asked(prompt []int32) (from, to int) {
	for _, f := range p.forms {
		to = len(prompt) - len(f.tail)
		switch {
		case to < 0 || !slices.Equal(prompt[to:], f.tail):
			continue
		case len(prompt) >= len(f.head) && slices.Equal(prompt[:len(f.head)], f.head):
			from = len(f.head)
		case len(f.open) > 0:
			if from = index32(prompt, f.open); from < 0 {
				continue
			}
			from += len(f.open)
		default:
			continue
		}
		if from < to {
			return from, to
		}
	}
	return 0, len(prompt)
}

// index32 returns where part begins in all; -1 when it is not there.
func index32(all, part []int32) int {
	for i := 0; i+len(part) <= len(all); i++ {
		if slices.Equal(all[i:i+len(part)], part) {
			return i
		}
	}
	return -1
}

// judged returns which rows of a prompt are judged: the last gateJudged of what is asked, but never the first of a text, whose
// cells say nothing (a transformer uses it as a sink of attention).
func (p *prompter) judged(prompt []int32) (from, to int) {
	from, to = p.asked(prompt)
	return min(max(1, from, to-gateJudged), to), to
}
