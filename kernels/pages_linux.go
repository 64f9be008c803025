package kernels

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func largePages(b []byte) {
	page := os.Getpagesize()
	from := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & uintptr(page-1))
	if to := from + (len(b)-from)&^(page-1); to > from {
		_ = unix.Madvise(b[from:to], unix.MADV_HUGEPAGE) // a hint: everything works without
	}
}
