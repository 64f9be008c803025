"""Makes expressions.json: expressions and short templates, and what jinja2 as set up by transformers makes of them (null where
it fails). Tuples are lists here, so none is printed."""
import json
import pathlib

from jinja2.sandbox import ImmutableSandboxedEnvironment

expressions = r"""
' a '.strip() == 'a'|' a\n'.rstrip()|'xax'.strip('x')|'xax'.lstrip('x')|'xax'.rstrip('x')|'  a'.lstrip()|'' .strip()
'a,b,c'.split(',')|'a,b,c'.split(',', 1)|'a,b,c'.rsplit(',', 1)|' a  b c '.split()|' a  b c '.split(none, 1)|' a  b c '.rsplit(none, 1)|''.split()|''.split(',')
'a,b'.split('')|'abc'.split(',')[-1]|'a\nb\r\nc\n'.splitlines()|'a\nb\n'.splitlines(true)|'a</think>b'.split('</think>')[-1]
'aba'.replace('a', 'x')|'aba'.replace('a', 'x', 1)|'ab'.replace('', '-')|'aba'.replace('a', '')|'abc'.startswith('ab')|'abc'.startswith(('x', 'a'))|'abc'.endswith('c')
'héllo'.find('l')|'héllo'.rfind('l')|'abc'.find('z')|'banana'.count('an')|'-'.join(['a', 'b'])|'-'.join([])|'-'.join([1])|'abc'.removeprefix('a')|'abc'.removesuffix('bc')
"they're here".title()|'hELLO wORLD'.capitalize()|'ÉCOLE'.lower()|'école'.upper()|'12'.isdigit()|''.isdigit()|'ab1'.isalnum()|'ab'.isalpha()|' '.isspace()|'AB'.isupper()|'ab1'.islower()
'abc'[0]|'abc'[-1]|'abc'[5]|'héé'[1]|'abc'[1:]|'abc'[:-1]|'abc'[::-1]|'héé日本'[1:4]|'abcdef'[::2]|'abcdef'[4:1:-1]|'abcdef'[-2:]|'abc'[5:]|'abc'[::0]
[1, 2, 3][-1]|[1, 2, 3][0:2]|[1, 2, 3][::-1]|[1, 2, 3][5]|[1, 2, 3][-10:]|[1, 2, 3][10:]|[][0] is defined|[1, [2, 'a']]|[]|{}|{'a': 1, 'b': [none, true]}|[1.0, 1e20, 1e-5, 0.1]
1 + 2|1 + 2.5|7 // 2|-7 // 2|7 % 3|-7 % 3|7 / 2|4 / 2|2 ** 10|2 ** 0.5|2 ** -1|3 * 'ab'|'ab' * 3|'ab' * -1|1 / 0|1 // 0|1 % 0|true + 1|-true|1.5 // 1|5.5 % 2
'a' + 'b'|'a' + 1|1 + 'a'|'a' ~ 1 ~ none ~ true|[1] + [2]|[1] + 'a'|'a' + none|'a' + nothing|'a' ~ nothing ~ 'b'|-'a'
1 == 1.0|1 == true|'1' == 1|none == none|nothing == none|[1, 2] == [1, 2]|{'a': 1} == {'a': 1.0}|[1] == [2]|'a' < 'b'|1 < 2.5|'a' < 1|1 <= 1|2 >= 3|'b' > 'a'|1 != 2
'a' in 'abc'|'z' not in 'abc'|1 in [1, 2]|'a' in {'a': 1}|'a' in nothing|1 in 'a'|'a' in none|[1] in [[1]]|not 'a' in 'abc'
none|true|false|nothing|nothing.x|nothing['x']|none.x|none['x'] is defined|{'a': {'b': 1}}.a.b|{'a': 1}['a']|{'a': 1}.b is defined|{'items': 1}['items']|{1: 'a'}[1]|{'a': 1}[0] is defined
'' or 'x'|'a' and 'b'|0 or none|not 0|not ''|not []|not nothing|1 and 0 or 2|true and not false
nothing is defined|nothing is undefined|none is none|none is defined|1 is number|true is number|1 is integer|1.5 is float|'a' is string|[] is iterable|'a' is iterable|{} is mapping|[] is mapping|'a' is sequence|1 is iterable|range is callable
true is true|1 is true|false is false|true is boolean|3 is odd|4 is even|6 is divisibleby(3)|'a' is eq('a')|1 is lt(2)|2 is ge(2)|'a' is in(['a'])|'a' is ne('b')|none is not none|1 is sameas(1)
' a '|trim|'xax'|trim('x')|'abc'|length|nothing|length|none|length|5|length|{'a': 1}|length|'héé'|length|'a'|upper|'A'|lower|nothing|upper|'ab cd'|title|'aB'|capitalize|'aa'|replace('a', 'b')|12|string
nothing|default('x')|''|default('x')|''|default('x', true)|none|default('x')|none|d('x', true)|'a'|default('x')|nothing|default
[1, 2]|first|[1, 2]|last|'ab'|first|'ab'|last|[]|first is defined|[3, 1, 2]|sort|['b', 'A', 'c']|sort|['b', 'A']|sort(case_sensitive=true)|[1, 2]|sort(reverse=true)|[1, 'a']|sort|[1, 2]|reverse|list|'abc'|reverse
[1, 2, 3]|sum|[1, 2.5]|sum|[{'a': 1}, {'a': 2}]|sum(attribute='a')|[1, 3, 2]|max|['b', 'A']|min|[]|max is defined|[1, 1, 2]|unique|list|['a', 'A', 'b']|unique|list|'abc'|list|{'a': 1}|list
['a', 'b']|join(', ')|['a', 1, none]|join|[{'a': 1}, {'a': 2}]|join('-', attribute='a')|[]|join(',')|nothing|join(',')
[{'a': 1}, {'a': 2}]|map(attribute='a')|list|['a', 'b']|map('upper')|list|['aa']|map('replace', 'a', 'b')|list|[{'a': 1}, {}]|map(attribute='a', default=0)|list|[0, 1, '']|select|list|[0, 1]|reject|list|[1, 2, 3]|select('odd')|list|[1, 2]|reject('eq', 1)|list
[{'a': 1}, {'b': 2}]|selectattr('a')|list|[{'a': 1}, {'b': 2}]|selectattr('a', 'defined')|list|[{'a': 1}, {'a': 2}]|rejectattr('a', 'equalto', 1)|list|[{'a': {'b': 1}}]|selectattr('a.b', 'eq', 1)|list|[{'a': 'x'}]|selectattr('a', 'in', ['x'])|list
'12'|int|'x'|int|'1.9'|int|2.9|int|'x'|int(7)|'1.5'|float|3|float|-3|abs|2.5|round|2.567|round(2)|2.5|round(0, 'ceil')|'a\nb\n\nc'|indent|'a\nb'|indent(2, true)|'a\n\nb'|indent(2, blank=true)|'a\nb'|indent('> ')
{'b': 1, 'a': 2}|dictsort|map('join', '=')|join|{'b': 1, 'a': 2}|items|map('join', '=')|join|{'b': 1, 'a': 2}.items()|map('join')|join|{'b': 1}.keys()|list|{'b': 1}.values()|list|{'a': 1}.get('a')|{'a': 1}.get('b')|{'a': 1}.get('b', 2)|{'b': 1, 'a': 2}|dictsort(by='value')|map('first')|join
{'a': '<é\n"\\-'}|tojson|[1, 2.0, none, true]|tojson|{'a': [1, {'b': []}]}|tojson(indent=2)|'é日😀'|tojson(ensure_ascii=true)|{'b': 1, 'a': 2}|tojson(sort_keys=true)|[1, 2]|tojson(separators=(',', ':'))|nothing|tojson|{1: 2, none: 3}|tojson|[]|tojson(indent=4)
'<a href="x">&\'</a>'|e|'a'|safe|range(3)|list|range(1, 3)|list|range(3, 0, -1)|list|range(0, 5, 2)|list|range(0)|list|range(1, 2, 0)|dict(a=1)|dict(a=1).a|namespace(a=1).a|namespace(a=1)['a']|namespace(a=1).b is defined
"it's"|["it's"]|['a"b']|["it's \"x\""]|['a\nb\t\\-']|['é']|[nothing]|[1, 2].index(2)|[1, 2, 1].count(1)|[1].index(3)|'%s' is string|1 if 0|1 if 0 else 2|'a' if nothing is defined else 'b'
[1].append(2)|[1].pop()|{'a': 1}.update({'b': 2})|[1].clear()|{'a': 1}.pop('a')|''.__class__|[].__class__|nothing()|'a'()|raise_exception('no')|range.__globals__|''.nothing is defined|''.nothing()|messages|unknown_filter|1 is unknown_test
(1 if true else 2)|'a' + ('b' if false else 'c') + 'd'|1 if 0 else 2 if 0 else 3|[1 if true else 2, 3]|{'a': 1 if false else 2}.a|'x'.replace('x', 'y' if true else 'z')|(1 if false) is defined
1 < 2 < 3|1 < 3 < 2|1 == 1 == 2|'a' in 'ab' in ['ab']|1 < 2 == true|'a' in ' A '|lower|'a' ~ 'B'|lower|1 + 2|string|-1|abs|not 1 == 2|not (1 == 1)|2 ** 3 ** 2|-2 ** 2|2 * 3 + 4 ~ 5|1 + 2 ~ 3 + 4|10 - 3 - 2
"a" 'b'|'\\'|['a\nb\t\\']|'it\'s'|"say \"x\""|'\d'|'{{ }}'|'%}'|{'a': {'b': {}}}.a|[1, 2, ]|(1, 2)[1]|(1,)[0]|()|length|[[1], [2]][1][0]|'abc'[1 if true else 0]|[1,2][:none]|1.|1.e3|1e5|1__0
'a'if true else'b'|not(1)|1 and(2)|1 in(1,2)|'a' is string and 'b' is not none|nothing is not defined|1 is not  none|(nothing is defined) == false|nothing is defined or true|3 is divisibleby 3|'a' is eq 'a'|'a' is in ['a']
1_000|0.5e3|1e3|'a\tb'|'\u00e9'|'\\n'|'\x41'
"""
templates = [
    "{{ 1 }}\n", "{{ 1 }}\n\n", "a\n{% if true %}\nb\n{% endif %}\nc", "a\n  {% if true %}\n  b\n  {% endif %}\nc", "a {% if true %} b {% endif %} c", "a {%- if true -%} b {%- endif -%} c",
    "a\n  {%+ if true %}\nb{% endif %}", "a\n{% if true +%}\nb{% endif %}", "a\n  {# x #}\nb", "a {#- x -#} b", "a\n  {{ 1 }}\nb", "a\n  {{- 1 -}}\n  b", "{{ 1 }}  {% if true %}x{% endif %}", "{% if true %}  {% if true %}x{% endif %}{% endif %}",
    "{% if true -%}\n  {% if true %}x{% endif %}{% endif %}", "{{ 1 -}}\n  {% if true %}x{% endif %}", "  {% if true %}x{% endif %}", "a\r\nb{% if true %}\r\nc{% endif %}\r\n", "{% raw %}{{ x }}{% endraw %}", "a {%- raw -%}  {{ x }}  {%- endraw -%} b",
    "{% raw %}\n{% if %}\n{% endraw %}\nx", "{% raw %}{% endraw %}", "{{ '{% raw %}' }}", "{{ '}}' }}{{ \"%}\" }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{{'a': 1}.a}}", "a{b}c{ {d", "{{\n1\n+\n2\n}}", "{% if 1 and\n   not\n   0 %}x{% endif %}", "{{ 'a\\\nb' }}", "{{ 'a\nb' }}",
    "{% set x %}a{{ 1 }}{% endset %}{{ x }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = [1, 2] %}{{ a }}{{ b }}", "{% set a, b = 1 %}", "{% set x = 1 if false %}{{ x is defined }}", "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% for i in [1, 2] %}{{ i }}{% else %}none{% endfor %}", "{% for i in [] %}{{ i }}{% else %}none{% endfor %}", "{% for i in [1, 2, 3] if i > 1 %}{{ i }}{{ loop.length }}{% endfor %}", "{% for a, b in [[1, 2]] %}{{ a + b }}{% endfor %}", "{% for a, b in [[1]] %}{% endfor %}",
    "{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "{% for i in nothing %}x{% endfor %}", "{% for i in none %}x{% endfor %}", "{% for i in 'ab' %}{{ i }},{% endfor %}",
    "{% for k in {'a': 1} %}{{ k }}{% endfor %}", "{% for i in [1] %}{% set x = i %}{% endfor %}{{ x is defined }}", "{% for i in [1, 2] %}{% for j in [3] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}", "{{ loop is defined }}",
    "{% macro f(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(b=4, a=5) }}{{ f() }}", "{% macro f(a, b=a) %}{{ b }}{% endmacro %}{{ f(1) }}", "{% macro f() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ f() }}", "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro f() %} a {% endmacro %}{{ f() | trim }}{{ f() ~ 1 }}{{ f is callable }}", "{% set ns = namespace(a=1) %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}",
    "{% if false %}a{% elif true %}b{% else %}c{% endif %}", "{% if false %}a{% elif false %}b{% else %}c{% endif %}", "{% if nothing.x %}{% endif %}", "{% if true %}", "{% endif %}", "{{ 1", "{% if true %}{% else %}{% else %}{% endif %}", "{{ }}", "{{ 1 2 }}", "{{ a b }}", "{{ (1 }}", "{{ 1) }}", "{{ [1 }}", "{{ 'a }}",
    "{# x", "{{ 1 + }}", "{{ * 1 }}", "{{ a..b }}", "{{ a[] }}", "{% %}", "{% foo %}", "{% set %}", "{% set 1 = 2 %}", "{% for %}{% endfor %}", "{% for i of [] %}{% endfor %}", "{{ 1 | }}", "{{ 1 is }}", "{{ @ }}", "{{ 1 ! 2 }}", "{{ f(a=1, 2) }}", "{% break %}",
]
env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])


def fail(text):
    raise ValueError(text)


env.globals["raise_exception"] = fail
env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
    x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
FILTERS = ("abs capitalize d default dictsort e escape first float indent int items join last length list lower map max min reject rejectattr replace "
           "reverse round safe select selectattr sort string sum title tojson trim unique unknown_filter upper").split()


def pieces(line):
    """The expressions of a line: "|" separates them, except where the name of a filter follows."""
    out = []
    for piece in line.split("|"):
        name = piece.split("(")[0].split(" ")[0]
        if out and name in FILTERS:
            out[-1] += "|" + piece
        else:
            out.append(piece)
    return out


sources = ["{{ " + e + " }}" for line in expressions.strip().split("\n") for e in pieces(line)] + templates
out = []
for source in sources:
    try:
        text = env.from_string(source).render()
    except Exception:
        text = None
    out.append({"source": source, "text": text})
pathlib.Path(__file__).with_name("expressions.json").write_text(json.dumps(out, indent=1, ensure_ascii=False) + "\n")
