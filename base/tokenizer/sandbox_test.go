package tokenizer

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gopeft/peft/base/tokenizer/internal/jinja"
)

// hostile are templates that want too much, or what they do not get.
var hostile = map[string]string{
	// time and calls
	"endless macro":   "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
	"two macros":      "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
	"doubling macro":  "{% macro f(n) %}{% if n > 0 %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
	"silent macro":    "{% macro f(n) %}{% if n > 0 %}{% set a = f(n-1) %}{% set b = f(n-1) %}{% endif %}{% endmacro %}{{ f(60) }}",
	"default calls":   "{% macro f(x=f()) %}{% endmacro %}{{ f() }}",
	"endless loop":    "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
	"huge range":      "{% for i in range(1000000000000) %}x{% endfor %}",
	"wide range":      "{{ range(-9223372036854775807, 9223372036854775807) }}",
	"backward range":  "{% for i in range(0, -1000000000000, -1) %}x{% endfor %}",
	"step 0":          "{% for i in range(0, 1, 0) %}x{% endfor %}",
	"nested ranges":   "{% for i in range(60000) %}{% for j in range(60000) %}{% endfor %}{% endfor %}",
	"deep ranges":     strings.Repeat("{% for i in range(100) %}", 9) + strings.Repeat("{% endfor %}", 9),
	"empty turns":     "{% set r = range(60000) %}{% for i in r %}{% for j in r if false %}{% endfor %}{% endfor %}",
	"searches":        "{% set s = 'a' * 30000000 %}{% for i in range(60000) %}{{ 'b' in s }}{% endfor %}",
	"strips":          "{% set s = 'a' * 8000000 %}{% for i in range(60000) %}{% set x = s.strip('" + strings.Repeat("é", 120) + "a') %}{% endfor %}",
	"long strip":      "{% set s = 'é' * 60000 %}{{ s.strip(s) }}",
	"sort":            "{% set s = 'a' * 100000 %}{% set ns = namespace(l=[s ~ 1, s ~ 2]) %}{% for i in range(20) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l | sort | length }}",
	"slices":          "{% set s = 'é' * 20000000 %}{% for i in range(60000) %}{% set x = s[5:-5] %}{% endfor %}",
	"lengths":         "{% set s = 'é' * 20000000 %}{% for i in range(60000) %}{% set x = s | length %}{% endfor %}",
	"comparisons":     "{% set s = 'a' * 20000000 %}{% set t = s ~ 'b' %}{% for i in range(60000) %}{% set x = s < t %}{% endfor %}",
	"methods unbound": "{% for i in range(60000) %}{% for j in range(600) %}{% set x = 'a'.strip %}{% endfor %}{% endfor %}",

	// text
	"product":           "{{ 'a' * 1000000000 }}",
	"product, silent":   "{{ ('a' * 1000000000) is defined }}",
	"product, default":  "{{ ('a' * 1000000000) | default('x') }}",
	"product, reversed": "{{ 1000000000 * 'a' }}",
	"product, maximal":  "{{ 'ab' * 9223372036854775807 }}",
	"product of lists":  "{{ [1] * 1000000000 }}",
	"power":             "{{ 10 ** 1000 }}",
	"tower":             "{{ 9 ** 9 ** 9 ** 9 }}",
	"doubling ~":        "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s | length }}",
	"doubling +":        "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s | length }}",
	"growing ~":         "{% set ns = namespace(s='') %}{% for i in range(60000) %}{% set ns.s = ns.s ~ '" + strings.Repeat("x", 1000) + "' %}{% endfor %}{{ ns.s | length }}",
	"huge output":       "{% for i in range(60000) %}" + strings.Repeat("x", 1000) + "{% endfor %}",
	"macro of text":     "{% macro f() %}" + strings.Repeat("x", 60000) + "{% endmacro %}{% for i in range(65536) %}{% set x = f() %}{% endfor %}",
	"block of text":     "{% for i in range(65536) %}{% set x %}" + strings.Repeat("x", 60000) + "{% endset %}{% endfor %}",
	"doubling block":    "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set b %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = b %}{% endfor %}",
	"replace":           "{% set s = 'a' * 1000000 %}{{ s | replace('a', s) }}",
	"replace method":    "{% set s = 'a' * 1000000 %}{{ s.replace('a', s) }}",
	"replace nothing":   "{% set s = 'a' * 1000000 %}{{ s.replace('', s) }}",
	"join":              "{% set s = 'a' * 1000000 %}{{ range(60000) | join(s) }}",
	"join characters":   "{% set s = 'a' * 1000000 %}{{ s | join(s) }}",
	"join method":       "{% set s = 'a' * 1000000 %}{{ s.join(s.split('a')) }}",
	"join texts":        "{% set s = 'a' * 1000000 %}{% set l = [s, s, s, s, s, s, s, s] %}{{ (l + l + l + l + l + l + l + l + l + l) | join | length }}",
	"indent":            "{{ ('a\n' * 1000000) | indent(1000000) }}",
	"indent maximal":    "{{ 'a\nb' | indent(9223372036854775807) }}",
	"indent text":       "{% set s = 'a\n' * 1000000 %}{{ s | indent(s) }}",
	"json indent":       "{{ range(60000) | list | tojson(indent=1000000) }}",
	"json maximal":      "{{ [[1]] | tojson(indent=9223372036854775807) }}",
	"json commas":       "{% set s = 'a' * 1000000 %}{{ range(60000) | list | tojson(separators=(s, s)) }}",
	"json escapes":      "{{ ('\u00e9' * 20000000) | tojson(ensure_ascii=true) | length }}",
	"escape":            "{{ ('\"' * 30000000) | e | length }}",
	"quotes":            "{{ ['\u0001' * 20000000] | string | length }}",
	"split":             "{{ ('a' * 30000000).split('a') | length }}",
	"words":             "{{ ('a ' * 15000000).split() | length }}",
	"lines":             "{{ ('\n' * 30000000).splitlines() | length }}",
	"characters":        "{{ ('a' * 30000000) | list | length }}",
	"backwards":         "{{ ('a' * 30000000)[::-1] | length }}",
	"date":              "{% set s = '%A%B' * 5000000 %}{{ strftime_now(s) | length }}",
	"raised text":       "{{ raise_exception('a' * 30000000) }}",
	"big argument":      "{% set s = 'a' * 30000000 %}{{ 'x'.nothing(s) }}",
	"dropped filters":   "{{ 'a' | center(1000000000) }}",
	"dropped format":    "{{ '%1000000000d' | format(1) }}",
	"dropped percent":   "{{ '%1000000000d' % 1 }}",
	"dropped ljust":     "{{ 'a'.ljust(1000000000) }}",
	"dropped zfill":     "{{ 'a'.zfill(1000000000) }}",
	"dropped tabs":      "{{ '\t'.expandtabs(1000000000) }}",
	"dropped batch":     "{{ [1] | batch(1000000000, 'x') }}",
	"dropped slice":     "{{ [1] | slice(1000000000) }}",
	"dropped wordwrap":  "{{ 'a b' | wordwrap(1) }}",
	"dropped pprint":    "{{ messages | pprint }}",
	"dropped lipsum":    "{{ lipsum(1000000000) }}",
	"{}.format":         "{{ '{:1000000000}'.format(1) }}",

	// values within values
	"exponential print":      exponential + "{{ ns.l }}",
	"exponential length":     exponential + "{{ ns.l | string | length }}",
	"exponential comparison": exponential + "{{ ns.l == ns.k }}",
	"exponential test":       exponential + "{{ ns.l is eq(ns.k) }}",
	"exponential search":     exponential + "{{ ns.l in [1, ns.k] }}",
	"exponential json":       exponential + "{{ ns.l | tojson }}",
	"exponential ~":          exponential + "{% set x = ns.l ~ '' %}",
	"exponential join":       exponential + "{{ ns.l | join }}",
	"exponential dict":       strings.NewReplacer("[ns.l, ns.l]", "{'a': ns.l, 'b': ns.l}", "[ns.k, ns.k]", "{'a': ns.k, 'b': ns.k}").Replace(exponential) + "{{ ns.l == ns.k }}{{ ns.l }}",
	"doubling list":          "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
	"nested print":           nested + "{{ ns.l }}",
	"nested json":            nested + "{{ ns.l | tojson }}",
	"nested comparison":      nested + "{{ ns.l == ns.k }}",
	"nested search":          nested + "{{ ns.l in [ns.k] }}",
	"nested raise":           nested + "{{ raise_exception(ns.l) }}",
	"nested sort":            nested + "{{ [ns.l, ns.k] | sort }}",
	"nested unique":          nested + "{{ [ns.l, ns.k] | unique }}",
	"nested dicts":           "{% set ns = namespace(d={}) %}{% for i in range(60000) %}{% set ns.d = {'a': ns.d} %}{% endfor %}{{ ns.d }}",
	"many dicts":             "{% set ns = namespace(d={}) %}{% for i in range(60000) %}{% for j in range(60000) %}{% set ns.d = {'a': 1, 'b': 2} %}{% endfor %}{% endfor %}",
	"cyclic json":            "{% set ns = namespace() %}{% set ns.self = ns %}{{ [ns] | tojson }}",
	"cyclic loop json":       "{% for i in [1] %}{{ {'l': loop} | tojson }}{% endfor %}",
	"append":                 "{% set l = [] %}{{ l.append(l) }}{{ l }}",
	"extend":                 "{{ messages.extend(messages) }}",
	"update":                 "{{ messages[0].update({'a': messages}) }}",
	"pop":                    "{{ messages.pop() }}",
	"clear":                  "{{ messages.clear() }}",
	"setdefault":             "{{ messages[0].setdefault('x', 1) }}",
	"set on a dict":          "{% set messages[0].role = 1 %}",
	"set an item":            "{% set messages[0]['role'] = 1 %}",
	"set of a loop":          "{% for m in messages %}{% set loop.index = 7 %}{% endfor %}",

	// what they get no access to
	"include":       "{% include '/etc/hosts' %}",
	"import":        "{% import '/etc/hosts' as f %}",
	"extends":       "{% extends 'chat' %}",
	"do":            "{% do messages.append(1) %}",
	"with":          "{% with x = 1 %}{% endwith %}",
	"call":          "{% call f() %}{% endcall %}",
	"filter":        "{% filter upper %}{% endfilter %}",
	"block":         "{% block a %}{{ self.a() }}{% endblock %}",
	"class":         "{{ ''.__class__() }}",
	"break":         "{% break %}",
	"break, macro":  "{% for i in [1] %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}",
	"raised":        "{{ raise_exception('no such role') }}",
	"no function":   "{{ no_such_function() }}",
	"no such macro": "{% macro f() %}{% endmacro %}{{ f(1, 2) }}{{ f(x=1) }}",

	// the parser
	"unclosed":        "{% if true %}",
	"huge template":   strings.Repeat("x", 64<<10+1),
	"deep brackets":   "{{ " + strings.Repeat("(", 8<<10-10) + " }}",
	"deep lists":      "{{ " + strings.Repeat("[", 8<<10-10) + " }}",
	"closed lists":    "{{ " + strings.Repeat("[", 4000) + strings.Repeat("]", 4000) + " }}",
	"closed brackets": "{{ " + strings.Repeat("(", 4000) + "nothing.x" + strings.Repeat(")", 4000) + " }}",
	"many brackets":   "{{ " + strings.Repeat("(", 8<<10+1) + " }}",
	"deep statements": strings.Repeat("{% if 1 %}", 64<<10/10-1),
	"closed ifs":      strings.Repeat("{% if 1 %}", 2900) + strings.Repeat("{% endif %}", 2900),
	"closed sets":     strings.Repeat("{% set a %}", 2000) + strings.Repeat("{% endset %}", 2000),
	"negations":       "{{ " + strings.Repeat("not ", 64<<10/4-10) + " }}",
	"signs":           "{{ " + strings.Repeat("-", 64<<10-10) + " }}",
	"powers":          "{{ 1" + strings.Repeat("**1", 64<<10/3-10) + " + }}",
	"sums":            "{{ 1" + strings.Repeat("~1", 64<<10/2-10) + " + }}",
	"long sum":        "{{ 1" + strings.Repeat("~1", 64<<10/2-10) + " }}",
	"long or":         "{{ 0" + strings.Repeat(" or 0", 64<<10/5-10) + " }}",
	"filters":         "{{ 1" + strings.Repeat("|e", 64<<10/2-10) + " + }}",
	"long filters":    "{{ '\"'" + strings.Repeat("|e", 64<<10/2-10) + " }}",
	"attributes":      "{{ a" + strings.Repeat(".a", 64<<10/2-10) + " + }}",
	"long attributes": "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns" + strings.Repeat(".a", 32000) + " }}",
	"missing operand": "{{ in }}{{ 1 + in }}",
	"named missing":   "{{ range(in=1) }}",
}

