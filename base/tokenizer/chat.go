package tokenizer

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/nikolalohinski/gonja/v2"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// Message is one turn of a chat.
type Message struct {
	Role    string `json:"role"` // system, user or assistant
	Content string `json:"content"`
}

// maxChat bounds what a template may write, in bytes.
const maxChat = 16 << 20

// HasChat reports whether the tokenizer has a chat template.
func (t *Tokenizer) HasChat() bool { return t.template != "" }

// ApplyChat writes messages as the model's chat template has it; with addGenerationPrompt the text ends where the
// assistant's answer begins. The template cannot read files. A model without a template is an error.
func (t *Tokenizer) ApplyChat(messages []Message, addGenerationPrompt bool) (text string, err error) {
	if t.template == "" {
		return "", fmt.Errorf("this model has no chat template; use plain text: %w", ErrUnsupported)
	}
	defer func() { // templates come with models, and the engine is not ours
		if p := recover(); p != nil {
			err = fmt.Errorf("chat template: %w: %v", ErrInvalid, p)
		}
	}()
	cfg := config.New()
	cfg.TrimBlocks, cfg.LeftStripBlocks = true, true // as Hugging Face sets them
	tpl, err := exec.NewTemplate(rootTemplate, cfg, noFiles{t.template}, gonja.DefaultEnvironment)
	if err != nil {
		return "", fmt.Errorf("chat template: %w: %w", ErrInvalid, err)
	}
	list := make([]any, len(messages))
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
	var out limited
	err = tpl.Execute(&out, exec.NewContext(map[string]any{
		"messages": list, "add_generation_prompt": addGenerationPrompt, "bos_token": token(t.BOS), "eos_token": token(eos),
		"raise_exception": func(msg string) (string, error) { return "", errors.New(msg) },
	}))
	if err != nil {
		return "", fmt.Errorf("chat template: %w: %w", ErrInvalid, err)
	}
	return out.String(), nil
}

// limited is a buffer that refuses to grow beyond maxChat.
type limited struct{ bytes.Buffer }

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > maxChat {
		return 0, fmt.Errorf("more than %d bytes: %w", maxChat, ErrInvalid)
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
