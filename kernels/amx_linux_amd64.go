//go:build !noasm

package kernels

import (
	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// allowTiles asks Linux for the tiles of AMX, whose contents it keeps for a thread only when told to: for all threads of the
// process, once.
func allowTiles() bool {
	const request, tileData = 0x1023, 18 // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
	if !cpu.X86.HasAMXTile || !cpu.X86.HasAMXInt8 {
		return false
	}
	_, _, err := unix.RawSyscall(unix.SYS_ARCH_PRCTL, request, tileData, 0)
	return err == 0
}
