// Package peft teaches a frozen language model new things while it runs.
//
// A frozen base transformer gets PEER layers ("Mixture of A Million Experts", arXiv 2407.04153): beside the
// feed-forward layer of some blocks, a frozen router picks a few cells of a large grid for every token, and expert sets
// put tiny adapters into those cells. Sets are added, trained, rolled back and removed at run time. The base, the
// router and every other set stay as they are, to the bit, and the cost of a token does not grow with the number of
// experts.
//
// An [Engine] ties a base to a registry of sets:
//
//	e, err := peft.Open(peft.Options{Registry: dir, Base: "builtin"})
//	…
//	defer e.Close()
//	_, err = e.Finetune(ctx, "manual", peft.FinetuneOptions{Data: []string{"manual.md"}, Steps: 100})
//	out, err := e.Generate(ctx, peft.GenerateOptions{Prompt: "To descale", Sets: []string{"manual"}}, nil)
package peft
