package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeysCommand(t *testing.T) {
	reg := filepath.Join(t.TempDir(), "r")
	keys := func(want int, args ...string) (stdout, both string) {
		t.Helper()
		code, out, errs := call(t, append([]string{"--registry", reg, "keys"}, args...)...)
		if code != want {
			t.Fatalf("keys %q: exit code %d, want %d\n%s%s", args, code, want, out, errs)
		}
		return out, out + errs
	}
	out, _ := keys(0, "add", "alice", "--sets", "a,b*", "--tokens-per-minute", "100")
	secret := strings.TrimSpace(out)
	if !strings.HasPrefix(secret, "peft-alice.") {
		t.Errorf("standard output is %q, want the key alone", out)
	}
	var v struct{ Name, Key string }
	if out, _ = keys(0, "add", "root", "--admin", "--json"); json.Unmarshal([]byte(out), &v) != nil || v.Name != "root" || !strings.HasPrefix(v.Key, "peft-root.") {
		t.Errorf("%q", out)
	}
	if out, _ = keys(0, "list"); !strings.Contains(out, "a,b*") || !strings.Contains(out, "everything") || strings.Contains(out, secret) {
		t.Errorf("%q", out)
	}
	keys(1, "add", "alice")
	keys(1, "add", "bob", "--admin", "--sets", "a")
	keys(2, "add", "bob", "--sets", "")
	keys(2, "add")
	keys(2, "frob")
	keys(2)
	keys(0, "revoke", "alice")
	keys(1, "revoke", "alice")
	if out, _ = keys(0, "list", "--json"); strings.Contains(out, "alice") || !strings.Contains(out, "root") {
		t.Errorf("%q", out)
	}
}
