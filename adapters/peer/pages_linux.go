package peer

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePages asks for large pages for a table that nothing was written to yet: experts are read here and there, and with
// small pages nearly each would have to look up its address in memory first.
func hugePages(x []uint16) {
	const least = 8 << 20
	if 2*cap(x) < least {
		return
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 2*cap(x))
	page := os.Getpagesize()
	from := int(-uintptr(unsafe.Pointer(&b[0])) & uintptr(page-1))
	_ = unix.Madvise(b[from:from+(len(b)-from)&^(page-1)], unix.MADV_HUGEPAGE) // it works without
}
