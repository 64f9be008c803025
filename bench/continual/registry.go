package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/gopeft/peft"
)

// How often the first seed's sets are added in another order, and how many are added to one registry.
const orderCount, manyCount = 5, 20

// order is one order of adding all sets.
type order struct {
	Sets   []string `json:"sets"`
	SHA256 string   `json:"logits_sha256"` // of one text with all on
	Router string   `json:"router_sha256"`
}

func orderName(i int) string { return fmt.Sprintf("order/%d", i) }

// orders adds the finished sets in several orders, each to a registry of its own, and takes the logits with all on.
func (b *bench) orders(ctx context.Context) error {
	for i := range orderCount {
		if _, err := piece(b, orderName(i), func() (*order, error) {
			o := &order{}
			for _, j := range rand.New(rand.NewPCG(uint64(i), 0)).Perm(len(domainNames())) {
				o.Sets = append(o.Sets, domainNames()[j])
			}
			return o, b.copied("order", func(e *peft.Engine) error {
				for _, d := range o.Sets {
					r, err := b.add(ctx, e, d, d)
					if err != nil {
						return err
					}
					o.Router = r.RouterSHA256
				}
				f, err := b.forced(ctx, e, o.Sets, []string{wikitext})
				o.SHA256 = f[wikitext].SHA256
				return err
			})
		}); err != nil {
			return err
		}
	}
	return nil
}

// add adds the set of a domain under a name.
func (b *bench) add(ctx context.Context, e *peft.Engine, name, domain string) (*peft.AddResult, error) {
	file, err := b.kept(peftMethod, domain)
	if err != nil {
		return nil, err
	}
	return e.AddExperts(ctx, name, peft.AddOptions{From: file, ReportTokens: -1})
}

const manyName = "many"

// many adds the sets again and again under other names, and takes the time.
func (b *bench) many(ctx context.Context) error {
	_, err := piece(b, manyName, func() (all []peft.AddResult, err error) {
		err = b.copied("many", func(e *peft.Engine) error {
			for i := range manyCount {
				r, err := b.add(ctx, e, fmt.Sprintf("set%02d", i+1), domainNames()[i%len(domainNames())])
				if err != nil {
					return err
				}
				all = append(all, *r)
			}
			return nil
		})
		return all, err
	})
	return err
}

func smallName(domain string) string { return "small/" + domain }

// small learns every domain with as many experts as the bytes of the small LoRA hold, with all that belongs to the set.
func (b *bench) small(ctx context.Context) error {
	if b.python == "" {
		return nil
	}
	for _, d := range domainNames() {
		if _, err := piece(b, smallName(d), func() (*trained, error) {
			full, _, err := done[*trained](b, runName(peftMethod, d, b.seeds[0]))
			if err != nil {
				return nil, err
			}
			room, _, err := done[*trained](b, runName(smallLoRA, d, b.seeds[0]))
			if err != nil {
				return nil, err
			}
			row := int64(2 * full.Parameters / full.Experts) // bytes of one expert in bf16
			rest := full.Bytes - row*int64(full.Experts)
			return b.learn(ctx, job{method: peftMethod, domain: d, seed: b.seeds[0], rate: full.Rate, experts: int((room.Bytes - rest) / row), texts: append([]string{testOf(d)}, otherTexts()...)})
		}); err != nil {
			return err
		}
	}
	return nil
}