const (
	exponential = "{% set ns = namespace(l=[1], k=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% set ns.k = [ns.k, ns.k] %}{% endfor %}"
	nested      = "{% set ns = namespace(l=[1], k=[1]) %}{% for i in range(60000) %}{% set ns.l = [ns.l] %}{% set ns.k = [ns.k] %}{% endfor %}"
)

// TestHostileTemplates runs what must fail, soon and without much memory.
func TestHostileTemplates(t *testing.T) {
	tok := withTemplate(t, "x")
	var slowest, largest string
	var most uint64
	var longest time.Duration
	for name, template := range hostile {
		tok.template = template
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		text, err := tok.ApplyChat([]Message{{"user", "hi"}}, true)
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		made := after.TotalAlloc - before.TotalAlloc
		if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: gave %d bytes, %.60q, %v", name, len(text), text, err)
		}
		if err != nil && (len(err.Error()) > 600 || strings.Contains(err.Error(), "runtime error")) {
			t.Errorf("%s: error of %d bytes: %.700s", name, len(err.Error()), err)
		}
		if took > 2*time.Second || made > 1<<30 {
			t.Errorf("%s: took %v and %d MiB", name, took, made>>20)
		}
		if testing.Verbose() && took > 300*time.Millisecond {
			t.Logf("%s: %v, %d MiB: %v", name, took, made>>20, err)
		}
		if took > longest {
			longest, slowest = took, name
		}
		if made > most {
			most, largest = made, name
		}
	}
	t.Logf("%d templates, at most %v (%s) and %d MiB (%s)", len(hostile), longest, slowest, most>>20, largest)
}

