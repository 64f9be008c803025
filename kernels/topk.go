package kernels

// TopK writes the len(val) largest elements of x in descending order to val and their positions to idx; equal elements
// come in the order of their positions. len(x) ≥ len(val). Without NaN the order is total; with it, idx still holds
// positions in x.
func TopK(val []float32, idx []int32, x []float32) {
	k := len(val)
	if k == 0 {
		return
	}
	for i, v := range x[:k] { // insertion keeps equal elements in order
		insert(val[:i+1], idx, v, int32(i))
	}
	const block = 64 // of which most have nothing to give
	for lo := k; lo < len(x); lo += block {
		part := x[lo:min(lo+block, len(x))]
		if Max(part) <= val[k-1] {
			continue
		}
		for i, v := range part {
			if v > val[k-1] {
				insert(val, idx, v, int32(lo+i))
			}
		}
	}
}

// insert puts v into the descending val, whose last place is free.
func insert(val []float32, idx []int32, v float32, i int32) {
	j := len(val) - 1
	for ; j > 0 && val[j-1] < v; j-- {
		val[j], idx[j] = val[j-1], idx[j-1]
	}
	val[j], idx[j] = v, i
}
