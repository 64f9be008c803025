package tokenizer

import (
	"fmt"
	"slices"
)

// pieces returns how a tokenizer.json in SentencePiece's manner treats spaces: Llama 2 and the first Mistral by normalizers,
// later ones by the pre-tokenizer Metaspace, Gemma by a normalizer alone.
func (f *hfFile) pieces() (*pieces, error) {
	p := &pieces{prefix: never, unk: -1, fuse: f.Model.FuseUnknown}
	if id, ok := f.Model.Vocab[f.Model.Unknown]; ok {
		p.unk = id
	}
	marked := false
	for _, n := range sequence(f.Normalizer, func(p *hfPart) []hfPart { return p.Normalizers }) {
		switch {
		case n.Type == "Prepend" && n.Prepend == mark && !marked:
			p.prefix = always
		case n.Type == "Replace" && n.Pattern.String == " " && n.Content == mark:
			marked = true
		default:
			return nil, fmt.Errorf("normalizer %q beside byte_fallback: only Prepend and then Replace of spaces by %q are known: %w", n.Type, mark, ErrUnsupported)
		}
	}
	for _, t := range sequence(f.PreTokenizer, func(p *hfPart) []hfPart { return p.Pretokenizers }) {
		switch {
		case t.Type == "Split" && marked && t.Pattern.String == " ": // there are none
		case t.Type == "Metaspace" && t.Replacement == mark && !marked:
			marked, p.split = true, t.SplitWords == nil || *t.SplitWords
			switch scheme := t.PrependScheme; {
			case scheme == "always" || scheme == "" && t.AddPrefixSpace:
				p.prefix = unmarked
			case scheme == "first":
				p.prefix = first
			case scheme != "" && scheme != "never":
				return nil, fmt.Errorf("pre-tokenizer Metaspace with prepend_scheme %q: %w", scheme, ErrUnsupported)
			}
		default:
			return nil, fmt.Errorf("pre-tokenizer %q beside byte_fallback: only Metaspace is known: %w", t.Type, ErrUnsupported)
		}
	}
	if !marked {
		return nil, fmt.Errorf("byte_fallback, but nothing writes spaces as %q: %w", mark, ErrUnsupported)
	}
	return p, nil
}

// sequence returns the parts of a sequence, or the one part that is none.
func sequence(p *hfPart, of func(*hfPart) []hfPart) []hfPart {
	switch {
	case p == nil:
		return nil
	case p.Type == "Sequence":
		return slices.Clone(of(p))
	}
	return []hfPart{*p}
}
