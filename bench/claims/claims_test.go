package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClaims: each claim goes by the figures, and says so where there are none.
func TestClaims(t *testing.T) {
	f := figures{}
	put := func(of, piece, v string) {
		if f[of] == nil {
			f[of] = map[string]json.RawMessage{}
		}
		f[of][piece] = json.RawMessage(v)
	}
	rows := func(name string, found ...string) {
		t.Helper()
		got := table(f.claims())
		for _, want := range found {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in\n%s", name, want, got)
			}
		}
	}
	if got := table(f.claims()); strings.Count(got, "| not measured yet |") != strings.Count(got, "\n")-2 {
		t.Errorf("without figures:\n%s", got)
	}
	put("continual", "off/peft", `{"shakespeare/test": {"nll": 4}, "wikitext": {"nll": 3}, "background": {"nll": 2}}`)
	put("continual", "run/peft/shakespeare/1", `{"bytes": 9000000, "texts": {"shakespeare/test": {"nll": 3.5}, "wikitext": {"nll": 3.01}, "background": {"nll": 2.01}}}`)
	put("continual", "run/lora16/shakespeare/1", `{"bytes": 10000000, "texts": {"shakespeare/test": {"nll": 3.6}, "wikitext": {"nll": 3.3}, "background": {"nll": 2.3}}}`)
	put("continual", "turn/manual", `{"auto": {"wikitext": {"nll": 3, "fired": ["", ""], "same": 2}, "background": {"nll": 2, "fired": ["", "a"], "same": 1}}}`)
	put("continual", "foreign", `{"wikitext": {"fired": ["", "", ""], "same": 3}}`)
	put("continual", "run/peft/gsm8k/1", `{"texts": {"gsm8k/test": {"nll": 1}}}`)
	put("continual", "pair/shakespeare+gsm8k", `{"shakespeare/test": {"nll": 3.51}, "gsm8k/test": {"nll": 1.1}}`)
	put("continual", "order/0", `{"logits_sha256": "a", "router_sha256": "r"}`)
	put("continual", "order/1", `{"logits_sha256": "b", "router_sha256": "r"}`)
	put("continual", "many", `[{"router_sha256": "r", "seconds": 5}, {"router_sha256": "r", "seconds": 2}, {"router_sha256": "r", "seconds": 2}, {"router_sha256": "r", "seconds": 2}, {"router_sha256": "r", "seconds": 2}, {"router_sha256": "r", "seconds": 6}, {"router_sha256": "r", "seconds": 5}]`)
	rows("learned", "| 6 of 7 | **no** |", "| 125.0 % (0.500 of 0.400 nats, 1 domains) | yes |", "| 3 % (+0.010 of +0.300 nats) | yes |",
		"| 125.0 % in 9.0 of 10.0 MB | yes |", "| 1 of 2, worst +10.5 % | **no** |", "| 2 orders, 2 different results | **no** |", "| 7 sets, a set's last at most 2.5 times its first; one hash: true | **no** |")
	put("classify", "two/after-1/news", `{"right": "1100"}`)
	put("classify", "two/after-2/news", `{"right": "1000"}`)
	put("classify", "two/after-2/reviews", `{"right": "1000"}`)
	put("classify", "joint/news", `{"right": "1000"}`)
	put("classify", "joint/reviews", `{"right": "1000"}`)
	put("domain", "builtin/16", `{"texts": [{"after": 20}, {"after": 20}]}`)
	put("domain", "builtin/32", `{"texts": [{"after": 10}, {"after": 10}]}`)
	put("usage", "builtin/calibrated/1", `{"curve": [{"tokens": 5, "hit": 0.995, "kl": 1.2}]}`)
	rows("others", "| -25.0 points | **no** |", "| 0.0 points behind | yes |", "| 20.0 with 256, 10.0 with 1024 | so far |", "| 99.5 % hit by 5 tokens, KL 1.20 (calibrated) | **no** |")
}

// TestRead: the figures of all bases and of both forms are read, and broken ones named.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("continual.json", `[{"done": {"a": 1}}]`)
	write("facts.json", `{"units": {"b": {"asked": 4}}}`)
	f, err := read(dir)
	if a, ok := get[answers](f, "facts", "b"); err != nil || !ok || a.Asked != 4 || f["continual"]["a"] == nil {
		t.Errorf("%v, %v", f, err)
	}
	write("usage.json", `{"done":`)
	if _, err := read(dir); err == nil || !strings.Contains(err.Error(), "usage.json") {
		t.Errorf("a broken file: %v", err)
	}
}
