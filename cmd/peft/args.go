package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange puts the arguments in the order that the flag parser wants: program, global flags, command, its flags,
// positional arguments. So people may write flags after a name or a prompt, and global flags anywhere. Everything after
// "--" is positional.
func arrange(app *cli.App, args []string) []string {
	if len(args) == 0 || args[len(args)-1] == completing { // there the last argument is not complete
		return args
	}
	global := takesValue(app.Flags)
	var head, own, rest []string
	var cmd *cli.Command
	own0 := map[string]bool{}
	for i := 1; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			rest = append(rest, args[i:]...)
			break
		}
		if len(a) < 2 || a[0] != '-' {
			if cmd == nil {
				if cmd = app.Command(a); cmd == nil {
					return args // an unknown command: let the parser say so
				}
				own0 = takesValue(cmd.Flags)
				continue
			}
			rest = append(rest, a)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(a, "-"), "=")
		to, value := &own, own0[name]
		if _, isOwn := own0[name]; !isOwn {
			if v, isGlobal := global[name]; isGlobal {
				to, value = &head, v
			}
		}
		*to = append(*to, a)
		if value && !hasValue && i+1 < len(args) {
			i++
			*to = append(*to, args[i])
		}
	}
	if cmd == nil {
		return args
	}
	return slices.Concat(args[:1], head, []string{cmd.Name}, own, rest)
}

// takesValue maps each flag's names to whether a value follows it.
func takesValue(flags []cli.Flag) map[string]bool {
	m := map[string]bool{}
	for _, f := range flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, n := range f.Names() {
			m[n] = !isBool
		}
	}
	return m
}
