package kernels

// backwardPairs are a backward's factors in bf16. Products sum over pairs, so that a factor lies in pairs of whichever
// index is summed: of elements of a row, or of rows.
type backwardPairs struct {
	keys16, values16 []uint16 // panels
	keyRows          []uint16 // pairs of keys: [⌈keys/2⌉, Dim, 2]
	q16, do16        []uint16 // [rows, Dim]
	qRows, doRows    []uint16 // pairs of rows: [⌈rows/2⌉, Dim, 2]
	pRows, dsRows    []uint16 // likewise [⌈rows/2⌉, blockKeys, 2]
	ds16             []uint16 // [stripRows, blockKeys]
}

// packPairs makes room for tiles of so many rows, an even number, and lays the keys and values out. The caller gives the
// memory back.
func (t *backwardTile) packPairs(keys, rows int) *[]uint16 {
	packed := keyPanels(keys) * panel * t.Dim
	buf := getU16(3*packed + 4*rows*t.Dim + 2*rows*blockKeys + stripRows*blockKeys)
	x := arena[uint16](*buf)
	t.keys16, t.values16, t.keyRows = x.cut(packed), x.cut(packed), x.cut(packed)
	t.q16, t.do16, t.qRows, t.doRows = x.cut(rows*t.Dim), x.cut(rows*t.Dim), x.cut(rows*t.Dim), x.cut(rows*t.Dim)
	t.pRows, t.dsRows, t.ds16 = x.cut(rows*blockKeys), x.cut(rows*blockKeys), x.cut(stripRows*blockKeys)
	packKeysBF16(t.keys16, t.k[t.key:], t.ldkv, keys, t.Dim)
	packKeysBF16(t.values16, t.v[t.key:], t.ldkv, keys, t.Dim)
	pairRows(t.keyRows, t.k[t.key:], t.ldkv, keys, t.Dim)
	return buf
}

// loadPairs rounds the rows of a tile.
func (t *backwardTile) loadPairs() {
	n := t.rows * t.Dim
	toBF16(t.q16[:n], t.q[:n])
	toBF16(t.do16[:n], t.do[:n])
	pairRows(t.qRows, t.q, t.Dim, t.rows, t.Dim)
	pairRows(t.doRows, t.do, t.Dim, t.rows, t.Dim)
	if t.rows%2 == 1 { // the row that makes the last pair whole; it sees nothing
		t.lse[t.rows], t.delta[t.rows] = 0, 0
	}
}

// stripBF16 is strip in bf16; r0 is even.
func (t *backwardTile) stripBF16(r0, n, b0 int) {
	see := t.sees(r0+n-1, b0)
	whole := keyPanels(see) * panel
	mulKeysBF16(t.p, blockKeys, t.q16[r0*t.Dim:], t.Dim, n, see, t.keys16[b0*t.Dim:], t.Dim)
	mulKeysBF16(t.ds, blockKeys, t.do16[r0*t.Dim:], t.Dim, n, see, t.values16[b0*t.Dim:], t.Dim)
	for i := 0; i < n; i += 2 {
		p, ds := t.p[i*blockKeys:][:2*blockKeys], t.ds[i*blockKeys:][:2*blockKeys]
		vis, next := max(0, t.sees(r0+i, b0)), 0
		if i+1 < n {
			next = t.sees(r0+i+1, b0)
		} else {
			clear(ds[blockKeys:])
		}
		end := vectors(max(vis, next))
		r := r0 + i
		if t.Cap > 0 {
			softCapScores(p[:vis], ds, t.Cap/t.Scale, t.delta[r])
			softCapScores(p[blockKeys:blockKeys+next], ds[blockKeys:], t.Cap/t.Scale, t.delta[r+1])
		}
		fillNegInf(p[vis:end])
		fillNegInf(p[:min(end, t.hidden(r, b0))])
		fillNegInf(p[blockKeys+next : blockKeys+end])
		fillNegInf(p[blockKeys : blockKeys+min(end, t.hidden(r+1, b0))])
		pRows, dsRows, ds16 := t.pRows[r*blockKeys:][:2*whole], t.dsRows[r*blockKeys:][:2*whole], t.ds16[i*blockKeys:]
		softmaxGradBF16s(end, p, ds, blockKeys, pRows, dsRows, ds16, t.Scale, t.lse[r:r+2], t.delta[r:r+2])
		clear(pRows[2*end:])
		clear(dsRows[2*end:])
		clear(ds16[end:whole])
		clear(ds16[blockKeys+end : blockKeys+whole])
	}
	mulPairs(t.dq[r0*t.Dim:], t.Dim, pairs{t.ds16, blockKeys / 2, 1}, t.keyRows[b0*t.Dim:], t.Dim, n, t.Dim, (see+1)/2, b0 > 0 || t.windowed)
}

// sumBF16 is sum in bf16.
func (t *backwardTile) sumBF16(j, b0, n int, acc bool) {
	r, end := t.from(b0+j)&^1, t.to(b0+j+n-1)
	if r >= end {
		return
	}
	at := (b0 + j) * t.Dim
	k := (end + 1 - r) / 2
	mulPairs(t.dv[at:], t.Dim, pairs{t.pRows[r*blockKeys+2*j:], 1, blockKeys}, t.doRows[r*t.Dim:], t.Dim, n, t.Dim, k, acc)
	mulPairs(t.dk[at:], t.Dim, pairs{t.dsRows[r*blockKeys+2*j:], 1, blockKeys}, t.qRows[r*t.Dim:], t.Dim, n, t.Dim, k, acc)
}
