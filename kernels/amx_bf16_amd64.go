//go:build !noasm

package kernels

import "golang.org/x/sys/cpu"

// tilesBF16 reports whether bf16 products are made by tiles.
func tilesBF16() bool { return tiles && cpu.X86.HasAMXBF16 }

// tilePairs is how many pairs of bf16 stand in a row of a tile.
const tilePairs = 16

// microTiles multiplies n rows of bf16 pairs with rows of a packed panel of pairs: 32 rows at a time, then the others in
// tiles of 16 and fewer, each row to the same bits.
func microTiles(n, pairs int, a []uint16, lda int, b []uint16, c []float32, ldc int, acc bool) {
	_, _, _ = a[(n-1)*lda+2*pairs-1], b[pairs*panel*2-1], c[(n-1)*ldc+panel-1]
	for at := 0; at < pairs; {
		width := min(tilePairs, pairs-at)
		steps := max(1, (pairs-at)/tilePairs)
		x, w := a[2*at:], b[2*at*panel:]
		r := n &^ 31
		if r > 0 {
			gemm32x48AMX(tileConfig(amxRows, width), r/32, steps, &x[0], lda, &w[0], &c[0], ldc, acc)
		}
		for r < n {
			rows := min(amxRows, n-r)
			gemm16x48AMX(tileConfig(rows, width), 1, steps, &x[r*lda], lda, &w[0], &c[r*ldc], ldc, acc)
			r += rows
		}
		at += steps * width
		acc = true
	}
}

// tileConfigs are the tiles' sizes as LDTILECFG reads them, for rows and pairs from 1 to 16.
var tileConfigs = func() (t [amxRows][tilePairs][64]byte) {
	for rows := range t {
		for pairs := range t[rows] {
			c := &t[rows][pairs]
			c[0] = 1 // the palette of eight tiles
			for i := range 8 {
				width, height := 4*panel/3, rows+1
				switch i {
				case 6: // of a
					width = 4 * (pairs + 1)
				case 7: // of b
					height = pairs + 1
				}
				c[16+2*i], c[48+i] = byte(width), byte(height)
			}
		}
	}
	return t
}()

func tileConfig(rows, pairs int) *byte { return &tileConfigs[rows-1][pairs-1][0] }
