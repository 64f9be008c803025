package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestUnit runs the command line of the unit of systemd as it stands there, with its variables and a configuration beside it.
func TestUnit(t *testing.T) {
	unit := deployed(t, "peft.service")
	args, ok := strings.CutPrefix(entry(t, unit, "ExecStart"), "/usr/local/bin/peft ")
	if !ok {
		t.Fatalf("the unit starts %s", args)
	}
	drain := regexp.MustCompile(`--drain (\S+)`).FindStringSubmatch(args)
	if drain == nil {
		t.Fatalf("the unit's command says nothing of --drain: %s", args)
	}
	long, err := time.ParseDuration(drain[1])
	stop, serr := time.ParseDuration(entry(t, unit, "TimeoutStopSec") + "s")
	if err != nil || serr != nil || stop < long+headerTime {
		t.Errorf("the unit is killed after %v, and drains for %v and writes its traces for %v: %v, %v", stop, long, headerTime, err, serr)
	}
	dir := t.TempDir()
	for v := range strings.FieldsSeq(entry(t, unit, "Environment")) {
		name, path, _ := strings.Cut(v, "=")
		t.Setenv(name, filepath.Join(dir, filepath.Base(path)))
	}
	config := "[serve]\nlisten = \"127.0.0.1:0\"\n"
	if err := os.WriteFile(filepath.Join(dir, "peft.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir) // WorkingDirectory
	url, end := serving(t, strings.Fields(args)...)
	ready(t, url)
	if code := end(); code != 0 {
		t.Errorf("ended with %d", code)
	}
	if _, err := os.Stat(filepath.Join(dir, "registry", "db")); err != nil {
		t.Errorf("the registry is not where the unit has it: %v", err)
	}
}

// TestImage runs what the image of the Dockerfile runs, first without a key, as there it listens where others reach it.
func TestImage(t *testing.T) {
	file := deployed(t, "Dockerfile")
	var program, args []string
	for name, v := range map[string]*[]string{"ENTRYPOINT": &program, "CMD": &args} {
		if err := json.Unmarshal([]byte(instruction(t, file, name)), v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if len(program) != 1 || filepath.Base(program[0]) != "peft" {
		t.Fatalf("the image runs %q", program)
	}
	volume := instruction(t, file, "VOLUME")
	dir := t.TempDir()
	t.Setenv("HOME", "/nowhere") // which a user of an image may not have
	for v := range strings.FieldsSeq(instruction(t, file, "ENV")) {
		name, path, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(path, volume+"/") {
			t.Errorf("%s is not in the volume %s", v, volume)
		}
		t.Setenv(name, filepath.Join(dir, strings.TrimPrefix(path, volume)))
	}
	if code, _, errs := call(t, append(args, "--listen", "0.0.0.0:0")...); code != 1 || !strings.Contains(errs, "peft keys add") {
		t.Errorf("without a key: %d, %s", code, errs)
	}
	if code, _, errs := call(t, "keys", "add", "alice"); code != 0 {
		t.Fatalf("keys add: %d, %s", code, errs)
	}
	url, end := serving(t, append(args, "--listen", "127.0.0.1:0")...)
	ready(t, url)
	if code := end(); code != 0 {
		t.Errorf("ended with %d", code)
	}
}

func ready(t *testing.T, url string) {
	t.Helper()
	r, err := http.Get(url + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Body.Close(); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %d, %v", r.StatusCode, err)
	}
}

func deployed(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// entry returns a unit's only value of that name.
func entry(t *testing.T, unit, name string) string {
	t.Helper()
	return only(t, unit, `(?m)^`+name+`=(.*)$`)
}

// instruction returns the arguments of a Dockerfile's only instruction of that name.
func instruction(t *testing.T, file, name string) string {
	t.Helper()
	return only(t, file, `(?m)^`+name+` (.*)$`)
}

func only(t *testing.T, text, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1)
	if len(m) != 1 {
		t.Fatalf("%d lines are like %s, want 1", len(m), pattern)
	}
	return m[0][1]
}
