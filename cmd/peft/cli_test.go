package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// call runs a command line in this process, in a directory of its own.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), append([]string{"peft"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestArrange(t *testing.T) {
	app := newApp(nil, nil)
	for in, want := range map[string]string{
		"peft generate hello --sets a --json --max-tokens=3": "peft --json generate --sets a --max-tokens=3 hello",
		"peft --base b eval --data f":                        "peft --base b eval --data f",
		"peft finetune n --resume --steps 3":                 "peft finetune --resume --steps 3 n",
		"peft generate -- --sets":                            "peft generate -- --sets",
		"peft eval --base b --data f":                        "peft --base b eval --data f",
		"peft frobnicate --x":                                "peft frobnicate --x",
	} {
		if got := strings.Join(arrange(app, strings.Fields(in)), " "); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	reg := filepath.Join(t.TempDir(), "r")
	for _, c := range []struct {
		code int
		say  string
		args []string
	}{
		{0, "continual learning", nil},
		{0, "no expert sets", []string{"--registry", reg, "list"}},
		{2, "frobnicate", []string{"frobnicate"}},
		{2, "NAME", []string{"--registry", reg, "show"}},
		{2, "frob", []string{"--registry", reg, "list", "--frob"}},
		{2, "at least 1", []string{"--registry", reg, "--threads", "0", "list"}},
		{2, "want 8 or 16", []string{"--registry", reg, "--activations", "4", "list"}},
		{2, "no --data", []string{"--registry", reg, "finetune", "x"}},
		{2, "no --data", []string{"--registry", reg, "eval"}},
		{2, "--lr", []string{"--registry", reg, "finetune", "x", "--data", "f", "--lr", "-1"}},
		{2, "lr", []string{"--registry", reg, "finetune", "x", "--data", "f", "--lr", "much"}},
		{1, "no such file", []string{"--registry", reg, "finetune", "x", "--data", "f"}},
		{2, "--steps", []string{"--registry", reg, "finetune", "x", "--data", "f", "--steps", "0"}},
		{2, "--precision", []string{"--registry", reg, "finetune", "x", "--data", "f", "--precision", "f99"}},
		{2, "--top", []string{"--registry", reg, "logits", "--text", "x", "--top", "-3"}},
		{2, "per cent", []string{"--registry", reg, "finetune", "x", "--data", "f", "--forbid-regression", "much"}},
		{2, "report-tokens", []string{"--registry", reg, "finetune", "x", "--data", "f", "--forbid-regression", "1%", "--report-tokens", "0"}},
		{2, "gate-tokens", []string{"--registry", reg, "eval", "--data", "f", "--gate-tokens", "0"}},
		{1, "not found", []string{"--registry", reg, "gate", "x"}},
		{1, "not found", []string{"--registry", reg, "show", "x"}},
		{1, "not found", []string{"--registry", reg, "prune", "x"}},
		{2, "at most 1", []string{"--registry", reg, "prune", "x", "--keep", "1.5"}},
		{2, "without --data", []string{"--registry", reg, "add-experts", "x", "--experts", "+5", "--data", "f"}},
		{1, "not found", []string{"--registry", reg, "add-experts", "x", "--experts", "+5"}},
		{2, "--cover", []string{"--registry", reg, "add-experts", "x", "--from", "f", "--cover", "0.5"}},
		{2, "--cover", []string{"--registry", reg, "add-experts", "x", "--from", "f", "--routed", "--cover", "2"}},
		{1, "no such file", []string{"--registry", reg, "add-experts", "x", "--from", "f"}},
		{2, "NAME OUT", []string{"--registry", reg, "export", "x"}},
		{2, "--format zip", []string{"--registry", reg, "export", "x", "f", "--format", "zip"}},
		{2, "--merge and --unmerge", []string{"--registry", reg, "export", "x", "f", "--type", "F32"}},
		{2, "either", []string{"--registry", reg, "export", "--merge", "x", "--unmerge", "x", "f"}},
		{2, "want OUT", []string{"--registry", reg, "export", "--merge", "x"}},
		{2, "--format peft", []string{"--registry", reg, "export", "--merge", "x", "f", "--to", "peft"}},
		{1, "x@y", []string{"--registry", reg, "show", "x@y"}},
	} {
		code, out, errs := call(t, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.say) {
			t.Errorf("peft %v: exit code %d, want %d\n%s%s", c.args, code, c.code, out, errs)
		}
	}
}

func TestJSON(t *testing.T) {
	code, out, errs := call(t, "--registry", filepath.Join(t.TempDir(), "r"), "list", "--json")
	var v struct{ Sets []any }
	if err := json.Unmarshal([]byte(out), &v); code != 0 || err != nil || v.Sets == nil {
		t.Errorf("%d %q %q %v", code, out, errs, err)
	}
}

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(s string) {
		if err := os.WriteFile(filepath.Join(dir, "peft.toml"), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("registry = \"here\"\n[generate]\nsets = \"nobody\"\nmax-tokens = 3\n")
	if code, _, errs := call(t, "list"); code != 0 {
		t.Fatal(errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "here", "db")); err != nil {
		t.Error("the file's registry was not used:", err)
	}
	if code, _, errs := call(t, "generate", "x"); code != 1 || !strings.Contains(errs, "nobody") {
		t.Errorf("the command's table was not used: %d %s", code, errs)
	}
	if code, _, errs := call(t, "generate", "x", "--sets", "somebody"); code != 1 || !strings.Contains(errs, "somebody") {
		t.Errorf("the flag did not win: %d %s", code, errs)
	}
	write("registry = \"here\"\n[finetune]\ndata = [\"absent.txt\"]\n")
	if code, _, errs := call(t, "finetune", "x"); code != 1 || !strings.Contains(errs, "absent.txt") {
		t.Errorf("the data in the file was not used: %d %s", code, errs)
	}
	for bad, want := range map[string]string{
		"colour = 1":                     "colour",
		"[lisst]":                        "lisst",
		"[list]\nx = 1":                  `"x"`,
		"threads = \"many\"":             "threads",
		"registry = ":                    "line 1",
		"[generate]\nsets = 1\nsets = 2": "sets",
	} {
		write(bad)
		if code, _, errs := call(t, "list"); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%q: %d %s", bad, code, errs)
		}
	}
	if code, _, _ := call(t, "--config", "absent.toml", "list"); code != 1 {
		t.Errorf("absent file: %d", code)
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string][]string{"": {}, "a": {"a"}, "a,b": {"a", "b"}, "a+b@2": {"a", "b@2"}} {
		if got := names(in); !slices.Equal(got, want) {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestExperts(t *testing.T) {
	for in, want := range map[string]struct {
		n    int
		more bool
	}{"": {0, false}, "12": {12, false}, "+12": {12, true}} {
		if n, more, err := experts(in); err != nil || n != want.n || more != want.more {
			t.Errorf("%q: %d, %v, %v", in, n, more, err)
		}
	}
	for _, bad := range []string{"0", "-3", "+0", "++3", "many", "+"} {
		if _, _, err := experts(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}
