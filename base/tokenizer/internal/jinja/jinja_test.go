package jinja

import (
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"
)

var plenty = Limits{Bytes: 64 << 20, Output: 16 << 20, Time: 10 * time.Second}

// TestExpressions compares with jinja2 what testdata/expressions.py lists.
func TestExpressions(t *testing.T) {
	b, err := os.ReadFile("testdata/expressions.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Source string
		Text   *string
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 450 {
		t.Fatalf("only %d references", len(cases))
	}
	for _, c := range cases {
		got, err := Render(c.Source, nil, plenty)
		switch {
		case c.Text == nil && err == nil:
			t.Errorf("%s: %q, jinja2 fails", c.Source, got)
		case c.Text != nil && (err != nil || got != *c.Text):
			t.Errorf("%s: %q, want %q: %v", c.Source, got, *c.Text, err)
		}
	}
}

func TestLimits(t *testing.T) {
	loop := "{% for i in range(100000) %}{% set x = i %}{% endfor %}"
	for name, limits := range map[string]Limits{
		"bytes":  {Bytes: 1 << 20, Output: 1 << 20, Time: time.Minute},
		"output": {Bytes: 1 << 30, Output: 3, Time: time.Minute},
		"time":   {Bytes: 1 << 30, Output: 1 << 20, Time: time.Nanosecond},
	} {
		if got, err := Render("abc"+loop+"d", nil, limits); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := Render("abc"+loop+"d", nil, Limits{Bytes: 1 << 30, Output: 4, Time: time.Minute}); err != nil || got != "abcd" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestErrors says what is wrong and where, once.
func TestErrors(t *testing.T) {
	for source, want := range map[string]string{
		"a\n{{ 'a' + 1 }}": "line 2: a string and a number have no +",
		"{% macro f() %}\n{{ x.y }}{% endmacro %}\n{{ f() }}": "line 2: undefined (x) has no items",
		"{{ 'a' | indent('b', c=1) }}":                        `line 1: filter indent: unknown arguments among ["c"]`,
		"{{ 'a'.strip(1) }}":                                  "line 1: strip: argument is a number, want a string",
		"{{ raise_exception('roles ' ~ 1) }}":                 "line 1: raise_exception: roles 1",
		"{% set x = 1 %}{% set x.y = 2 %}":                    "line 1: set x.y: x is a number, only attributes of a namespace can be set",
		"{{ [1].append(2) }}":                                 "line 1: undefined (append) cannot be called",
		"{% for a, b in [1] %}{% endfor %}":                   "line 1: cannot unpack a number into 2 variables",
	} {
		if got, err := Render(source, nil, plenty); err == nil || err.Error() != want {
			t.Errorf("%q: %q, %v, want %s", source, got, err, want)
		}
	}
}

// TestRunsApart is what one run must not leave to the next.
func TestRunsApart(t *testing.T) {
	if _, err := Render("{% set range = 1 %}{% set ns = namespace(a=1) %}{% set ns.a = 2 %}", nil, plenty); err != nil {
		t.Fatal(err)
	}
	vars := map[string]any{"x": 1}
	got, err := Render("{{ range(2) | length }}{{ ns is defined }}{% set x = 2 %}{{ x }}", vars, plenty)
	if err != nil || got != "2False2" || vars["x"] != 1 {
		t.Errorf("%q, %v, %v", got, err, vars)
	}
}

func TestStrftime(t *testing.T) {
	when := time.Date(2024, 7, 26, 15, 4, 5, 0, time.UTC)
	if got := strftime(when, "%d %b %Y, %A %H:%M 100%% %q %"); got != "26 Jul 2024, Friday 15:04 100% %q %" {
		t.Errorf("%q", got)
	}
}
