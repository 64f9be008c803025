//go:build !linux

package peer

func hugePages([]uint16) {}
