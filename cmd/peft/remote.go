package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/base"
	"github.com/gopeft/peft/cmd/peft/internal/remote"
	"github.com/gopeft/peft/cmd/peft/internal/server"
)

// exitError ends a command that has said already why, with that code.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// forward runs the command in the server that holds the registry.
func forward(c *cli.Context) error {
	q := remote.Request{}
	var err error
	if q.Args, err = commandLine(c); err != nil {
		return err
	}
	if c.IsSet("base") {
		if q.Base, err = basePath(c.String("cache"), c.String("base")); err != nil {
			return err
		}
	}
	if c.IsSet("cache") {
		if q.Cache, err = filepath.Abs(c.String("cache")); err != nil {
			return err
		}
	}
	if c.IsSet("threads") {
		q.Threads = c.Int("threads")
	}
	if c.IsSet("activations") {
		q.Activations = strconv.Itoa(c.Int("activations"))
	}
	dir := c.String("registry")
	if dir == "" {
		dir = peft.DefaultRegistry()
	}
	o := remote.Output{Stdout: c.App.Writer, Stderr: c.App.ErrWriter, Progress: newProgress(c.App.ErrWriter).report}
	code, err := remote.Call(c.Context, dir, q, o)
	if err == nil && code != exitOK {
		err = exitError(code)
	}
	return err
}

// basePath returns where a base is: the same for all references to it.
func basePath(cache, ref string) (string, error) {
	path, _, err := peft.LocateBase(cache, ref)
	if err != nil || path == base.Builtin {
		return path, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// commandLine writes a parsed command out again as one that means the same anywhere: with what peft.toml and the
// environment gave, and absolute paths.
func commandLine(c *cli.Context) ([]string, error) {
	args := []string{c.App.Name}
	if c.Bool("json") {
		args = append(args, "--json")
	}
	args = append(args, c.Command.Name)
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		file := takesFile(f)
		values := []string{fmt.Sprint(c.Value(name))}
		if list, ok := f.(*cli.StringSliceFlag); ok {
			values = c.StringSlice(list.Name)
		}
		if !c.IsSet(name) && (!file || len(values) == 0 || values[0] == "") {
			continue // the server has the same defaults, but for files
		}
		for _, v := range values {
			if file {
				var err error
				if v, err = absolute(name, v); err != nil {
					return nil, err
				}
				if _, list := f.(*cli.StringSliceFlag); list && strings.Contains(v, ",") {
					return nil, fmt.Errorf("%s: --%s %s: a comma in a file's path means two files; use another directory", c.Command.Name, name, v)
				}
			}
			args = append(args, "--"+name+"="+v)
		}
	}
	rest := slices.Clone(c.Args().Slice())
	if n := len(rest); n > 0 && (strings.HasSuffix(c.Command.ArgsUsage, "FILE") || strings.HasSuffix(c.Command.ArgsUsage, "OUT")) {
		var err error
		if rest[n-1], err = absolute("", rest[n-1]); err != nil {
			return nil, err
		}
	}
	if len(rest) > 0 {
		args = append(append(args, "--"), rest...)
	}
	return args, nil
}

func takesFile(f cli.Flag) bool {
	switch f := f.(type) {
	case *cli.StringFlag:
		return f.TakesFile
	case *cli.StringSliceFlag:
		return f.TakesFile
	}
	return false
}

// orNames are the flags that take the name of something else too.
var orNames = []string{"from", "background", "unmerge"}

func absolute(flag, path string) (string, error) {
	if slices.Contains(orNames, flag) {
		if _, err := os.Stat(path); err != nil || path == "self" {
			return path, nil
		}
	}
	abs, err := filepath.Abs(path)
	if strings.HasSuffix(path, "/") {
		abs += "/" // tells export that a directory is meant
	}
	return abs, err
}

type hostedKey struct{}

// hosted returns the server's engine when the command runs in a server, for another process, otherwise nil.
func hosted(ctx context.Context) *peft.Engine {
	e, _ := ctx.Value(hostedKey{}).(*peft.Engine)
	return e
}

// host runs the commands of other processes on the engine of a server. Long work waits while requests are answered.
func host(e *peft.Engine, s *server.Server) (*remote.Server, error) {
	opt := e.Options()
	here, err := basePath(opt.Cache, opt.Base)
	if err != nil {
		return nil, err
	}
	cache := opt.Cache
	if cache == "" {
		cache = peft.DefaultCache()
	}
	if cache, err = filepath.Abs(cache); err != nil {
		return nil, err
	}
	return remote.Serve(opt.Registry, func(ctx context.Context, q remote.Request, o remote.Output) int {
		warn := func(msg string) { fmt.Fprintln(o.Stderr, "peft: warning:", msg) }
		for _, d := range []struct{ what, asked, have string }{{"--base", q.Base, here}, {"--cache", q.Cache, cache}, {"--activations", q.Activations, strconv.Itoa(opt.Activations)}} {
			if d.asked != "" && d.asked != d.have {
				complain(o.Stderr, fmt.Errorf("the registry is held by a server with %s %s, and %s was asked for; leave it out, or stop the server", d.what, d.have, d.asked))
				return exitFailed
			}
		}
		if q.Threads != 0 && q.Threads != opt.Threads {
			warn(fmt.Sprintf("the server that holds the registry computes with %d threads, not %d", opt.Threads, q.Threads))
		}
		work := e.Reporting(s.Patient(ctx, o.Progress), warn)
		return run(context.WithValue(ctx, hostedKey{}, work), q.Args, o.Stdout, o.Stderr)
	})
}
