package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/urfave/cli/v2"
)

var update = flag.Bool("update", false, "write golden files anew")

// TestReference: docs/peft.toml is what the flags give, and each key in it is one that the program takes, with a value of
// its flag's type.
func TestReference(t *testing.T) {
	app := newApp(io.Discard, io.Discard)
	var b bytes.Buffer
	writeReference(&b, app)
	// Defaults that the machine gives are not the reference's.
	text := regexp.MustCompile(`(?m)^# threads = \d+$`).ReplaceAllString(b.String(), "# threads = 2")
	file := filepath.Join("..", "..", "docs", "peft.toml")
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != text {
		t.Errorf("docs/peft.toml is not current (%v): go test ./cmd/peft -run TestReference -update", err)
	}
	var conf map[string]any
	if err := toml.Unmarshal([]byte(regexp.MustCompile(`(?m)^# ([a-z0-9-]+ = )`).ReplaceAllString(text, "$1")), &conf); err != nil {
		t.Fatal(err)
	}
	if err := checkKeys(app, conf); err != nil {
		t.Error(err)
	}
	for _, cmd := range app.Commands {
		table, _ := conf[cmd.Name].(map[string]any)
		for _, f := range cmd.Flags {
			if v, ok := table[f.Names()[0]]; !ok {
				t.Errorf("[%s] %s is not in the reference", cmd.Name, f.Names()[0])
			} else if _, isBool := f.(*cli.BoolFlag); isBool {
				if _, ok := v.(bool); !ok {
					t.Errorf("[%s] %s = %v", cmd.Name, f.Names()[0], v)
				}
			}
		}
	}
}

// TestExamples: every command has examples in its help, of flags that it has, and none is another command's.
func TestExamples(t *testing.T) {
	app := newApp(io.Discard, io.Discard)
	named := regexp.MustCompile(`(?:^| )(-{1,2}[a-z][a-z-]*)`)
	for name, lines := range examples {
		cmd := app.Command(name)
		if cmd == nil {
			t.Errorf("examples of %q, which is no command", name)
			continue
		}
		for _, line := range lines {
			if !strings.Contains(cmd.Description, line) || !strings.Contains(line, "peft") || !strings.Contains(line, name) {
				t.Errorf("%s: %q is not an example of it", name, line)
			}
			for _, m := range named.FindAllStringSubmatch(line, -1) {
				if f := strings.TrimLeft(m[1], "-"); !hasFlag(cmd.Flags, f) && !hasFlag(app.Flags, f) {
					t.Errorf("%s: %q has the flag %s, which it does not know", name, line, f)
				}
			}
		}
	}
	for _, cmd := range app.Commands {
		if len(examples[cmd.Name]) == 0 && cmd.Name != "help" {
			t.Errorf("%s has no example", cmd.Name)
		}
	}
}

// TestCompletion asks the parser as the shells' scripts do.
func TestCompletion(t *testing.T) {
	args := os.Args
	defer func() { os.Args = args }()
	for line, want := range map[string]string{
		"peft":                 "finetune",
		"peft finetune --st":   "--steps",
		"peft --reg":           "--registry",
		"peft export --merg":   "--merge",
		"peft completion fish": "complete -c peft",
		"peft completion bash": "complete -o",
		"peft completion zsh":  "compdef _peft",
	} {
		os.Args = strings.Fields(line)
		if os.Args[len(os.Args)-1] == "peft" || strings.Contains(line, "--") {
			os.Args = append(os.Args, completing)
		}
		var out bytes.Buffer
		if code := run(t.Context(), slices.Clone(os.Args), &out, io.Discard); code != exitOK || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %d\n%s", line, code, out.String())
		}
	}
}
