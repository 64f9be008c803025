//go:build linux || darwin

package mapped

import "golang.org/x/sys/unix"

func forget(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) } // a hint: everything works without
