package kernels

import "math"

// sort16 sorts a in falling order by a network of 60 comparisons in 10 layers, without a branch.
func sort16(a *[16]uint64) {
	order(a, 0, 13)
	order(a, 1, 12)
	order(a, 2, 15)
	order(a, 3, 14)
	order(a, 4, 8)
	order(a, 5, 6)
	order(a, 7, 11)
	order(a, 9, 10)

	order(a, 0, 5)
	order(a, 1, 7)
	order(a, 2, 9)
	order(a, 3, 4)
	order(a, 6, 13)
	order(a, 8, 14)
	order(a, 10, 15)
	order(a, 11, 12)

	order(a, 0, 1)
	order(a, 2, 3)
	order(a, 4, 5)
	order(a, 6, 8)
	order(a, 7, 9)
	order(a, 10, 11)
	order(a, 12, 13)
	order(a, 14, 15)

	order(a, 0, 2)
	order(a, 1, 3)
	order(a, 4, 10)
	order(a, 5, 11)
	order(a, 6, 7)
	order(a, 8, 9)
	order(a, 12, 14)
	order(a, 13, 15)

	order(a, 1, 2)
	order(a, 3, 12)
	order(a, 4, 6)
	order(a, 5, 7)
	order(a, 8, 10)
	order(a, 9, 11)
	order(a, 13, 14)

	order(a, 1, 4)
	order(a, 2, 6)
	order(a, 5, 8)
	order(a, 7, 10)
	order(a, 9, 13)
	order(a, 11, 14)

	order(a, 2, 4)
	order(a, 3, 6)
	order(a, 9, 12)
	order(a, 11, 13)

	order(a, 3, 5)
	order(a, 6, 8)
	order(a, 7, 9)
	order(a, 10, 12)

	order(a, 3, 4)
	order(a, 5, 6)
	order(a, 7, 8)
	order(a, 9, 10)
	order(a, 11, 12)

	order(a, 6, 7)
	order(a, 8, 9)
}

// order puts the larger of two elements first.
func order(a *[16]uint64, i, j int) {
	x, y := a[i], a[j]
	a[i], a[j] = max(x, y), min(x, y)
}

// sortKey returns a number that is larger for a larger score and, of equal scores, for the lower position.
func sortKey(score float32, position int) uint64 {
	u := math.Float32bits(score)
	if u == 1<<31 { // -0 is 0
		u = 0
	}
	u ^= uint32(int32(u)>>31) | 1<<31 // all bits of a negative number, the sign of others
	return uint64(u)<<32 | uint64(^uint32(position))
}
