package kernels

// TopK writes the len(val) largest elements of x in descending order to val and their positions to idx; equal elements
// come in the order of their positions. len(x) ≥ len(val). Without NaN the order is total; with it, idx still holds
// positions in x.
func TopK(val []float32, idx []int32, x []float32) {
	k := len(val)
	if k == 0 {
		return
	}
	if len(x) <= 2*lanes16 {
		if k > lanes16 && len(x) > lanes16 {
			topInsert(val, idx, x)
		} else {
			topSorted(val, idx, x, nil)
		}
		return
	}
	if k <= lanes16 {
		b := i32Scratch.get(len(x) + lanes16)
		found := topCandidates(x, *b)
		if found >= k && found <= 2*lanes16 {
			topSorted(val, idx, x, (*b)[:found])
		} else {
			found = 0
		}
		i32Scratch.put(b)
		if found > 0 {
			return
		}
	}
	topInsert(val, idx, x)
}

// lanes16 is how many elements the sorting network takes.
const lanes16 = 16

var i32Scratch scratch[int32]

// topSorted finds the largest by sorting: of x, or of those at the positions of, which ascend. There are at most 32, and at
// most 16 when more than 16 are wanted.
func topSorted(val []float32, idx []int32, x []float32, of []int32) {
	var keys [2][lanes16]uint64
	n := len(x)
	if of != nil {
		n = len(of)
	}
	for i := range n {
		at := i
		if of != nil {
			at = int(of[i])
		}
		keys[i/lanes16][i%lanes16] = sortKey(x[at], at)
	}
	sort16(&keys[0])
	if n > lanes16 {
		sort16(&keys[1])
	}
	a, b := 0, 0
	for i := range val {
		key := keys[0][a&(lanes16-1)] // a and b are at most 15: no more than 16 are taken of two
		if other := keys[1][b&(lanes16-1)]; other > key {
			key = other
			b++
		} else {
			a++
		}
		at := int32(^uint32(key))
		val[i], idx[i] = x[at], at
	}
}

// topInsert finds the largest by insertion.
func topInsert(val []float32, idx []int32, x []float32) {
	k := len(val)
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
