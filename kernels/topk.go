package kernels

// TopK writes the len(val) largest elements of x in descending order to val and their positions to idx; equal elements
// come in the order of their positions. len(x) ≥ len(val).
func TopK(val []float32, idx []int32, x []float32) {
	k := len(val)
	if k == 0 {
		return
	}
	n := 0
	for i, v := range x {
		if n == k {
			if v <= val[k-1] {
				continue
			}
			n--
		}
		j := n
		for ; j > 0 && val[j-1] < v; j-- {
			val[j], idx[j] = val[j-1], idx[j-1]
		}
		val[j], idx[j] = v, int32(i)
		n++
	}
}
