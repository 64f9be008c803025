package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// writeReference writes a peft.toml with every key that applyConfig takes, each in a comment with what it does and its default.
func writeReference(w io.Writer, app *cli.App) {
	fmt.Fprintln(w, "# Every key of peft.toml, with its default. It is read from the working directory, or from --config FILE.")
	fmt.Fprintln(w, "# The command line and the environment win over it, and an unknown key is an error.")
	writeKeys(w, app.Flags)
	for _, cmd := range app.Commands {
		if cmd.Name == "help" || len(cmd.Flags) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n# %s\n[%s]\n", cmd.Usage, cmd.Name)
		writeKeys(w, cmd.Flags)
	}
}

func writeKeys(w io.Writer, flags []cli.Flag) {
	for _, f := range flags {
		name := f.Names()[0]
		if name == "help" || name == "version" || name == "config" {
			continue
		}
		d := f.(cli.DocGenerationFlag)
		usage, note := strings.ReplaceAll(d.GetUsage(), "`", ""), ""
		if env := d.GetEnvVars(); len(env) > 0 {
			note = "; environment: " + strings.Join(env, ", ")
		}
		value, example := tomlValue(f)
		if text := d.GetDefaultText(); example && text != "" {
			note += "; default: " + text
		}
		fmt.Fprintf(w, "\n# %s%s\n# %s = %s\n", usage, note, name, value)
	}
}

// tomlValue returns a flag's default as TOML, and whether it is none but shows the form of a value.
func tomlValue(f cli.Flag) (value string, example bool) {
	switch f := f.(type) {
	case *cli.StringSliceFlag:
		return `["…"]`, true
	case *cli.StringFlag:
		return strconv.Quote(f.Value), f.Value == ""
	case *cli.BoolFlag:
		return strconv.FormatBool(f.Value), false
	case *cli.Float64Flag:
		s := strconv.FormatFloat(f.Value, 'g', -1, 64)
		if !strings.ContainsAny(s, ".e") {
			s += ".0"
		}
		return s, f.DefaultText != ""
	case *cli.IntFlag:
		return strconv.Itoa(f.Value), f.DefaultText != ""
	case *cli.Int64Flag:
		return strconv.FormatInt(f.Value, 10), f.DefaultText != ""
	case *cli.Uint64Flag:
		return strconv.FormatUint(f.Value, 10), f.DefaultText != ""
	case *cli.DurationFlag:
		return strconv.Quote(f.Value.String()), f.DefaultText != ""
	}
	return `""`, true
}
