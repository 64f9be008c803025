package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

type hfFile struct {
	AddedTokens  []hfAdded `json:"added_tokens"`
	Normalizer   *hfPart   `json:"normalizer"`
	PreTokenizer *hfPart   `json:"pre_tokenizer"`
	Decoder      *hfPart   `json:"decoder"`
	Model        struct {
		Type         string            `json:"type"`
		Vocab        map[string]int32  `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"`
		IgnoreMerges bool              `json:"ignore_merges"`
		ByteFallback bool              `json:"byte_fallback"`
		Dropout      float64           `json:"dropout"`
		Unknown      string            `json:"unk_token"`
		FuseUnknown  bool              `json:"fuse_unk"`
		Prefix       string            `json:"continuing_subword_prefix"`
		Suffix       string            `json:"end_of_word_suffix"`
	} `json:"model"`
}

type hfAdded struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	Special    *bool  `json:"special"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
}

type hfPart struct {
	Type             string   `json:"type"`
	IndividualDigits bool     `json:"individual_digits"`
	UseRegex         *bool    `json:"use_regex"`
	AddPrefixSpace   bool     `json:"add_prefix_space"`
	Prepend          string   `json:"prepend"`
	PrependScheme    string   `json:"prepend_scheme"`
	Replacement      string   `json:"replacement"`
	Content          string   `json:"content"`
	SplitWords       *bool    `json:"split"` // Metaspace's
	Pretokenizers    []hfPart `json:"pretokenizers"`
	Normalizers      []hfPart `json:"normalizers"`
	Decoders         []hfPart `json:"decoders"`
	Behavior         string   `json:"behavior"`
	Invert           bool     `json:"invert"`
	Pattern          struct {
		Regex  string `json:"Regex"`
		String string `json:"String"`
	} `json:"pattern"`
}

type hfConfig struct {
	BOS      hfToken         `json:"bos_token"`
	EOS      hfToken         `json:"eos_token"`
	Template json.RawMessage `json:"chat_template"`
}

// hfToken is a token's text, written as a string or as an object with "content".
type hfToken string

func (t *hfToken) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = hfToken(s)
		return nil
	}
	var o struct{ Content string }
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	*t = hfToken(o.Content)
	return nil
}

// FromHF reads a tokenizer from a Hugging Face tokenizer.json and, when not nil, tokenizer_config.json.
func FromHF(tokenizerJSON, configJSON []byte) (*Tokenizer, error) {
	var f hfFile
	if err := json.Unmarshal(tokenizerJSON, &f); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w: %w", ErrInvalid, err)
	}
	if f.Model.Type != "BPE" {
		return nil, fmt.Errorf("tokenizer.json: model %q: only BPE is known: %w", f.Model.Type, ErrUnsupported)
	}
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	n := len(f.Model.Vocab)
	for _, a := range f.AddedTokens {
		n = max(n, int(a.ID)+1)
	}
	if n > len(f.Model.Vocab)+len(f.AddedTokens) {
		return nil, fmt.Errorf("tokenizer.json: ids up to %d for %d tokens: %w", n-1, len(f.Model.Vocab)+len(f.AddedTokens), ErrInvalid)
	}
	s := spec{tokens: make([]string, n), bos: -1, whole: f.Model.IgnoreMerges}
	set := func(id int32, tok string) error {
		if id < 0 || int(id) >= n || s.tokens[id] != "" && s.tokens[id] != tok {
			return fmt.Errorf("tokenizer.json: token %q with id %d of %d: %w", tok, id, n, ErrInvalid)
		}
		s.tokens[id] = tok
		return nil
	}
	for tok, id := range f.Model.Vocab {
		if err := set(id, tok); err != nil {
			return nil, err
		}
	}
	for _, a := range f.AddedTokens {
		if err := set(a.ID, a.Content); err != nil {
			return nil, err
		}
		s.added = append(s.added, added{id: a.ID, text: a.Content, plain: a.Special != nil && !*a.Special, lstrip: a.LStrip, rstrip: a.RStrip})
	}
	for i, raw := range f.Model.Merges {
		m, err := parseMerge(raw)
		if err != nil {
			return nil, fmt.Errorf("tokenizer.json: merge %d: %w", i, err)
		}
		s.merges = append(s.merges, m)
	}
	var err error
	if f.Model.ByteFallback {
		s.pieces, err = f.pieces()
	} else {
		s.split, err = hfSplitter(f.Normalizer, f.PreTokenizer)
	}
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	if len(configJSON) > 0 {
		if err := s.configure(configJSON); err != nil {
			return nil, err
		}
	}
	return build(s)
}

// check refuses what would change the tokens and is not known here.
func (f *hfFile) check() error {
	m := f.Model
	switch {
	case m.Dropout != 0:
		return fmt.Errorf("dropout %g: merges left out at random make tokens that cannot be repeated: %w", m.Dropout, ErrUnsupported)
	case m.Prefix != "" || m.Suffix != "":
		return fmt.Errorf("continuing_subword_prefix %q, end_of_word_suffix %q: only byte-level vocabularies without marks are known: %w", m.Prefix, m.Suffix, ErrUnsupported)
	}
	for _, a := range f.AddedTokens {
		if a.SingleWord {
			return fmt.Errorf("added token %q with single_word: %w", a.Content, ErrUnsupported)
		}
	}
	if f.Decoder == nil {
		return nil
	}
	parts, known := []hfPart{*f.Decoder}, []string{"ByteLevel"}
	if f.Decoder.Type == "Sequence" {
		parts = f.Decoder.Decoders
	}
	if m.ByteFallback {
		known = []string{"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}
	}
	for _, p := range parts {
		if !slices.Contains(known, p.Type) {
			return fmt.Errorf("decoder %q is not among %v: %w", p.Type, known, ErrUnsupported)
		}
	}
	return nil
}

// parseMerge reads "a b" or ["a", "b"].
func parseMerge(raw json.RawMessage) (string, error) {
	var m string
	if json.Unmarshal(raw, &m) == nil && strings.Count(m, " ") == 1 {
		return m, nil
	}
	var pair []string
	if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 || strings.Contains(pair[0]+pair[1], " ") {
		return "", fmt.Errorf("%.40s is neither \"a b\" nor [\"a\", \"b\"]: %w", raw, ErrInvalid)
	}
	return pair[0] + " " + pair[1], nil
}

func (s *spec) configure(configJSON []byte) error {
	var c hfConfig
	if err := json.Unmarshal(configJSON, &c); err != nil {
		return fmt.Errorf("tokenizer_config.json: %w: %w", ErrInvalid, err)
	}
	if i := slices.Index(s.tokens, string(c.BOS)); c.BOS != "" && i >= 0 {
		s.bos = int32(i)
	}
	if i := slices.Index(s.tokens, string(c.EOS)); c.EOS != "" && i >= 0 {
		s.eos = append(s.eos, int32(i))
	}
	if len(c.Template) == 0 || json.Unmarshal(c.Template, &s.template) == nil {
		return nil
	}
	var named []struct{ Name, Template string }
	if err := json.Unmarshal(c.Template, &named); err != nil {
		return fmt.Errorf("tokenizer_config.json: chat_template: %w: %w", ErrInvalid, err)
	}
	for _, t := range named {
		if t.Name == "default" {
			s.template = t.Template
		}
	}
	return nil
}

func hfSplitter(normalizer, pre *hfPart) (*splitter, error) {
	s := &splitter{}
	if normalizer != nil {
		parts := []hfPart{*normalizer}
		if normalizer.Type == "Sequence" {
			parts = normalizer.Normalizers
		}
		for _, p := range parts {
			if p.Type != "NFC" {
				return nil, fmt.Errorf("normalizer %q: only NFC is known: %w", p.Type, ErrUnsupported)
			}
			s.nfc = true
		}
	}
	if pre == nil {
		return nil, fmt.Errorf("no pre-tokenizer; a byte-level one is wanted: %w", ErrUnsupported)
	}
	if err := s.addHF(*pre, 0); err != nil {
		return nil, err
	}
	if !s.bytes {
		return nil, fmt.Errorf("no ByteLevel pre-tokenizer; only byte-level vocabularies are known: %w", ErrUnsupported)
	}
	return s, nil
}

// maxSteps bounds the pre-tokenizers of a file, which call each other.
const maxSteps = 16

func (s *splitter) addHF(p hfPart, depth int) error {
	if depth > 8 || len(s.steps) > maxSteps {
		return fmt.Errorf("pre-tokenizers nested %d deep, %d of them: %w", depth, len(s.steps), ErrInvalid)
	}
	if s.bytes { // what follows would see bytes where this package has characters
		return fmt.Errorf("pre-tokenizer %q after ByteLevel: %w", p.Type, ErrUnsupported)
	}
	switch p.Type {
	case "Sequence":
		for _, q := range p.Pretokenizers {
			if err := s.addHF(q, depth+1); err != nil {
				return err
			}
		}
	case "Digits":
		if p.IndividualDigits {
			s.steps = append(s.steps, digitsStep)
		} else {
			s.steps = append(s.steps, step{"numbers", func(t string, emit func(string)) { cutDigits(t, false, emit) }})
		}
	case "ByteLevel":
		if p.AddPrefixSpace {
			return fmt.Errorf("ByteLevel with add_prefix_space: %w", ErrUnsupported)
		}
		s.bytes = true
		if p.UseRegex == nil || *p.UseRegex {
			s.steps = append(s.steps, gpt2Step)
		}
	case "Split":
		if p.Behavior != "Isolated" || p.Invert || p.Pattern.Regex == "" {
			return fmt.Errorf("pre-tokenizer Split %q with behaviour %q: only Isolated at a regular expression is known: %w", strings.TrimSpace(p.Pattern.String), p.Behavior, ErrUnsupported)
		}
		st, err := regexStep(p.Pattern.Regex)
		if err != nil {
			return err
		}
		s.steps = append(s.steps, st)
	default:
		return fmt.Errorf("pre-tokenizer %q is not among Sequence, Digits, ByteLevel, Split: %w", p.Type, ErrUnsupported)
	}
	return nil
}
