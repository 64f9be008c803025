package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/gopeft/peft"
	"github.com/gopeft/peft/cmd/peft/internal/remote"
	"github.com/gopeft/peft/registry"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a wrong command line.
type usageError struct{ error }

func usagef(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := newApp(stdout, stderr)
	err := app.RunContext(ctx, arrange(app, args))
	var usage usageError
	var exit exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &usage):
		complain(stderr, err)
		return exitUsage
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "peft: interrupted")
		return exitFailed
	}
	complain(stderr, err)
	return exitFailed
}

// complain writes an error; those of the library begin with its name already.
func complain(w io.Writer, err error) {
	fmt.Fprintf(w, "peft: %s\n", strings.TrimPrefix(err.Error(), "peft: "))
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:      "peft",
		Usage:     "continual learning for frozen language models",
		Version:   peft.Version(),
		Writer:    stdout,
		ErrWriter: stderr,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "registry", EnvVars: []string{"PEFT_REGISTRY"}, Usage: "the registry's `DIR`", DefaultText: "peft in the user's data directory"},
			&cli.StringFlag{Name: "base", Value: "builtin", EnvVars: []string{"PEFT_BASE"}, Usage: "the base `REF`: builtin, a .gguf file, a Hugging Face directory, or a pulled model's name"},
			&cli.StringFlag{Name: "cache", EnvVars: []string{"PEFT_CACHE"}, Usage: "the `DIR` of pulled models", DefaultText: "peft/hub in the user's cache directory"},
			&cli.StringFlag{Name: "config", Usage: "a peft.toml `FILE` with flags"},
			&cli.IntFlag{Name: "threads", Value: runtime.NumCPU(), Usage: "worker threads `N`"},
			&cli.IntFlag{Name: "activations", Value: 16, Usage: "`BITS` of what is multiplied with quantised weights: 16, or 8, which is faster and less exact"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object as the last line of standard output"},
		},
		Commands: []*cli.Command{
			initCommand(), addExpertsCommand(), finetuneCommand(), evalCommand(), generateCommand(), logitsCommand(),
			listCommand(), showCommand(), historyCommand(), rollbackCommand(), pruneCommand(), removeCommand(), exportCommand(), gateCommand(), reportCommand(),
			verifyCommand(), backupCommand(), restoreCommand(), pullCommand(),
			serveCommand(), keysCommand(), benchCommand(), pretrainCommand(), completionCommand(),
		},
		OnUsageError:         func(_ *cli.Context, err error, _ bool) error { return usageError{err} },
		ExitErrHandler:       func(*cli.Context, error) {}, // run decides
		HideHelpCommand:      false,
		EnableBashCompletion: true,
		CommandNotFound: func(c *cli.Context, name string) {
			fmt.Fprintf(stderr, "peft: no command %q\n", name)
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("no command %q; see peft help", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, cmd := range app.Commands {
		exemplify(cmd)
		cmd.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
			return usageError{fmt.Errorf("%s: %w", cmd.Name, err)}
		}
		cmd.Before = func(c *cli.Context) error {
			if hosted(c.Context) != nil {
				return nil // the other process has read its own
			}
			return applyConfig(c, cmd)
		}
	}
	return app
}

// want checks the number of positional arguments.
func want(c *cli.Context, names ...string) error {
	if c.NArg() != len(names) {
		return usagef("%s: want %s, got %d arguments %q", c.Command.Name, strings.Join(names, " "), c.NArg(), c.Args().Slice())
	}
	return nil
}

// need checks that the command line or peft.toml gives a flag.
func need(c *cli.Context, flag string) error {
	if !c.IsSet(flag) {
		return usagef("%s: no --%s given", c.Command.Name, flag)
	}
	return nil
}

// openEngine opens the registry that the global flags name; the base is loaded when it is first needed.
func openEngine(c *cli.Context) (*peft.Engine, error) {
	if n := c.Int("threads"); n < 1 {
		return nil, usagef("--threads %d: want at least 1", n)
	}
	if n := c.Int("activations"); n != 8 && n != 16 {
		return nil, usagef("--activations %d: want 8 or 16", n)
	}
	return peft.Open(peft.Options{
		Registry:    c.String("registry"),
		Base:        c.String("base"),
		Cache:       c.String("cache"),
		Threads:     c.Int("threads"),
		Activations: c.Int("activations"),
		Warn:        func(msg string) { fmt.Fprintln(c.App.ErrWriter, "peft: warning:", msg) },
		Progress:    newProgress(c.App.ErrWriter).report,
	})
}

// withEngine runs f on an open engine and closes it. When a server holds the registry, the command runs there instead.
func withEngine(c *cli.Context, f func(e *peft.Engine) error) error {
	if e := hosted(c.Context); e != nil {
		return f(e)
	}
	err := withOwnEngine(c, f)
	if errors.Is(err, registry.ErrLocked) {
		if ferr := forward(c); !errors.Is(ferr, remote.ErrNoServer) {
			return ferr
		}
	}
	return err
}

// withOwnEngine runs f on an engine of this command.
func withOwnEngine(c *cli.Context, f func(e *peft.Engine) error) (err error) {
	e, err := openEngine(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	return f(e)
}

// readable reports a missing input file before work begins.
func readable(files ...string) error {
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			return err
		}
		if st.IsDir() {
			return fmt.Errorf("%s is a directory, want a file", f)
		}
	}
	return nil
}
