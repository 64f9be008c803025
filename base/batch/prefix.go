package batch

import (
	"slices"

	"github.com/gopeft/peft/base/llama"
)

// prefixes are caches of sequences that ended, for others that begin like them.
type prefixes struct {
	limit, held int       // tokens
	kept        []*prefix // the least recently used first
}

type prefix struct {
	key   string
	ids   []int32 // that the cache holds
	cache *llama.Cache
}

// put keeps a cache of ids, unless it is too large, and lets go of those that it makes superfluous or has no room for.
func (p *prefixes) put(key string, ids []int32, c *llama.Cache) {
	if len(ids) == 0 || len(ids) > p.limit {
		return
	}
	p.kept = slices.DeleteFunc(p.kept, func(o *prefix) bool {
		gone := o.key == key && shared(o.ids, ids) == len(o.ids)
		if gone {
			p.held -= len(o.ids)
		}
		return gone
	})
	for p.held+len(ids) > p.limit {
		p.held -= len(p.kept[0].ids)
		p.kept[0] = nil
		p.kept = p.kept[1:]
	}
	p.kept = append(p.kept, &prefix{key, ids, c})
	p.held += len(ids)
}

// take returns a cache of the longest beginning of ids that is known, of at most that many tokens: nil when none is. running
// are sequences whose caches may be copied, but not taken.
func (p *prefixes) take(m *llama.Model, key string, ids []int32, most int, running []*sequence) *llama.Cache {
	ids = ids[:most]
	best, at := 0, -1
	var from *llama.Cache
	for i, o := range p.kept {
		if n := shared(o.ids, ids); o.key == key && n >= best && n > 0 {
			best, at, from = n, i, o.cache
		}
	}
	for _, s := range running {
		if s.cache == nil || s.sets.Key != key {
			continue
		}
		if n := shared(s.ids[:s.cache.Len], ids); n > best {
			best, at, from = n, -1, s.cache
		}
	}
	if best == 0 {
		return nil
	}
	if at < 0 {
		return m.CopyCache(from, best)
	}
	o := p.kept[at]
	p.kept = slices.Delete(p.kept, at, at+1)
	if 2*best < len(o.ids) { // most of it is for others
		p.kept = append(p.kept, o)
		return m.CopyCache(from, best)
	}
	p.held -= len(o.ids)
	from.Truncate(best)
	return from
}

// shared is how many tokens a and b begin with alike.
func shared(a, b []int32) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
