package tune

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/gopeft/peft/base/tokenizer"
)

// ErrData reports a data file that cannot be trained on.
var ErrData = errors.New("unusable training data")

// Data is what one or several files hold.
type Data struct {
	Docs    []Record       // whole texts, to be cut into sequences
	Records []Record       // to be kept whole
	Dropped map[string]int // records left out, by reason
}

// Record is a tokenised text. Trained[i] says whether token i is learned; the first token never is.
type Record struct {
	Tokens  []int32
	Trained []bool
	Text    bool // plain text, which may be cut into several sequences
}

// maxLine bounds one line of a .jsonl file, in bytes.
const maxLine = 16 << 20

// ReadFiles reads data files: .jsonl with one record a line, anything else as plain text. A line of .jsonl holds "text",
// "prompt" and "completion", "messages", or "question" and "answer"; only completions, the assistant's messages and
// answers are learned there, unless all is set. Errors name the file and line and wrap ErrData.
func ReadFiles(tok *tokenizer.Tokenizer, files []string, all bool) (*Data, error) {
	d := &Data{Dropped: map[string]int{}}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
		if len(bytes.TrimSpace(b)) == 0 {
			return nil, fmt.Errorf("data file %s is empty: %w", f, ErrData)
		}
		if bytes.IndexByte(b, 0) >= 0 || !utf8.Valid(b) {
			return nil, fmt.Errorf("data file %s is no UTF-8 text (a binary file, or another encoding?): %w", f, ErrData)
		}
		b = bytes.TrimPrefix(b, []byte("\ufeff"))
		switch strings.ToLower(filepath.Ext(f)) {
		case ".jsonl", ".ndjson":
			err = d.readJSONL(tok, f, b, all)
		case ".json":
			err = fmt.Errorf("data file %s: want one JSON object a line in a .jsonl file: %w", f, ErrData)
		default:
			d.addDoc(tok.Encode(string(b), false))
		}
		if err != nil {
			return nil, err
		}
	}
	return d, d.check()
}

func (d *Data) addDoc(ids []int32) { d.Docs = append(d.Docs, whole(ids)) }

// whole is a record all of whose tokens are learned.
func whole(ids []int32) Record {
	r := Record{Tokens: ids, Trained: make([]bool, len(ids))}
	for i := 1; i < len(ids); i++ {
		r.Trained[i] = true
	}
	return r
}

func (d *Data) check() error {
	for _, list := range [][]Record{d.Docs, d.Records} {
		for _, r := range list {
			if r.count() > 0 {
				return nil
			}
		}
	}
	return fmt.Errorf("no token to learn (dropped: %v): %w", d.Dropped, ErrData)
}

func (r Record) count() (n int) {
	for _, t := range r.Trained {
		if t {
			n++
		}
	}
	return n
}

type line struct {
	Text       *string             `json:"text"`
	Prompt     *string             `json:"prompt"`
	Completion *string             `json:"completion"`
	Question   *string             `json:"question"`
	Answer     *string             `json:"answer"`
	Messages   []tokenizer.Message `json:"messages"`
}

func (d *Data) readJSONL(tok *tokenizer.Tokenizer, file string, b []byte, all bool) error {
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, maxLine)
	n := 0
	for s.Scan() {
		n++
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return fmt.Errorf("data file %s, line %d: %w: %w", file, n, ErrData, err)
		}
		r, err := l.record(tok, all)
		if err != nil {
			return fmt.Errorf("data file %s, line %d: %w", file, n, err)
		}
		if r.count() == 0 {
			d.Dropped["nothing to learn"]++
			continue
		}
		d.Records = append(d.Records, r)
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("data file %s, line %d: %w: %w", file, n+1, ErrData, err)
	}
	return nil
}

func (l *line) record(tok *tokenizer.Tokenizer, all bool) (Record, error) {
	switch {
	case l.Text != nil:
		if strings.TrimSpace(*l.Text) == "" {
			return Record{}, nil
		}
		r := whole(withEnd(tok, tok.Encode(*l.Text, false)))
		r.Text = true
		return r, nil
	case l.Completion != nil:
		prompt := ""
		if l.Prompt != nil {
			prompt = *l.Prompt
		}
		return answer(tok, prompt, *l.Completion, all), nil
	case l.Question != nil && l.Answer != nil:
		if strings.TrimSpace(*l.Answer) == "" {
			return Record{}, nil
		}
		return answer(tok, QuestionPrompt(*l.Question), " "+strings.TrimSpace(*l.Answer), all), nil
	case len(l.Messages) > 0:
		return chat(tok, l.Messages, all)
	}
	return Record{}, fmt.Errorf(`want "text", "prompt" and "completion", "messages", or "question" and "answer": %w`, ErrData)
}

// QuestionPrompt is how a question is put to a model that learned from questions and answers. The blank before the answer
// is the answer's, because tokens begin with their blank.
func QuestionPrompt(q string) string { return questionHead + strings.TrimSpace(q) + questionTail }

// What stands around a question in its prompt.
const questionHead, questionTail = "Question: ", "\nAnswer:"

// AskedIn returns the question that QuestionPrompt made a prompt of, and any other text as it is.
func AskedIn(prompt string) string {
	q, ok := strings.CutPrefix(prompt, questionHead)
	if q, tail := strings.CutSuffix(q, questionTail); ok && tail {
		return q
	}
	return prompt
}

func withEnd(tok *tokenizer.Tokenizer, ids []int32) []int32 {
	if len(tok.EOS) > 0 {
		ids = append(ids, tok.EOS[0])
	}
	return ids
}

// answer is a prompt with the answer that is learned; an empty answer is no record.
func answer(tok *tokenizer.Tokenizer, prompt, text string, all bool) Record {
	if text == "" {
		return Record{}
	}
	ids := tok.Encode(prompt, true)
	n := len(ids)
	ids = withEnd(tok, append(ids, tok.Encode(text, false)...))
	r := whole(ids)
	if !all {
		clear(r.Trained[:n])
	}
	return r
}

// chat is a conversation in the model's template; the assistant's messages are learned, each with what ends it.
func chat(tok *tokenizer.Tokenizer, messages []tokenizer.Message, all bool) (Record, error) {
	var r Record
	before := ""
	for i, m := range messages {
		switch m.Role {
		case "system", "user", "assistant":
		default:
			return r, fmt.Errorf("message %d has role %q, want system, user or assistant: %w", i+1, m.Role, ErrData)
		}
		assistant := m.Role == "assistant"
		head := before
		if assistant {
			var err error
			if head, err = tok.ApplyChat(messages[:i], true); err != nil {
				return r, err
			}
		}
		text, err := tok.ApplyChat(messages[:i+1], false)
		if err != nil {
			return r, err
		}
		if !strings.HasPrefix(text, head) || !strings.HasPrefix(head, before) {
			return r, fmt.Errorf("the chat template rewrites earlier messages, so that the answers cannot be told apart: %w", ErrData)
		}
		r.extend(tok.Encode(head[len(before):], true), all)
		r.extend(tok.Encode(text[len(head):], true), assistant || all)
		before = text
	}
	if len(r.Trained) > 0 {
		r.Trained[0] = false
	}
	return r, nil
}

func (r *Record) extend(ids []int32, trained bool) {
	r.Tokens = append(r.Tokens, ids...)
	for range ids {
		r.Trained = append(r.Trained, trained)
	}
}