// TestHarmlessCycle prints a namespace that holds itself.
func TestHarmlessCycle(t *testing.T) {
	tok := withTemplate(t, "{% set ns = namespace() %}{% set ns.self = [ns] %}{{ ns.self }}{{ ns.self == [ns] }}{{ ns.self[0].self[0] == ns }}")
	if got, err := tok.ApplyChat(nil, false); err != nil || got != "[namespace]TrueTrue" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestLongChat writes 1,000 messages of 10 KB by what real templates do for each, within a sixth of the budget.
func TestLongChat(t *testing.T) {
	tok := withTemplate(t, "{%- set ns = namespace(last=-1, index=0) %}{% macro turn(role, text) %}{{ '<' ~ role ~ '>' }}{{ text }}{% endmacro %}"+
		"{% for m in messages[::-1] %}{% if m.role == 'user' and ns.last < 0 and not m.content.startswith('<tool>') %}{% set ns.last = messages | length - loop.index %}{% endif %}{% endfor %}"+
		"{% for m in messages[1:] %}{% if loop.last and messages | length > 1 %}{% set ns.index = (messages | selectattr('role', 'equalto', 'user') | list | length) %}{% endif %}{% endfor %}"+
		"{% for m in messages %}{% set rest = messages[loop.index:] %}{% set content = m['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}"+
		"{% if m == messages[-1] or (rest | length) % 2 == 0 %}{{ '<' + m.role + '>' + content | trim + '</>\\n' }}{% else %}{{ turn(m.role, content) }}{% endif %}{% endfor %}{{ ns.last }}/{{ ns.index }}")
	messages := make([]Message, 1000)
	for i := range messages {
		messages[i] = Message{[]string{"user", "assistant"}[i%2], strings.Repeat(fmt.Sprintf("%04d word ", i), 1000)}
	}
	start := time.Now()
	limits := jinja.Limits{Bytes: (chatBytes + chatFactor*1000*10000) / 6, Output: maxChat, Time: maxTime}
	text, err := tok.applyChat(messages, true, limits)
	if err != nil || len(text) < 1000*9999 || !strings.HasSuffix(text, "998/500") {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	if took := time.Since(start); took > maxTime/2 {
		t.Errorf("took %v", took)
	}
}

// FuzzChat runs templates within small limits and without what catches a panic.
func FuzzChat(f *testing.F) {
	f.Add(chatML)
	for _, template := range hostile {
		if len(template) < 1000 {
			f.Add(template)
		}
	}
	limits := jinja.Limits{Bytes: 1 << 20, Output: 1 << 16, Time: time.Second}
	tok := withTemplate(f, "x")
	f.Fuzz(func(t *testing.T, template string) {
		own := &Tokenizer{BOS: tok.BOS, EOS: tok.EOS, tokens: tok.tokens, template: template}
		text, err := own.applyChat([]Message{{"user", "hi"}, {"assistant", " héllo\n"}}, true, limits)
		if len(text) > limits.Output || err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%d bytes, %v", len(text), err)
		}
	})
}
