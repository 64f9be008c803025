package tokenizer

import (
	"errors"
	"fmt"
	"time"

	"github.com/gopeft/peft/base/tokenizer/internal/jinja"
)

// Message is one turn of a chat.
type Message struct {
	Role    string `json:"role"` // system, user or assistant
	Content string `json:"content"`
}

// SetChat replaces the chat template, for models that keep it in a file of its own; "" takes it away. Call it before the
// tokenizer is shared between goroutines.
func (t *Tokenizer) SetChat(template string) { t.template = template }

// Chat templates come with models, so they are programs of strangers, and bounded. A template handles each message a few
// times, by far less than chatFactor, and makes little else.
const (
	maxChat    = 16 << 20 // bytes that a template may write
	chatBytes  = 64 << 20 // bytes of all values and texts that it makes on the way,
	chatFactor = 16       // and how often it may make the texts of the messages beside that
	maxTime    = 10 * time.Second
)

// ApplyChat writes messages as the model's chat template has it; with addGenerationPrompt the text ends where the
// assistant's answer begins. A model without a template is an error.
//
// Templates may use what those of Hugging Face do: the statements for, if, set, macro, break, continue, raw and generation
// (not call, filter, with, do, include, import and others), the usual filters, tests and methods of strings, and nothing
// that changes a list or a dict. They cannot read files, and what one makes, writes and takes in time is bounded; one that
// wants more is ErrInvalid.
func (t *Tokenizer) ApplyChat(messages []Message, addGenerationPrompt bool) (text string, err error) {
	if t.template == "" {
		return "", fmt.Errorf("this model has no chat template; use plain text: %w", ErrUnsupported)
	}
	defer func() { // the last resort: a bug is no reason for a server to end
		if p := recover(); p != nil {
			text, err = "", fmt.Errorf("chat template: %w: %v", ErrInvalid, p)
		}
	}()
	limits := jinja.Limits{Bytes: chatBytes, Output: maxChat, Time: maxTime}
	for _, m := range messages {
		limits.Bytes += chatFactor * (len(m.Role) + len(m.Content))
	}
	return t.applyChat(messages, addGenerationPrompt, limits)
}

func (t *Tokenizer) applyChat(messages []Message, addGenerationPrompt bool, limits jinja.Limits) (string, error) {
	list := make([]any, len(messages))
	for i, m := range messages {
		d := &jinja.Dict{}
		d.Set("role", m.Role)
		d.Set("content", m.Content)
		list[i] = d
	}
	text, err := jinja.Render(t.template, map[string]any{
		"messages": list, "add_generation_prompt": addGenerationPrompt, "bos_token": t.textOf(t.BOS), "eos_token": t.textOf(t.eos()),
	}, limits)
	if errors.Is(err, jinja.ErrUnsupported) {
		return "", fmt.Errorf("chat template: %w: %.400s", ErrUnsupported, err.Error())
	}
	if err != nil {
		return "", fmt.Errorf("chat template: %w: %.400s", ErrInvalid, err.Error())
	}
	return text, nil
}

// textOf is the text of a token, "" for the id -1.
func (t *Tokenizer) textOf(id int32) string {
	if id < 0 {
		return ""
	}
	return t.tokens[id]
}

func (t *Tokenizer) eos() int32 {
	if len(t.EOS) == 0 {
		return -1
	}
	return t.EOS[0]
}
