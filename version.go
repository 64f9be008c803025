package peft

import "runtime/debug"

// Version returns the module version this program was built from, with the commit when it is known.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if info.Main.Path != "github.com/gopeft/peft" {
		for _, d := range info.Deps {
			if d.Path == "github.com/gopeft/peft" {
				return d.Version
			}
		}
	}
	if v == "" {
		return "devel"
	}
	return v
}
