package tokenizer

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// Message is one turn of a chat.
type Message struct {
	Role    string `json:"role"` // system, user or assistant
	Content string `json:"content"`
}

// SetChat replaces the chat template, for models that keep it in a file of its own; "" takes it away. Call it before the
// tokenizer is shared between goroutines.
func (t *Tokenizer) SetChat(template string) { t.template = template }

// ApplyChat writes messages as the model's chat template has it; with addGenerationPrompt the text ends where the
// assistant's answer begins. The template cannot read files, and its time and output are bounded. A model without a
// template is an error.
func (t *Tokenizer) ApplyChat(messages []Message, addGenerationPrompt bool) (text string, err error) {
	if t.template == "" {
		return "", fmt.Errorf("this model has no chat template; use plain text: %w", ErrUnsupported)
	}
	defer func() { // templates come with models, and the engine is not ours
		if p := recover(); p != nil {
			err = fmt.Errorf("chat template: %w: %v", ErrInvalid, p)
		}
	}()
	if len(t.template) > maxTemplate {
		return "", fmt.Errorf("chat template of %d bytes, at most %d: %w", len(t.template), maxTemplate, ErrInvalid)
	}
	if n := strings.Count(t.template, "(") + strings.Count(t.template, "[") + strings.Count(t.template, "{"); n > maxBrackets {
		return "", fmt.Errorf("chat template with %d brackets, at most %d: %w", n, maxBrackets, ErrInvalid)
	}
	cfg := config.New()
	cfg.TrimBlocks, cfg.LeftStripBlocks = true, true // as Hugging Face sets them
	run := &budget{end: time.Now().Add(maxTime)}
	tpl, err := exec.NewTemplate(rootTemplate, cfg, noFiles{t.template}, environment(run))
	if err != nil {
		return "", t.templateError(err)
	}
	list := make(turns, len(messages))
	for i, m := range messages {
		list[i] = map[string]any{"role": m.Role, "content": m.Content}
	}
	token := func(id int32) string {
		if id < 0 {
			return ""
		}
		return t.tokens[id]
	}
	eos := int32(-1)
	if len(t.EOS) > 0 {
		eos = t.EOS[0]
	}
	out := limited{run: run}
	err = tpl.Execute(&out, exec.NewContext(map[string]any{
		"messages": list, "add_generation_prompt": addGenerationPrompt, "bos_token": token(t.BOS), "eos_token": token(eos),
	}))
	if err != nil {
		return "", t.templateError(err)
	}
	return out.String(), nil
}

// templateError leaves out the template itself, which the engine puts into its messages.
func (t *Tokenizer) templateError(err error) error {
	return fmt.Errorf("chat template: %w: %.400s", ErrInvalid, strings.ReplaceAll(err.Error(), t.template, "…"))
}

// turns is a list that counts from its end as Python does; the engine does not reach the first item so.
type turns []any

// GetItem returns the item at an index.
func (t turns) GetItem(key any) (*exec.Value, bool) {
	i, ok := key.(int)
	if ok && i < 0 {
		i += len(t)
	}
	if !ok || i < 0 || i >= len(t) {
		return exec.AsValue(nil), false
	}
	return exec.AsValue(t[i]), true
}

// limited is a buffer that refuses to grow beyond maxChat, or when the time is over.
type limited struct {
	bytes.Buffer
	run *budget
}

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > maxChat {
		return 0, fmt.Errorf("more than %d bytes: %w", maxChat, ErrInvalid)
	}
	if err := l.run.check(); err != nil {
		return 0, err
	}
	return l.Buffer.Write(b)
}

func (l *limited) WriteString(s string) (int, error) { return l.Write([]byte(s)) }

const rootTemplate = "chat"

// noFiles is a loader that knows the one template and no others.
type noFiles struct{ source string }

func (n noFiles) Read(path string) (io.Reader, error) {
	if path != rootTemplate {
		return nil, fmt.Errorf("template %q: a chat template may not include others: %w", path, ErrUnsupported)
	}
	return bytes.NewReader([]byte(n.source)), nil
}

func (n noFiles) Resolve(path string) (string, error) { return path, nil }

func (n noFiles) Inherit(string) (loaders.Loader, error) { return n, nil }
