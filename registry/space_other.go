//go:build (!unix && !windows) || solaris || aix || netbsd

package registry

// freeBytes is not known on this system.
func freeBytes(string) (int64, bool) { return 0, false }
