package kernels

// HeldTokens returns for how many tokens there is room where so many are held: whole blocks of them, as StoreKeys lays keys
// out, each with a head's keys after the other's.
func HeldTokens(tokens int) int { return (tokens + blockKeys - 1) / blockKeys * blockKeys }

// StoreKeys puts rows of keys, ld apart, into held from token at on, as AttentionHeld reads them: x: [rows, heads·dim], held:
// [HeldTokens(at + rows), heads·dim]. Tokens that were there before stay.
func StoreKeys(held []float32, at int, x []float32, ld, rows, heads, dim int) {
	for r := 0; r < rows; {
		token := at + r
		col := token % panel
		n := min(panel-col, rows-r)
		for h := range heads {
			first := (token/blockKeys*heads+h)*blockKeys + token%blockKeys - col // of the panel, in keys
			to, from := held[first*dim+col:], x[r*ld+h*dim:]
			if n == 1 {
				for i, v := range from[:dim] {
					to[i*panel] = v
				}
				continue
			}
			packPanel(to, from, n, dim, ld, 1)
		}
		r += n
	}
}

// AttentionHeld is Attention of one span, in f32, whose keys StoreKeys has put into held: they need not be laid out anew for
// every query. v: [Past+Len, KV·Dim], rows ldv apart; the span's KV is 0. The bits are Attention's.
func AttentionHeld(p *Pool, o []float32, ldo int, q []float32, ldq int, held, v []float32, ldv int, span []Span, h Heads) {
	h.Precision = F32
	a := attentions.Get().(*attention)
	a.operands = operands{Heads: h, spans: span, o: o, q: q, v: v, ldo: ldo, ldq: ldq, ldkv: ldv, held: held}
	a.run(p)
}

// heldBlock returns the keys of a head from key b0 on, a block of them.
func (a *attention) heldBlock(kv, b0 int) []float32 {
	n := blockKeys * a.Dim
	return a.held[(b0/blockKeys*a.KV+kv)*n:][:n]
}
