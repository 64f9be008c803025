package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/urfave/cli/v2"
)

// defaultConfig is read from the working directory when --config is not given.
const defaultConfig = "peft.toml"

// applyConfig sets the flags that peft.toml gives and neither the command line nor the environment does. Global flags
// stand at the top of the file, a command's under its table. An unknown key anywhere in the file is an error.
func applyConfig(c *cli.Context, cmd *cli.Command) error {
	path := cmp.Or(c.String("config"), defaultConfig)
	b, err := os.ReadFile(path)
	if err != nil {
		if c.String("config") == "" && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("read configuration: %w", err)
	}
	var conf map[string]any
	if err := toml.Unmarshal(b, &conf); err != nil {
		var perr toml.ParseError
		if errors.As(err, &perr) {
			return usagef("%s: %s", path, perr.ErrorWithPosition())
		}
		return usagef("%s: %w", path, err)
	}
	if err := checkKeys(c.App, conf); err != nil {
		return usagef("%s: %w", path, err)
	}
	outer := c.Lineage()[1]
	for _, key := range slices.Sorted(maps.Keys(conf)) {
		if _, isTable := conf[key].(map[string]any); !isTable && !outer.IsSet(key) {
			if err := set(outer, key, conf[key]); err != nil {
				return err
			}
		}
	}
	table, _ := conf[cmd.Name].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if !c.IsSet(key) {
			if err := set(c, key, table[key]); err != nil {
				return fmt.Errorf("[%s] %w", cmd.Name, err)
			}
		}
	}
	return nil
}

// set gives a flag the values of one TOML key; an array sets a repeatable flag several times.
func set(c *cli.Context, key string, v any) error {
	values, ok := v.([]any)
	if !ok {
		values = []any{v}
	}
	for _, v := range values {
		if err := c.Set(key, fmt.Sprint(v)); err != nil {
			return usagef("configuration: %s = %v: %w", key, v, err)
		}
	}
	return nil
}

func checkKeys(app *cli.App, conf map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(conf)) {
		table, isTable := conf[key].(map[string]any)
		if !isTable {
			if !hasFlag(app.Flags, key) || key == "config" {
				return fmt.Errorf("unknown key %q; known: %s, and a table for each command", key, flagNames(app.Flags))
			}
			continue
		}
		cmd := app.Command(key)
		if cmd == nil {
			return fmt.Errorf("unknown table [%s]: no such command", key)
		}
		for _, k := range slices.Sorted(maps.Keys(table)) {
			if !hasFlag(cmd.Flags, k) {
				return fmt.Errorf("unknown key %q in [%s]; known: %s", k, key, flagNames(cmd.Flags))
			}
		}
	}
	return nil
}

func hasFlag(flags []cli.Flag, name string) bool {
	return slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

func flagNames(flags []cli.Flag) string {
	var names []string
	for _, f := range flags {
		if n := f.Names()[0]; n != "help" && n != "version" && n != "config" {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}
