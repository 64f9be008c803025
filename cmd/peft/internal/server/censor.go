package server

import (
	"context"
	"slices"

	"github.com/gopeft/peft"
)

// censor takes out of sets' records what they say of sets that the caller does not see: their names, and what was measured on
// their text. Records are the caller's own copies.
func censor(ctx context.Context, sets ...*peft.SetInfo) {
	k := exchangeOf(ctx).key
	if k == nil || len(k.Sets) == 0 {
		return
	}
	// Texts that are no set's have names of their own, which a pattern need not match.
	hidden := func(text string) bool { return setName(text) != text && !k.Sees(setName(text)) }
	rates := func(l []peft.FireRate) []peft.FireRate {
		return slices.DeleteFunc(l, func(f peft.FireRate) bool { return hidden(f.Text) })
	}
	for _, set := range sets {
		if t := set.Training; t != nil {
			t.With = slices.DeleteFunc(t.With, func(ref string) bool { return !k.Sees(setName(ref)) })
		}
		if g := set.Gate; g != nil {
			g.Negatives = slices.DeleteFunc(g.Negatives, func(n peft.Negatives) bool { return hidden(n.Text) })
			g.Others, g.Older = rates(g.Others), rates(g.Older)
		}
		if f := set.Forgetting; f != nil {
			f.Texts = slices.DeleteFunc(f.Texts, func(t peft.TextChange) bool { return hidden(t.Text) })
		}
		set.Newer = rates(set.Newer)
	}
}
