package peft

import "container/list"

// recent keeps what was used last, up to a weight in bytes, and the last one in any case. The zero value with a limit is empty.
type recent[V any] struct {
	limit, held int64
	order       list.List // of *kept[V], the last used first
	by          map[string]*list.Element
}

type kept[V any] struct {
	key   string
	value V
	bytes int64
}

func (r *recent[V]) get(key string) (v V, ok bool) {
	el := r.by[key]
	if el == nil {
		return v, false
	}
	r.order.MoveToFront(el)
	return el.Value.(*kept[V]).value, true
}

func (r *recent[V]) put(key string, v V, bytes int64) {
	if r.by == nil {
		r.by = map[string]*list.Element{}
	}
	if el := r.by[key]; el != nil {
		el.Value.(*kept[V]).value = v
		return
	}
	r.by[key] = r.order.PushFront(&kept[V]{key, v, bytes})
	for r.held += bytes; r.held > r.limit && r.order.Len() > 1; {
		old := r.order.Remove(r.order.Back()).(*kept[V])
		delete(r.by, old.key)
		r.held -= old.bytes
	}
}
