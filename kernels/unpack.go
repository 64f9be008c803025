package kernels

// FromCodes returns a weight for bf16 products whose values stay in their codes until a panel of them is multiplied: a
// quarter of the room, and the same bits for a result as of the values packed in bf16. turned is for Y = X·W, as PackNN
// has it, with W = c: [K, N]; otherwise Y = X·Wᵀ, as PackNT has it.
func FromCodes(c *Coded, turned bool) *Packed {
	w := &Packed{N: c.N, K: c.K, prec: BF16, codes: c, turned: turned}
	if turned {
		w.N, w.K = c.K, c.N
	}
	return w
}

// unpackedPanels is how many panels stand unpacked at a time, in the second cache, where tiles multiply with them.
const unpackedPanels = 4

// runCodes is run with panels that are unpacked first, each once for all rows: several where tiles take so many rows that these come
// from beyond the second cache.
func (g *product) runCodes(p0, p1, r0, r1 int) {
	k, several := g.w.K, 1
	if tilesBF16() {
		several = unpackedPanels
	}
	part := panel * ((min(k, blockK) + codeRows - 1) &^ (codeRows - 1))
	scratch := getU16(several * part)
	defer putU16(scratch)
	unpacked := func(j int) []uint16 { return (*scratch)[j*part : (j+1)*part] }
	for k0 := 0; k0 < k; k0 += blockK {
		kn := min(blockK, k-k0)
		for i := p0; i < p1; i += several {
			some := min(several, p1-i)
			for j := range some {
				g.w.unpack(unpacked(j), i+j, k0, kn)
			}
			for r := r0; r < r1; {
				n := g.rows(r1-r, *scratch)
				for j := range some {
					g.tile(i+j, k0, kn, r, n, nil, unpacked(j), g.acc || k0 > 0)
				}
				r += n
			}
		}
	}
}

// unpack writes the values [k0, k0+kn) of panel i: dst: [⌈kn/2⌉, 48, 2]. k0 is a multiple of codeBlock.
func (w *Packed) unpack(dst []uint16, i, k0, kn int) {
	c := w.codes
	size := c.blockBytes()
	if !w.turned {
		const row = 2 * codeRows // of dst, what a group fills
		for j := range panel / codeRows {
			n := i*(panel/codeRows) + j
			if n >= c.groups() {
				clearColumns(dst, j, kn/2)
				continue
			}
			unpackCodes(dst[j*row:], c.group(n)[k0/codeBlock*size:], c.bits, kn/codeBlock)
		}
		return
	}
	groups := (kn + codeRows - 1) / codeRows
	for j := range panel / codeRows {
		column := i*panel + j*codeRows
		if column >= c.K {
			clearColumns(dst, j, groups*codeRows/2)
			continue
		}
		stride := c.K / codeBlock * size
		from := c.data[k0/codeRows*stride+column/codeBlock*size:]
		unpackColumns(dst[j*2*codeRows:], from, c.bits, column%codeBlock/codeRows, groups, stride)
	}
}

// clearColumns writes zeros for the 16 columns from 16·j on.
func clearColumns(dst []uint16, j, rows int) {
	for r := range rows {
		clear(dst[(r*panel+j*codeRows)*2:][:2*codeRows])
	}
}

// unpackCodesGeneric writes blocks of a group, pairs along the rows of W: dst[j/2][r][j%2] = W[r, j], 48 columns a row.
func unpackCodesGeneric(dst []uint16, group []byte, bits, blocks int) {
	size := 4*codeRows + codeRows*codeBlock*bits/8
	for b := range blocks {
		for r := range codeRows {
			for j := range codeBlock {
				k := b*codeBlock + j
				dst[(k/2*panel+r)*2+k%2] = codedValue(group[b*size:], bits, r, j)
			}
		}
	}
}

// unpackColumnsGeneric writes the columns [16·half, 16·half+16) of a block of groups that are stride apart, pairs along the
// columns of W: dst[r/2][j][r%2] = W[r, j].
func unpackColumnsGeneric(dst []uint16, from []byte, bits, half, groups, stride int) {
	for g := range groups {
		for r := range codeRows {
			for j := range codeBlock / 2 {
				row := g*codeRows + r
				dst[(row/2*panel+j)*2+row%2] = codedValue(from[g*stride:], bits, r, half*codeBlock/2+j)
			}
		}
	}
}

// codedValue returns a value of a block in bf16.
func codedValue(block []byte, bits, r, j int) uint16 {
	half := func(at int) float64 { return float64(F16(uint16(block[at]) | uint16(block[at+1])<<8)) }
	code := float64(codeAt(block[4*codeRows:], bits, r, j))
	x := [1]float32{float32(half(2*r)*code + half(2*(codeRows+r)))} // rounded once, as the fused product
	var h [1]uint16
	toBF16(h[:], x[:])
	return h[0]
}
