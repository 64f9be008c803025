package kernels

import "unsafe"

// LargePages asks the system for large pages for memory that nothing was written to yet, when there is much of it: reading
// here and there otherwise waits for the addresses of small ones too.
func LargePages[T any](x []T) {
	const least = 2 << 20
	var zero T
	if n := cap(x) * int(unsafe.Sizeof(zero)); n >= least {
		largePages(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), n))
	}
}
